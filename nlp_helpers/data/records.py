"""Take files of reviews apart into records, and records into rows, leniently.

Nothing here is fast; `reading` hands over the files and the records that
DuckDB is not sure of. What is safe to repair is repaired, and everything that
is dropped gets a reason.
"""

import codecs
import csv
import html
import io
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast
from xml.etree.ElementTree import ParseError

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl.utils import escape

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import fields, ratings
from nlp_helpers.data.fields import IDENTIFIERS, NAMES, Names, Template
from nlp_helpers.data.formats import (
    BLOCK_LINE,
    BYTE_ORDER_MARK,
    DAMAGED,
    MAX_LITERAL_BYTES,
    PROBED_BYTES,
    Form,
    as_json,
    as_literal,
    open_binary,
    read_table,
    wrapped_records,
)
from nlp_helpers.data.labels import label_of

MAX_RECORD_BYTES = 16 << 20  # bytes; nobody wrote a review of 16 MB
STORED_ROWS = 1000  # of a Parquet file at once
MAX_SPANNED = 1000  # lines of an object among JSON lines
TRUNCATED = "truncated file"
TOO_LONG = "longer than 16 MB"
LONG_AND_DAMAGED = "damaged JSON, or Python literals of over 1 MB"
UNEVEN = "more or fewer values than columns"
NO_TEXT = "no text"
NO_RATING = "no rating"
NO_LABEL = "no label"
MAX_LABEL = 200  # characters of a class's name
OFF_SCALE = "rating off the scale"
# As the standard of HTML has it. A few of them make up nearly all there are.
REFERENCE = re.compile(
    r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)"
)
# Longer than any that means a character.
LONG_REFERENCE = re.compile(r"&#\d{20,};?")
SHOWN_BYTES = 2000  # of the first record
NOT_UTF8 = "invalid UTF-8"  # a repair that loses letters

Record = tuple[int, bytes | str]  # line, content; a text says why none


def unescape(text: str) -> str:
    """Resolve HTML entities and drop NUL characters."""
    resolved = REFERENCE.sub(lambda found: _resolve(found[0]), text)
    return resolved.replace("\0", "")


@lru_cache(maxsize=1 << 12)
def _resolve(reference: str) -> str:
    """Resolve one entity, or what only looks like one.

    html.unescape refuses a number of thousands of digits.
    """
    return html.unescape(LONG_REFERENCE.sub("\ufffd", reference))


def records(path: Path, form: Form) -> Iterator[tuple[int, int, bytes | str]]:
    """Yield (record, line, content) of a file, both counted from 1.

    A row of a table comes as a JSON object. Where there is no content a
    string says why: a record is too long, or a packed file breaks off or
    goes wrong, which ends the records.
    """
    with open_binary(path) as stream:
        pieces = pieces_of(stream, form)
        for record, (line, content) in enumerate(pieces, start=1):
            yield record, line, content


def pieces_of(stream: BufferedIOBase, form: Form) -> Iterator[Record]:
    """Yield (line, content) of the records of an open file."""
    if form.name == "table":
        return _rows(stream, form)
    if form.name == "Parquet":
        return _stored_rows(stream)
    if form.name == "Excel":
        return _cell_rows(stream)
    if form.name == "text blocks":
        return _blocks(_lines(stream, blank=True))
    if form.name != "Python literals" and form.name != "JSON lines":
        return _objects(stream, form.name == "wrapped JSON")
    lines = _lines(stream)
    return lines if form.name == "Python literals" else regroup(lines)


def show_first(path: Path, form: Form) -> str:
    """Return the first record of a file as far as it can be printed."""
    for _, _, content in records(path, form):
        if isinstance(content, str):
            return content  # why there is none
        return content[:SHOWN_BYTES].decode("utf-8", "replace").strip()
    return "empty file"


def _lines(stream: BufferedIOBase, blank: bool = False) -> Iterator[Record]:
    """Yield the lines with their numbers, the blank ones only if wanted."""
    number = 0
    while True:
        number += 1
        try:
            line = stream.readline(MAX_RECORD_BYTES)
            too_long = len(line) == MAX_RECORD_BYTES
            while len(line) == MAX_RECORD_BYTES and not line.endswith(b"\n"):
                line = stream.readline(MAX_RECORD_BYTES)
        except DAMAGED:
            yield number, TRUNCATED
            return
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line and not too_long:
            return
        if too_long:
            yield number, TOO_LONG
        elif blank or line.strip(b" \t\r\n"):
            yield number, line


