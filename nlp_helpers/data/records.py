"""Take review files apart into records, and records into rows, leniently.

Nothing here is fast; `reading` hands over the files and the records that
DuckDB is not sure of. What is safe to repair is repaired, and everything that
is dropped gets a reason.
"""

import ast
import codecs
import gzip
import html
import json
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from nlp_helpers.core.errors import UserError
from nlp_helpers.data.labels import label_of

# Every field has one name in the 2014 and 2018 releases and one in 2023's.
# There, `asin` is one colour or size of a product, and `parent_asin` is what
# the older releases call `asin`.
NAMES = {
    "text": ("reviewText", "text"),
    "overall": ("overall", "rating"),
    "product": ("parent_asin", "asin"),
    "reviewer": ("reviewerID", "user_id"),
    "review": ("reviewID", "review_id"),
}
IDENTIFIERS = ("product", "reviewer", "review")
PROBED_BYTES = 1 << 17  # of the file's beginning, to tell its file_format
MAX_RECORD_BYTES = 16 << 20  # bytes; nobody wrote a review of 16 MB
TRUNCATED = "truncated file"
TOO_LONG = "longer than 16 MB"
MAX_LITERAL_BYTES = 1 << 20  # bytes; Python takes 500 times as many to read it
LONG_AND_DAMAGED = "damaged JSON, or Python literals of over 1 MB"
# Longer than any that means a character.
LONG_REFERENCE = re.compile(r"&#\d{20,};?")
SHOWN_BYTES = 2000  # of the first record
NOT_UTF8 = "invalid UTF-8"  # a repair that loses letters
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def detect_format(path: Path) -> str:
    """Tell JSON lines, JSON array and Python literals apart.

    Raises:
        UserError: the file is missing, or it is something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file of reviews")
    with open_binary(path) as stream:
        start = _read_some(stream, PROBED_BYTES)
    if _is_utf16(start):
        raise UserError(
            f"{path} is written in UTF-16; convert it to UTF-8 with `iconv -f"
            " UTF-16 -t UTF-8`"
        )
    start = start.removeprefix(BYTE_ORDER_MARK).replace(b"\0", b"").lstrip()
    if not start:
        return "JSON lines"  # an empty file: no lines
    if start.startswith(b"["):
        return "JSON array"
    for line in start.splitlines()[:20]:
        # Invalid UTF-8 makes JSON no literal.
        if _as_json(line.decode("utf-8", "replace").encode()) is not None:
            return "JSON lines"
        if _as_literal(line) is not None:
            return "Python literals"
    if start.startswith(b"{"):
        return "JSON lines"  # damaged at the start; the counts will show it
    raise UserError(
        f"{path} is not a file of reviews: it begins with {start[:40]!r}. Use"
        " JSON lines, a JSON array or Python literals, plain or gzipped."
        " pandas turns a table into JSON lines: `read_csv(...)"
        ".to_json(..., orient='records', lines=True)`"
    )


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


def is_gzipped(path: Path) -> bool:
    """Look at the first two bytes, whatever the name says."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def open_binary(path: Path) -> BufferedIOBase:
    """Open a plain or gzipped file for reading bytes."""
    return gzip.open(path) if is_gzipped(path) else path.open("rb")


def _read_some(stream: BufferedIOBase, size: int) -> bytes:
    """Read up to `size` bytes; less where the file is cut off."""
    content = b""
    try:
        while len(content) < size and (more := stream.read1(1 << 16)):
            content += more
    except (EOFError, OSError, zlib.error):
        pass  # the lenient reader counts it as a truncated file
    return content


def unescape(text: str) -> str:
    """Resolve HTML entities and drop NUL characters."""
    text = LONG_REFERENCE.sub("\ufffd", text)  # which html.unescape refuses
    return html.unescape(text).replace("\0", "")


def records(
    path: Path, file_format: str
) -> Iterator[tuple[int, int, bytes | str]]:
    """Yield (record, line, content) of a file, both counted from 1.

    Where there is no content a string says why: a record is too long, or a
    gzip stream breaks off or goes wrong, which ends the records.
    """
    pieces = _array_items if file_format == "JSON array" else _lines
    with open_binary(path) as stream:
        for record, (line, content) in enumerate(pieces(stream), start=1):
            if record == 1 and isinstance(content, bytes):
                content = content.removeprefix(BYTE_ORDER_MARK)
            yield record, line, content


def show_first(path: Path, file_format: str) -> str:
    """Return the first record of a file as far as it can be printed."""
    for _, _, content in records(path, file_format):
        if isinstance(content, str):
            return content  # why there is none
        return content[:SHOWN_BYTES].decode("utf-8", "replace").strip()
    return "empty file"


