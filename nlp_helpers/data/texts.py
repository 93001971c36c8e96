"""Read the texts that are to be labelled: lines, a table, or JSON records."""

import json
import re
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from nlp_helpers.core.errors import UserError
from nlp_helpers.data.fields import find_text
from nlp_helpers.data.formats import (
    DAMAGED,
    PARQUET_MAGIC,
    Form,
    detect_start,
    detect_table,
    is_excel,
    open_binary,
    packing_of,
    refuse_others,
)
from nlp_helpers.data.records import (
    NOT_UTF8,
    as_object,
    pieces_of,
    read_text,
)

# "[sic] ..." is a text; [{ and [" begin an array.
JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\{\s*[\"'}]|\[\s*[{\"])")


def read_texts(file: BinaryIO, text_field: str = "") -> Iterator[str]:
    """Read texts one by one, as they come; what is empty is passed over.

    A file that begins with a JSON object or array, or with a table's header,
    is read as such, packed or not; anything else as a text a line.

    Args:
        file: standard input, or a file with a name.
        text_field: field of the text, or several: `{title}. {text}`; empty:
            the usual names.

    Raises:
        UserError: the file or a record is damaged, or not UTF-8, there is no
            such field, or the file is something else.
    """
    name = getattr(file, "name", "standard input")
    try:
        yield from _read_any(file, name, text_field)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # not the file, but the disk or the network
        raise UserError(
            f"{name} is cut off or damaged ({error}); fetch it again"
        ) from error


def _read_any(file: BinaryIO, name: str, text_field: str) -> Iterator[str]:
    """Tell what a file is, and read its texts."""
    stream = cast(Any, file)
    if Path(name).is_file():
        stream = open_binary(Path(name))
    if not hasattr(stream, "peek"):
        stream = BufferedReader(stream)
    start = stream.peek(8192)
    if Path(name).is_file() and is_excel(Path(name)):
        yield from _read_records(stream, name, Form("Excel"), text_field)
        return
    if packing := packing_of(start):
        raise UserError(
            f"{name} is packed ({packing}); name the file, or unpack it"
            " on its way (`zcat FILE | ...`)"
        )
    if start.startswith(PARQUET_MAGIC) and not stream.seekable():
        raise UserError(f"{name} is a Parquet file; name the file itself")
    refuse_others(name, start)
    form = _detect(start, name, text_field)
    if form is not None:
        yield from _read_records(stream, name, form, text_field)
        return
    if text_field:
        raise UserError(
            f"{name} is no table and no JSON, so it has no field"
            f" {text_field!r}; leave out --text-field to read its lines"
        )
    yield from _read_lines(stream, name)


def _detect(start: bytes, name: str, text_field: str) -> Form | None:
    """Return the layout of records, or None for lines of text."""
    if JSON_START.match(start) or start.startswith(PARQUET_MAGIC):
        return detect_start(start, name, text_field)
    return detect_table(start, name, text_field)


def _read_records(
    stream: BufferedReader, name: str, form: Form, text_field: str
) -> Iterator[str]:
    """Read the text of each record."""
    names: tuple[str, ...] = ()
    known = _sample(stream.peek(8192), form)
    for line, content in pieces_of(stream, form):
        record, remark = _parse(content)
        if record is None or remark == NOT_UTF8:
            raise UserError(
                f"{name}, line {line}: {remark}; mend the file, or convert it"
                " to UTF-8 if it has another encoding"
            )
        if isinstance(record, str):  # an array of texts
            text: str | None = record.strip()
        else:
            if not names:
                known |= record
                names = find_text(Path(name), list(known), text_field)
            text = read_text(record, names)
        if text:
            yield text


def _sample(start: bytes, form: Form) -> dict[str, Any]:
    """Return an object with the fields that the first records have.

    Of those that are there without waiting for more; of a table, any row has
    all.
    """
    known: dict[str, Any] = {}
    if form.name not in ("table", "Parquet", "Excel"):
        for _, content in pieces_of(BytesIO(start), form):
            if isinstance(content, bytes):
                known |= as_object(content)[0] or {}
    return known


def _parse(content: bytes | str) -> tuple[dict[str, Any] | str | None, str]:
    """Return a record or a text, and the repair it needed or the damage."""
    if isinstance(content, str):
        return None, content
    if content.startswith(b'"'):
        try:
            return json.loads(content, strict=False), ""
        except ValueError:
            return None, "damaged JSON"
    record, repair = as_object(content)
    return record, repair if record is not None else "damaged JSON"


def _read_lines(file: BufferedReader, name: str) -> Iterator[str]:
    """Read the lines that have text, one by one.

    Raises:
        UserError: a line is not UTF-8.
    """
    for number, line in enumerate(file, start=1):
        try:
            # utf-8-sig: Windows puts a byte-order mark before the first.
            text = line.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name}, line {number}, is not UTF-8 ({error.reason});"
                " convert the file, for example with `iconv -f latin1 -t"
                " utf-8`"
            ) from error
        if text:
            yield text