def regroup(lines: Iterator[Record]) -> Iterator[Record]:
    """Take objects that share a line apart, and join one that spans several.

    What is neither comes line by line, as it stands.
    """
    waiting: list[tuple[int, bytes]] = []  # of an object that may go on
    for number, line in lines:
        if isinstance(line, str) or _is_one_object(line):
            if waiting:
                yield from waiting
                waiting = []
            yield number, line
            continue
        if not waiting and (shared := _take_apart(line)):
            yield from ((number, content) for content in shared)
            continue
        if not waiting and not line.lstrip().startswith(b"{"):
            yield number, line
            continue
        waiting.append((number, line))
        joined = b"".join(content for _, content in waiting)
        if line.rstrip().endswith(b"}") and as_json(joined) is not None:
            yield waiting[0][0], joined
            waiting = []
        elif len(waiting) == MAX_SPANNED:
            yield from waiting
            waiting = []
    yield from waiting


def _is_one_object(line: bytes) -> bool:
    """Say whether a line can only be one object, sound or damaged."""
    if line.count(b"{") == 1 and line[:1] == b"{" and line[-2:] == b"}\n":
        return True  # nearly all of them
    stripped = line.strip(b" \t\r\n,")
    return (
        stripped.startswith(b"{")
        and stripped.endswith(b"}")
        and (
            re.search(rb"\}[\s,]*\{", stripped) is None
            or as_json(stripped) is not None
        )
    )


def _take_apart(line: bytes) -> list[bytes]:
    """Return the objects of a line that holds nothing else, or nothing."""
    pieces = [content for _, content in _objects(io.BytesIO(line))]
    contents = [piece for piece in pieces if isinstance(piece, bytes)]
    sound = all(as_json(content) is not None for content in contents)
    return contents if sound and len(contents) > 1 else []


def _blocks(lines: Iterator[Record]) -> Iterator[Record]:
    """Yield blocks of lines `field: value` as JSON objects.

    A blank line ends a block; a line without a field goes on with a value.
    """
    record: dict[str, str] = {}
    name, start = "", 0
    for number, line in chain(lines, [(0, b"")]):
        if isinstance(line, str):
            yield number, line
            continue
        # Bytes that are no UTF-8 come out again as they were.
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if match := BLOCK_LINE.fullmatch(text):
            name, start = match[1], start or number
            record[name] = match[2]
        elif text.strip() and name:
            record[name] += f"\n{text}"
        elif record:
            content = json.dumps(record, ensure_ascii=False)
            yield start, content.encode("utf-8", "surrogateescape")
            record, start, name = {}, 0, ""


def _rows(stream: BufferedIOBase, form: Form) -> Iterator[Record]:
    """Yield the rows of a table as JSON objects."""
    # Bytes that are no UTF-8 come out again as they were.
    text = io.TextIOWrapper(
        cast(BinaryIO, stream),
        "utf-8-sig",
        errors="surrogateescape",
        newline="",
    )
    reader = read_table((line.replace("\0", "") for line in text), form)
    header: list[str] = []
    end = 0
    while True:
        start = end + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = [TOO_LONG]
        except DAMAGED:
            yield start, TRUNCATED
            return
        end = reader.line_num
        if row == [TOO_LONG]:
            yield start, TOO_LONG
        elif not header:
            header = row
        elif row and len(row) != len(header):
            yield start, UNEVEN
        elif row:
            record = dict(zip(header, row, strict=True))
            content = json.dumps(record, ensure_ascii=False)
            yield start, content.encode("utf-8", "surrogateescape")


