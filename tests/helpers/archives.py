"""Packed files, as bytes."""

import io
import zipfile

import pyarrow as pa


def zipped(content, *names):
    """Return a zip archive in which each name has the same content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


def zstandard(content):
    """Return content packed with zstd."""
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(content)
    return buffer.getvalue().to_pybytes()