def _lines(stream: BufferedIOBase) -> Iterator[tuple[int, bytes | str]]:
    """Yield the lines that are not blank, with their numbers."""
    number = 0
    while True:
        number += 1
        try:
            line = stream.readline(MAX_RECORD_BYTES)
            too_long = len(line) == MAX_RECORD_BYTES
            while len(line) == MAX_RECORD_BYTES and not line.endswith(b"\n"):
                line = stream.readline(MAX_RECORD_BYTES)
        except (EOFError, OSError, zlib.error):
            yield number, TRUNCATED
            return
        if not line and not too_long:
            return
        if too_long:
            yield number, TOO_LONG
        elif line.strip(b" \t\r\n"):
            yield number, line


def _array_items(
    stream: BufferedIOBase,
) -> Iterator[tuple[int, bytes | str]]:
    """Yield the objects of a JSON array, whatever its layout."""
    decoder = json.JSONDecoder(strict=False)
    # Bytes that are no UTF-8 come out again as they were.
    utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text, position, line, more = "", 0, 1, True
    while True:
        skipped = re.compile(r"[\s,\[\]\ufeff]*").match(text, position)
        assert skipped is not None  # it may be empty
        line += text.count("\n", position, skipped.end())
        position = skipped.end()
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):  # also of a very long number
            if more and len(text) - position < MAX_RECORD_BYTES:
                text, position = text[position:], 0
                try:
                    # `read` would lose what it has when the file breaks off.
                    piece = stream.read1(PROBED_BYTES)
                except (EOFError, OSError, zlib.error):
                    yield line, TRUNCATED
                    return
                more = bool(piece)
                text += utf8.decode(piece, final=not more)
                continue
            if position == len(text):
                return
            # Damaged: go on where the next object begins.
            following = re.compile(r"\}(?=\s*[,\]\n])[\s,\[\]]*(?=\{)").search(
                text, position
            )
            end = following.end() if following else len(text)
        yield line, text[position:end].encode("utf-8", "surrogateescape")
        line += text.count("\n", position, end)
        position = end
        if position > PROBED_BYTES:
            # The decoder's errors count the lines from the beginning.
            text, position = text[position:], 0


def parse(content: bytes | str) -> tuple[dict[str, Any] | None, str]:
    """Turn a record into a row, or say why it is dropped.

    Returns:
        (row, the repair that was needed, or "") or (None, the reason).
    """
    if isinstance(content, str):
        return None, content
    record, repair = _as_object(content)
    if record is None:
        too_long = len(content) > MAX_LITERAL_BYTES
        return None, LONG_AND_DAMAGED if too_long else "damaged JSON"
    text = _first(record, "text")
    if not isinstance(text, str):
        return None, "no text"
    # Half of a surrogate pair cannot be written as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = unescape(text).strip()
    if not text:
        return None, "no text"
    overall = _as_rating(_first(record, "overall"))
    if overall is None:
        return None, "no rating"
    if not 0 <= overall <= 5:  # also true for NaN
        return None, "rating outside 0 to 5"
    row = {"text": text, "overall": overall, "label": label_of(overall)}
    for name in IDENTIFIERS:
        row[name] = _as_name(_first(record, name))
    return row, repair


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


def _as_object(content: bytes) -> tuple[dict[str, Any] | None, str]:
    """Parse a record, mending it where nothing is guessed."""
    record = _as_json(content)
    if record is not None:
        return record, ""
    mended = content.replace(b"\0", b"").strip().removesuffix(b",")
    readable = mended.decode("utf-8", "replace").encode()
    lost = NOT_UTF8 if readable != mended else ""
    record = _as_json(readable)
    if record is not None:
        return record, lost or "NUL or a comma at the end"
    record = _as_literal(readable)
    return record, "" if record is None else lost or "Python literal"


def _as_json(content: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; of a key that comes twice the first counts."""
    try:
        record = json.loads(
            content.decode("utf-8"),
            strict=False,
            object_pairs_hook=lambda pairs: dict(reversed(pairs)),
        )
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _as_literal(content: bytes) -> dict[str, Any] | None:
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


def _first(record: dict[str, Any], name: str) -> Any:
    """Return the first of a field's names that is there and not empty."""
    values = (record.get(key) for key in NAMES[name])
    return next((value for value in values if not _is_empty(value)), None)


def _is_empty(value: Any) -> bool:
    """Tell what says nothing: null, and a text of spaces."""
    return value is None or (isinstance(value, str) and not value.strip())


def _as_rating(value: Any) -> float | None:
    """Turn a number, or a text that is one, into a float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"[\s\d.]+", value):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None if isinstance(value, str) else math.inf


def is_whole(path: Path) -> bool:
    """Read a gzipped file to its end, where its check sum stands."""
    if not is_gzipped(path):
        return True
    try:
        with gzip.open(path) as stream:
            while stream.read(PROBED_BYTES):
                pass
    except (EOFError, OSError, zlib.error):
        return False
    return True