def _stored_rows(stream: BufferedIOBase) -> Iterator[Record]:
    """Yield the rows of a Parquet file as JSON objects, with their numbers."""
    number = 0
    try:
        file = pq.ParquetFile(stream)
        for batch in file.iter_batches(STORED_ROWS):
            columns = [_plain(column).to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                record = dict(zip(batch.schema.names, values, strict=True))
                content = json.dumps(
                    record, ensure_ascii=False, default=_as_text
                )
                yield number, content.encode("utf-8", "surrogateescape")
    except (ValueError, NotImplementedError, *DAMAGED):  # pyarrow's errors
        yield number + 1, TRUNCATED


def _plain(column: pa.Array) -> pa.Array:
    """Make texts bytes, which may be no UTF-8, and short fractions exact."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        return column.cast(pa.binary())
    if pa.types.is_large_string(column.type):
        return column.cast(pa.large_binary())
    if pa.types.is_float32(column.type):  # 4.1, not 4.099999904632568
        return column.cast(pa.string()).cast(pa.float64())
    return column


def _as_text(value: Any) -> str:
    """Write what JSON does not know; some programs mark no text as such."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)


def _cell_rows(stream: BufferedIOBase) -> Iterator[Record]:
    """Yield the rows of an Excel file as JSON objects, with their numbers.

    Raises:
        UserError: more than one sheet has something in it.
    """
    number = 0
    try:
        book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
        header: list[str] = []
        for number, values in enumerate(_only_sheet(stream, book), start=1):
            cells = list(map(_cell, values))
            while cells and cells[-1] is None:
                cells.pop()
            if not header:
                header = ["" if name is None else str(name) for name in cells]
            elif len(cells) > len(header):
                yield number, UNEVEN
            elif cells:
                cells += [None] * (len(header) - len(cells))
                record = dict(zip(header, cells, strict=True))
                content = json.dumps(record, ensure_ascii=False, default=str)
                yield number, content.encode("utf-8", "surrogateescape")
    except (*DAMAGED, ParseError, KeyError, ValueError):
        yield number + 1, TRUNCATED


def _only_sheet(
    stream: BufferedIOBase, book: openpyxl.Workbook
) -> Iterator[tuple[Any, ...]]:
    """Return the rows of the only sheet that has something in it."""
    filled = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # some programs write them wrong
        rows = sheet.iter_rows(values_only=True)
        if any(value is not None for row in rows for value in row):
            filled.append(sheet)
    if len(filled) > 1:
        raise UserError(
            f"{getattr(stream, 'name', 'the file')} has {len(filled)} sheets:"
            f" {', '.join(sheet.title for sheet in filled)}; keep the one with"
            " the texts, or save each as a file of its own"
        )
    return filled[0].iter_rows(values_only=True) if filled else iter(())


def _cell(value: Any) -> Any:
    """Return the value of a cell as a CSV file would have it.

    A cell's type is Excel's guess, so that a number may be a text.
    """
    if isinstance(value, str):
        return escape.unescape(value) or None  # _x000D_ is a line's end
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _objects(
    stream: BufferedIOBase, wrapped: bool = False
) -> Iterator[Record]:
    """Yield objects one after another, in an array or not.

    Of objects that wrap the records, those inside come.
    """
    decoder = json.JSONDecoder(strict=False)
    # Bytes that are no UTF-8 come out again as they were.
    utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text, position, line, more = "", 0, 1, True
    while True:
        skipped = re.compile(r"[\s,\[\]\ufeff]*").match(text, position)
        assert skipped is not None  # it may be empty
        line += text.count("\n", position, skipped.end())
        position = skipped.end()
        value = None
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):  # also of a very long number
            if more and len(text) - position < MAX_RECORD_BYTES:
                text, position = text[position:], 0
                try:
                    # `read` would lose what it has when the file breaks off.
                    piece = stream.read1(PROBED_BYTES)
                except DAMAGED:
                    yield line, TRUNCATED
                    return
                more = bool(piece)
                text += utf8.decode(piece, final=not more)
                continue
            if position == len(text):
                return
            end = _next_object(text, position, decoder)
        content = text[position:end].encode("utf-8", "surrogateescape")
        inside = wrapped_records(value) if wrapped else None
        for record in inside or []:
            yield line, json.dumps(record).encode()
        if not inside:
            yield line, content
        line += text.count("\n", position, end)
        position = end
        if position > PROBED_BYTES:
            # The decoder's errors count the lines from the beginning.
            text, position = text[position:], 0


