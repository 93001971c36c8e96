"""Tell what a file is: how it is packed, and how its records are laid out.

A file is judged by its beginning, whatever its name says; a name that ends in
.csv or .tsv helps where a table has no column that is usual for a text.
"""

import ast
import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from isal import igzip

from nlp_helpers.core.errors import UserError
from nlp_helpers.data.fields import is_asked, knows_text

PROBED_BYTES = 1 << 17  # of a file's beginning, to tell its format
PROBED = 20  # of its lines or records, in search of one that is sound
MAX_VALUE = 16 << 20  # characters of a table's value
MAX_LITERAL_BYTES = 1 << 20  # Python takes 500 times as many to read it
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PARQUET_MAGIC = b"PAR1"
# What a packed file that breaks off or is damaged raises while it is read.
# pyarrow's errors for zstd are OSErrors.
DAMAGED = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
PACKINGS = {
    b"\x1f\x8b": "gzip",
    b"(\xb5/\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
}
# What is certainly something else, and the command that makes it readable.
OTHERS = {
    b"SQLite format 3": ("an SQLite database", "export its table as CSV"),
    b"\xd0\xcf\x11\xe0": (
        "an Excel file of the old form, or one with a password",
        "save it as .xlsx, without a password",
    ),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it: 7z x '{path}'"),
    b"Rar!": ("a RAR archive", "unpack it: unrar x '{path}'"),
    b"version https://git-lfs": (
        "a pointer of Git LFS, not the file itself",
        "fetch it: git lfs pull",
    ),
}
# Zip archives that are one document, by a file that each has.
WORKBOOK = "xl/workbook.xml"  # of an Excel file
DOCUMENTS = {
    "xl/workbook.bin": "a binary Excel file",
    "word/document.xml": "a Word file",
    "content.xml": "an OpenDocument file",
}
WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head|\?xml)", re.IGNORECASE)
# Of a column. No run of characters may match in more ways than one: a line of
# underscores would take years.
NAME = re.compile(r"[^\W\d](?:[\w ./()?-]*[\w)?])?")
# review/text: I like it.
BLOCK_LINE = re.compile(r"^(\w+/\w+): (.*)$", re.MULTILINE)
# {"reviews": [{ and {"text": {"0": hold many records in one object.
WRAPPED = re.compile(r'\s*\{\s*"([^"]*)"\s*:\s*([\[{])\s*["{]')


@dataclass(frozen=True)
class Form:
    """How the records of a file are laid out.

    Attributes:
        name: JSON lines, JSON objects (over several lines each), JSON array,
            wrapped JSON (all records in one object), Python literals, text
            blocks (a line a field), table, Parquet, Excel.
        delimiter: of a table.
        quoting: of a table; whether "a, b" is one value.
    """

    name: str
    delimiter: str = ""
    quoting: bool = True

    def __str__(self) -> str:
        """Name it for a table of files."""
        if self.name != "table":
            return self.name
        return {"\t": "TSV", ",": "CSV"}.get(
            self.delimiter, f"CSV with {self.delimiter}"
        )


def detect_packing(path: Path) -> str:
    """Return gzip, zstd, bz2, xz, zip, or `plain`, as Excel files are."""
    with path.open("rb") as stream:
        packing = packing_of(stream.read(8)) or "plain"
    return "plain" if packing == "zip" and is_excel(path) else packing


def is_excel(path: Path) -> bool:
    """Say whether this is an Excel file: a zip archive with a workbook."""
    return zipfile.is_zipfile(path) and WORKBOOK in _members(path)