def _next_object(text: str, damaged: int, decoder: json.JSONDecoder) -> int:
    """Return where the object after a damaged one begins, or the end.

    That is after a brace and a separator; or, where the damaged object has no
    end of its own, at a sound one that has a text.
    """
    for brace in re.compile(r"\{").finditer(text, damaged + 1):
        start = brace.start()
        before = text[max(damaged, start - 64) : start]
        if re.search(r"\}\s*[,\]\n][\s,\[\]]*$", before):
            return start
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if fields.knows_text(value):
            return start
    return len(text)


def parse(
    content: bytes | str,
    names: Names = NAMES,
    scale: tuple[float, float] | None = ratings.STARS,
) -> tuple[dict[str, Any] | None, str]:
    """Turn a record into a row, or say why it is dropped.

    Args:
        content: of `records`.
        names: field -> the names it is read from; see `fields.find_names`.
        scale: the worst and the best rating; None where labels are taken as
            they are.

    Returns:
        (row, the repair that was needed, or "") or (None, the reason).
    """
    if isinstance(content, str):
        return None, content
    record, repair = as_object(content)
    if record is None:
        too_long = len(content) > MAX_LITERAL_BYTES
        return None, LONG_AND_DAMAGED if too_long else "damaged JSON"
    text = read_text(record, names["text"])
    if text is None:
        return None, NO_TEXT
    found = first(record, names["overall"])
    if scale is None:
        label = read_label(found)
        if label is None:
            return None, NO_LABEL
        row: dict[str, Any] = {"text": text, "overall": None, "label": label}
    else:
        overall = ratings.read_rating(found, scale[1])
        if overall is None:
            return None, NO_RATING
        if not scale[0] <= overall <= scale[1]:  # also true for NaN
            return None, OFF_SCALE
        label = label_of(ratings.to_stars(overall, scale))
        row = {"text": text, "overall": overall, "label": label}
    for name in IDENTIFIERS:
        row[name] = _as_name(first(record, names[name]))
    return row, repair


def read_label(value: Any) -> str | None:
    """Turn a text, a number or a truth value into the name of a class.

    A whole number is written without a point, as tables and JSON may differ.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value) if abs(value) < 10**18 else None
    if not isinstance(value, str):
        return None
    name = unescape(value.encode("utf-8", "replace").decode("utf-8")).strip()
    name = re.sub(r"^(-?\d{1,17})\.0+$", r"\1", name)
    return name if 0 < len(name) <= MAX_LABEL else None


def read_text(record: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the text of a record, cleaned, or None if it has none."""
    if isinstance(names[0], Template):
        text = names[0].fill(lambda name: _as_part(first(record, (name,))))
    else:
        text = first(record, names)
    if not isinstance(text, str):
        return None
    # Half of a surrogate pair cannot be written as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return unescape(text).strip() or None


def _as_part(value: Any) -> str:
    """Turn a value into a part of a text; a list or an object is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return "" if value != value else str(value)  # NaN means missing
    return value if isinstance(value, str) else ""


def _as_name(value: Any) -> str | None:
    """Turn a text, a whole number or a truth value into a name.

    A blank text names nothing: all that have none would be one group.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        value = str(value) if abs(value) < 10**18 else None
    if not isinstance(value, str) or not value.strip():
        return None
    return value.encode("utf-8", "replace").decode("utf-8")


def as_object(content: bytes) -> tuple[dict[str, Any] | None, str]:
    """Parse a record, mending it where nothing is guessed."""
    record = as_json(content)
    if record is not None:
        return record, ""
    mended = content.replace(b"\0", b"").strip().removesuffix(b",")
    readable = mended.decode("utf-8", "replace").encode()
    lost = NOT_UTF8 if readable != mended else ""
    record = as_json(readable)
    if record is not None:
        return record, lost or "NUL or a comma at the end"
    record = as_literal(readable)
    return record, "" if record is None else lost or "Python literal"


def first(record: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first of a field's names that is there and not empty."""
    values = (record.get(key) for key in names)
    return next((value for value in values if not _is_empty(value)), None)


def _is_empty(value: Any) -> bool:
    """Tell what says nothing: null, and a text of spaces."""
    return value is None or (isinstance(value, str) and not value.strip())