def _members(path: Path) -> list[str]:
    """Return the names of the files of a zip archive.

    Raises:
        UserError: it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise _damaged_zip(path, error) from error


def _damaged_zip(path: Path, error: Exception) -> UserError:
    """Say that a zip archive is damaged."""
    return UserError(
        f"{path} is a zip archive or an Excel file that is cut off or"
        f" damaged ({error}); fetch it again"
    )


def packing_of(start: bytes) -> str | None:
    """Tell a packed file by its first bytes."""
    found = (n for magic, n in PACKINGS.items() if start.startswith(magic))
    return next(found, None)


def open_binary(path: Path) -> BufferedIOBase:
    """Open a plain or packed file for reading bytes.

    Raises:
        UserError: it is an archive of several files.
    """
    packing = detect_packing(path)
    if packing == "zip":
        return _open_zip(path)
    if packing == "gzip":
        return BufferedReader(_Gzip(path))
    if packing == "zstd":
        return BufferedReader(pa.input_stream(str(path), "zstd"))
    openers: dict[str, Any] = {
        "bz2": bz2.open,
        "xz": lzma.open,
        "plain": io.open,
    }
    return cast(BufferedIOBase, openers[packing](path, "rb"))


class _Gzip(RawIOBase):
    """A gzipped file: isal reads what is whole, Python's gzip the damaged.

    Where a file breaks off isal keeps to itself what comes before in the same
    call; gzip gives that first and then says what is wrong.
    """

    def __init__(self, path: Path):
        self._path = path
        self._stream: gzip.GzipFile = igzip.open(path, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        place = self._stream.tell()
        try:
            return self._stream.readinto1(buffer)
        except Exception:
            if not isinstance(self._stream, igzip.IGzipFile):
                raise
        self._stream.close()
        self._stream = gzip.open(self._path, "rb")
        self._stream.seek(place)
        return self._stream.readinto1(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _open_zip(path: Path) -> BufferedIOBase:
    """Open the one file of a zip archive.

    Raises:
        UserError: it holds several, is damaged, or needs a password.
    """
    members = [
        name
        for name in _members(path)
        if not name.endswith("/")
        and not name.startswith("__MACOSX/")
        and not Path(name).name.startswith(".")
    ]
    for name, what in DOCUMENTS.items():
        if name in members:
            raise UserError(f"{path} is {what}; save it as .xlsx or CSV")
    if len(members) != 1:
        raise UserError(
            f"{path} holds {len(members)} files; unpack it: unzip '{path}' -d"
            f" '{path.with_suffix('')}'"
        )
    try:
        return cast(BufferedIOBase, zipfile.ZipFile(path).open(members[0]))
    except RuntimeError as error:  # a password, or a method of compression
        raise UserError(
            f"{path} cannot be unpacked by Python ({error}); unpack it with"
            " the program that made it"
        ) from error
    except (zipfile.BadZipFile, OSError) as error:
        raise _damaged_zip(path, error) from error


def detect_format(path: Path, text_field: str = "") -> Form:
    """Tell the layouts apart.

    Raises:
        UserError: the file is missing, or it is something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file of reviews")
    if is_excel(path):
        return Form("Excel")
    with open_binary(path) as stream:
        start = read_some(stream)
    refuse_others(str(path), start)
    form = detect_start(start, path.name, text_field)
    if form is not None:
        return form
    raise UserError(
        f"{path} is not a file of reviews: it begins with {start[:40]!r}. Use"
        " JSON lines, a JSON array, Python literals, Parquet, or a table"
        " (CSV, TSV, Excel) whose first line names its columns"
    )


def refuse_others(name: str, start: bytes) -> None:
    """Raise a UserError that says what else the file is, and what helps."""
    for magic, (what, remedy) in OTHERS.items():
        if start.startswith(magic):
            raise UserError(f"{name} is {what}; {remedy.format(path=name)}")
    if start[257:262] == b"ustar":
        raise UserError(
            f"{name} is a tar archive; unpack it: tar -xf '{name}'"
        )
    if WEB_PAGE.match(start):
        raise UserError(
            f"{name} is not a file of reviews: it begins with {start[:40]!r};"
            " a web page was saved in its place, so download it again"
        )
    if _is_utf16(start):
        raise UserError(
            f"{name} is written in UTF-16; convert it to UTF-8 with `iconv -f"
            " UTF-16 -t UTF-8`"
        )


def detect_start(start: bytes, name: str, text_field: str = "") -> Form | None:
    """Tell the layouts apart by the beginning of a file.

    Args:
        start: its first bytes, unpacked.
        name: of the file; one that ends in .csv or .tsv, perhaps packed, is
            a table whatever its columns are called.
        text_field: the field of the text, or a template of several, where
            the user names it.

    Returns:
        None if it is no layout that is known.
    """
    if start.startswith(PARQUET_MAGIC):
        return Form("Parquet")
    start = start.removeprefix(BYTE_ORDER_MARK).replace(b"\0", b"").lstrip()
    if not start:
        return Form("JSON lines")  # an empty file: no lines
    if start.startswith(b"["):
        return Form("JSON array")
    # Invalid UTF-8 makes JSON no literal.
    text = start.decode("utf-8", "replace")
    if text.startswith("{") and (form := _detect_objects(text, text_field)):
        return form
    for line in text.splitlines()[:PROBED]:
        if as_json(line.encode()) is not None:
            return Form("JSON lines")
        if as_literal(line.encode()) is not None:
            return Form("Python literals")
    if knows_text(dict(BLOCK_LINE.findall(text))):
        return Form("text blocks")
    if text.startswith("{"):
        return Form("JSON lines")  # damaged there; the counts will show it
    return detect_table(start, name, text_field)


def _detect_objects(text: str, text_field: str) -> Form | None:
    """Look at the first object: it may span lines, share one, or wrap all.

    A wrapper may go on beyond what was read.
    """
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        wraps = WRAPPED.match(text) and "\n{" not in text
        return Form("wrapped JSON") if wraps else None
    if not is_asked(value, text_field) and wrapped_records(value):
        return Form("wrapped JSON")
    shares = text[end:].lstrip(" \t,").startswith("{")
    return Form("JSON objects") if shares or "\n" in text[:end] else None


def detect_table(start: bytes, name: str, text_field: str) -> Form | None:
    """Find the delimiter with which the lines have equally many values.

    The last may be cut off.
    """
    start = start.removeprefix(BYTE_ORDER_MARK)
    text = start.decode("utf-8", "replace").replace("\0", "").lstrip("\r\n")
    lines = text.splitlines(keepends=True)[:PROBED]
    named = re.search(r"\.(csv|tsv|tab)\b", name.lower()) is not None
    for quoting in (True, False):
        for delimiter in "\t,;|":
            form = Form("table", delimiter, quoting)
            rows = list(read_table(lines, form))
            if rows and _is_table(rows):
                header = rows[0]
                if named or is_asked(header, text_field) or knows_text(header):
                    return form
    return Form("table", ",") if named and lines else None


def _is_table(rows: list[list[str]]) -> bool:
    """Say whether rows have a header, and as many values each."""
    header, *others = rows
    if len(others) > 1:
        others.pop()  # it may be cut off
    names = header[1:] if header[0] == "" else header  # pandas' index
    named = len(set(names)) == len(names) and all(
        NAME.fullmatch(name) for name in names
    )
    return (
        named
        and len(header) > 1
        and all(len(row) == len(header) for row in others)
    )


def read_table(lines: Iterable[str], form: Form) -> Any:
    """Return a csv.reader of the lines of a table."""
    quoting: Any = csv.QUOTE_MINIMAL if form.quoting else csv.QUOTE_NONE
    csv.field_size_limit(MAX_VALUE)
    return csv.reader(lines, delimiter=form.delimiter, quoting=quoting)


def wrapped_records(value: Any) -> list[dict[str, Any]] | None:
    """Return the records inside an object, where it is none itself.

    Services write {"reviews": [...], "total": 3}, and some exports put each
    record under its key.
    """
    if not isinstance(value, dict) or knows_text(value):
        return None
    inside = list(value.values())
    for group in [inside, *(v for v in inside if isinstance(v, list))]:
        if group and all(isinstance(v, dict) for v in group):
            if any(knows_text(record) for record in group[:PROBED]):
                return group
    return next(filter(None, map(wrapped_records, inside)), None)


def as_json(content: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; of a key that comes twice the first counts."""
    try:
        record = json.loads(
            content.decode("utf-8"),
            strict=False,
            object_pairs_hook=_keep_first,
        )
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _keep_first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary in which the first of equal keys counts."""
    record = dict(pairs)
    return record if len(record) == len(pairs) else dict(reversed(pairs))


def as_literal(content: bytes) -> dict[str, Any] | None:
    """Parse a Python dictionary display; nothing is ever evaluated."""
    text = content.decode("utf-8", "replace").strip()
    if not text.startswith("{") or len(text) > MAX_LITERAL_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            record = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_utf16(start: bytes) -> bool:
    """Tell UTF-16 by its mark, or by the empty half of most characters.

    Of the first character, a bracket, too.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    if start[:2].count(0) != 1:
        return False
    fewer, more = sorted((start[::2].count(0), start[1::2].count(0)))
    return more > len(start) / 16 and fewer < more / 10


def read_some(stream: BufferedIOBase) -> bytes:
    """Read the beginning of a file; less where it is cut off."""
    content = b""
    try:
        while len(content) < PROBED_BYTES and (more := stream.read1(1 << 16)):
            content += more
    except DAMAGED:
        pass  # the lenient reader counts it as a truncated file
    return content


def is_whole(path: Path) -> bool:
    """Read a packed file to its end, where its check sum stands."""
    if detect_packing(path) == "plain":
        return True
    try:
        with open_binary(path) as stream:
            while stream.read(PROBED_BYTES):
                pass
    except DAMAGED:
        return False
    return True
