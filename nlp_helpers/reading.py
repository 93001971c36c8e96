"""Read review files of any published form into checked Parquet parts.

The 2014 and 2018 releases name their fields `reviewText` and `overall`, the
2023 release `text` and `rating`. Files are JSON lines, one JSON array, or
Python literals a line, plain or gzipped.

Two readers share the work. DuckDB reads what is sound at full speed and says
which records it is not sure of; the careful reader takes those one by one,
repairs what is safe to repair, and gives a reason for all that it drops. A
file that DuckDB cannot read at all goes through the careful reader as a whole.
"""

import ast
import gzip
import html
import json
import math
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nlp_helpers import files
from nlp_helpers.engine import run
from nlp_helpers.errors import UserError
from nlp_helpers.reviews import LABEL2ID

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("overall", pa.float64()),
        ("label", pa.uint8()),
        ("category", pa.string()),
        ("product", pa.string()),
        ("reviewer", pa.string()),
        ("review", pa.string()),
        ("record", pa.int64()),  # place among the file's records, from 1
    ]
)
# Every field has one name in the 2014 and 2018 releases and one in 2023's.
NAMES = {
    "text": ("reviewText", "text"),
    "overall": ("overall", "rating"),
    "product": ("asin", "parent_asin"),
    "reviewer": ("reviewerID", "user_id"),
    "review": ("reviewID", "review_id"),
}
IDENTIFIERS = ("product", "reviewer", "review")
BATCH_ROWS = 20_000
PROBED_BYTES = 1 << 20  # of the file's beginning, to tell its form
LONGEST_RECORD = 16 << 20  # bytes; nobody wrote a review of 16 MB
SHOWN_BYTES = 500  # of a rejected record, in rejects.jsonl
TRUNCATED = "truncated file"
TOO_LONG = "longer than 16 MB"
FIRST_SHOWN = 3  # rejects that an error message names
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# {t} is the text: certainly a string with something in it, not a number, a
# list or an object that DuckDB has turned into text; and not monstrous.
HAS_TEXT = r"""regexp_matches({t}, '^\s*[^\s\[{{]')
    AND strlen({t}) < 1000000 AND (strlen({t}) > 25
         OR NOT regexp_full_match({t}, '[-+0-9.eE]+|true|false'))"""
# {r} is the rating: a plain number from 0 to 5, not true or false.
HAS_RATING = r"regexp_full_match({r}, '[0-4](\.[0-9]+)?|5(\.0+)?')"
# {n} is a name: not a number, a list or an object turned into text.
HAS_NAME = r"""(regexp_full_match({n}, '[A-Za-z_][\w-]*|[0-9]{{0,18}}')
    OR {n} IS NULL)"""
LABEL = (
    f"CASE WHEN {{o}} >= 4 THEN {LABEL2ID['positive']}"
    f" WHEN {{o}} < 3 THEN {LABEL2ID['negative']}"
    f" ELSE {LABEL2ID['neutral']} END"
)


@dataclass
class Report:
    """What became of the records of one file."""

    path: Path
    form: str  # JSON lines, JSON array or Python literals
    reader: str = "fast"  # or careful, if DuckDB could not read the file
    rows: int = 0
    kept: int = 0
    dropped: Counter = field(default_factory=Counter)  # reason -> records
    repaired: Counter = field(default_factory=Counter)  # repair -> records
    rejects: list[dict[str, Any]] = field(default_factory=list)

    def check(self, max_bad_share: float) -> None:
        """Raise a UserError if too many records were dropped."""
        assert self.rows == self.kept + sum(self.dropped.values())
        bad = sum(self.dropped.values())
        if bad <= max_bad_share * self.rows:
            return
        reasons = ", ".join(f"{n} {why}" for why, n in self.dropped.items())
        first = "; ".join(
            f"line {reject['line']}: {reject['reason']}"
            for reject in self.rejects[:FIRST_SHOWN]
        )
        raise UserError(
            f"{self.path}: {bad} of {self.rows} records"
            f" ({bad / self.rows:.1%}) cannot be used ({reasons}), more than"
            f" max_bad_share {max_bad_share:.1%} allows; {first}; see"
            " rejects.jsonl, mend the file, or raise max_bad_share"
        )


def connect() -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory that stays small."""
    connection = duckdb.connect()
    connection.execute("SET memory_limit = '1GB'")
    connection.execute("SET enable_progress_bar = false")
    return connection


def ask(question: str, **tables: Path) -> pd.DataFrame:
    """Answer an SQL question about Parquet files.

    Args:
        question: names the tables as the keyword arguments do.
        tables: a Parquet file each, or a folder of such files.
    """
    with connect() as connection:
        for name, path in tables.items():
            pattern = path / "*.parquet" if path.is_dir() else path
            connection.from_parquet(str(pattern)).create_view(name)
        return connection.sql(question).df()


# The form of a file


def detect_form(path: Path) -> str:
    """Tell JSON lines, JSON array and Python literals apart.

    Raises:
        UserError: the file is missing, or it is something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file of reviews")
    with open_binary(path) as stream:
        start = _read_some(stream, PROBED_BYTES)
    start = start.removeprefix(BYTE_ORDER_MARK).replace(b"\0", b"").lstrip()
    if not start:
        return "JSON lines"  # an empty file: no lines
    if start.startswith(b"["):
        return "JSON array"
    for line in start.splitlines()[:20]:
        if _as_json(line) is not None:
            return "JSON lines"
        if _as_literal(line) is not None:
            return "Python literals"
    if start.startswith(b"{"):
        return "JSON lines"  # damaged at the start; the counts will show it
    raise UserError(
        f"{path} is no file of reviews: it begins with {start[:40]!r}; JSON"
        " lines, a JSON array or Python literals are read, plain or gzipped"
    )


def is_gzipped(path: Path) -> bool:
    """Look at the first two bytes, whatever the name says."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def open_binary(path: Path) -> BinaryIO:
    """Open a plain or gzipped file for reading bytes."""
    return gzip.open(path) if is_gzipped(path) else path.open("rb")


def _read_some(stream: BinaryIO, size: int) -> bytes:
    """Read up to `size` bytes; less where the file is cut off."""
    content = b""
    try:
        while len(content) < size and (more := stream.read1(1 << 16)):
            content += more
    except (EOFError, OSError, zlib.error):
        pass  # the careful reader counts it as a truncated file
    return content


# The fast reader


def query(path: Path, form: str, rating_type: str = "VARCHAR") -> str:
    """Write the SQL that reads the fields of NAMES of every record of a file.

    A record that DuckDB cannot parse comes out with all its fields NULL.
    """
    wanted = {name for names in NAMES.values() for name in names}
    types = {
        name: rating_type if name in NAMES["overall"] else "VARCHAR"
        for name in sorted(wanted & _fields_seen(path))
    }
    fields = []
    for field_name, names in NAMES.items():
        seen = [name for name in names if name in types]
        values = ", ".join([*seen, "NULL"])
        kind = rating_type if field_name == "overall" else "VARCHAR"
        fields.append(f"CAST(coalesce({values}) AS {kind}) AS {field_name}_")
    options = {
        "format": "'array'" if form == "JSON array" else "'newline_delimited'",
        "compression": "'gzip'" if is_gzipped(path) else "'uncompressed'",
        "columns": types or {"reviewText": "VARCHAR"},
        "maximum_object_size": LONGEST_RECORD,
    }
    if form != "JSON array":
        options["ignore_errors"] = "true"
    arguments = ", ".join(f"{name}={value}" for name, value in options.items())
    name = str(path).replace("'", "''")
    return f"SELECT {', '.join(fields)} FROM read_json('{name}', {arguments})"


def _fields_seen(path: Path) -> set[str]:
    """Return the field names that stand near the beginning of a file."""
    with open_binary(path) as stream:
        start = _read_some(stream, PROBED_BYTES)
    return {
        name.decode("ascii", "replace")
        for name in re.findall(rb'"(\w+)"\s*:', start)
    }


def survey(path: Path) -> Counter:
    """Count the records of each label at full speed, keeping none.

    The key None stands for the records that need the careful reader. A first
    look at a large file: here JSON's true counts as a rating of 1.

    Raises:
        UserError: the file is no JSON, or it is damaged.
    """
    form = detect_form(path)
    if form == "Python literals":
        raise UserError(f"{path} holds {form}; only JSON can be surveyed")
    rows = query(path, form, rating_type="DOUBLE")
    sound = f"overall_ BETWEEN 0 AND 5 AND {HAS_TEXT.format(t='text_')}"
    label = f"CASE WHEN {sound} THEN {LABEL.format(o='overall_')} END"
    counted = f"SELECT {label} AS label, count(*) FROM ({rows}) GROUP BY 1"
    try:
        return Counter(dict(connect().sql(counted).fetchall()))
    except duckdb.Error as error:
        raise UserError(
            f"{path} ({form}) is too damaged to be surveyed: {error}; read it"
            " with read_file, which repairs and counts"
        ) from error


def _read_fast(
    path: Path, form: str, category: str, write: Callable[[pa.Table], None]
) -> tuple[int, set[int]]:
    """Write the sound records; return how many there are, and the others."""
    names = " AND ".join(HAS_NAME.format(n=f"{n}_") for n in IDENTIFIERS)
    selected = f"""
        SELECT *, coalesce(contains(text_, '&') OR contains(text_, chr(0)),
                false) AS marked, {LABEL.format(o="stars")} AS label,
            coalesce({HAS_TEXT.format(t="text_")}
                AND {HAS_RATING.format(r="overall_")}
                AND {names}, false) AS sound
        FROM (SELECT *, try_cast(overall_ AS DOUBLE) AS stars
              FROM ({query(path, form)}))"""
    rows, unsure = 0, set()
    for batch in connect().sql(selected).to_arrow_reader(BATCH_ROWS):
        text = tidy(batch["text_"], batch["marked"])
        sound = pc.and_(batch["sound"], pc.not_equal(text, ""))
        record = pa.array(range(rows + 1, rows + 1 + len(batch)), pa.int64())
        rows += len(batch)
        unsure.update(record.filter(pc.invert(sound)).to_pylist())
        columns = [
            text,
            batch["stars"],
            batch["label"].cast(pa.uint8()),
            pa.repeat(category, len(batch)),
            *(batch[f"{name}_"].cast(pa.string()) for name in IDENTIFIERS),
            record,
        ]
        write(pa.table(columns, SCHEMA).filter(sound))
    return rows, unsure


def tidy(text: pa.Array, marked: pa.Array) -> pa.Array:
    """Drop outer white space, and mend the texts that are `marked`."""
    if pc.any(marked).as_py():
        mended = [mend(t) for t in text.filter(marked).to_pylist()]
        mended = pa.array(mended, pa.string())
        text = pc.replace_with_mask(text, marked, mended)
    return pc.fill_null(pc.utf8_trim_whitespace(text), "")


def mend(text: str) -> str:
    """Resolve HTML entities and drop NUL characters."""
    return html.unescape(text).replace("\0", "")


# The careful reader


def records(path: Path, form: str) -> Iterator[tuple[int, int, bytes | str]]:
    """Yield (record, line, content) of a file, both counted from 1.

    Where there is no content a string says why: a record is too long, or a
    gzip stream breaks off or goes wrong, which ends the records.
    """
    pieces = _array_items if form == "JSON array" else _lines
    with open_binary(path) as stream:
        for record, (line, content) in enumerate(pieces(stream), start=1):
            if record == 1 and isinstance(content, bytes):
                content = content.removeprefix(BYTE_ORDER_MARK)
            yield record, line, content


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | str]]:
    """Yield the lines that are not blank, with their numbers."""
    number = 0
    while True:
        number += 1
        try:
            line = stream.readline(LONGEST_RECORD)
            too_long = len(line) == LONGEST_RECORD
            while len(line) == LONGEST_RECORD and not line.endswith(b"\n"):
                line = stream.readline(LONGEST_RECORD)
        except (EOFError, OSError, zlib.error):
            yield number, TRUNCATED
            return
        if not line and not too_long:
            return
        if too_long:
            yield number, TOO_LONG
        elif line.strip(b" \t\r\n"):
            yield number, line


def _array_items(stream: BinaryIO) -> Iterator[tuple[int, bytes | str]]:
    """Yield the objects of a JSON array, whatever its layout."""
    decoder = json.JSONDecoder(strict=False)
    text, place, line, more = "", 0, 1, True
    while True:
        skipped = re.compile(r"[\s,\[\ufeff]*").match(text, place)
        line += text.count("\n", place, skipped.end())
        place = skipped.end()
        try:
            _, end = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            if more and len(text) - place < LONGEST_RECORD:
                text, place = text[place:], 0
                try:
                    piece = stream.read(PROBED_BYTES)
                except (EOFError, OSError, zlib.error):
                    yield line, TRUNCATED
                    return
                more = bool(piece)
                text += piece.decode("utf-8", "replace")
                continue
            if text[place:].strip(" \r\n\t]") == "":
                return
            # Damaged: go on where the next object begins.
            following = re.compile(r"\}\s*,\s*(?=\{)").search(text, place)
            end = following.end() if following else len(text)
        yield line, text[place:end].encode("utf-8", "surrogatepass")
        line += text.count("\n", place, end)
        place = end


def parse(content: bytes | str) -> tuple[dict[str, Any] | None, str]:
    """Turn a record into a row, or say why it is dropped.

    Returns:
        (row, the repair that was needed, or "") or (None, the reason).
    """
    if isinstance(content, str):
        return None, content
    found, repair = _as_object(content)
    if found is None:
        return None, "damaged JSON"
    text = _first(found, "text")
    if not isinstance(text, str):
        return None, "no text"
    # Half of a surrogate pair cannot be written as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = mend(text).strip()
    if not text:
        return None, "no text"
    overall = _as_rating(_first(found, "overall"))
    if overall is None:
        return None, "no rating"
    if not 0 <= overall <= 5:  # also true for NaN
        return None, "rating outside 0 to 5"
    row = {"text": text, "overall": overall, "label": label_of(overall)}
    for name in IDENTIFIERS:
        row[name] = _as_name(_first(found, name))
    return row, repair


def _as_name(value: Any) -> str | None:
    """Turn a text, a whole number or a truth value into a name."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        value = str(value) if abs(value) < 10**18 else None
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode("utf-8")


def label_of(overall: float) -> int:
    """Turn stars into a label: 4 and more 1, less than 3 2, else 0."""
    if overall >= 4:
        return LABEL2ID["positive"]
    return LABEL2ID["negative"] if overall < 3 else LABEL2ID["neutral"]


def _as_object(content: bytes) -> tuple[dict[str, Any] | None, str]:
    """Parse a record, mending it where nothing is guessed."""
    found = _as_json(content)
    if found is not None:
        return found, ""
    mended = content.replace(b"\0", b"").strip().removesuffix(b",")
    mended = mended.decode("utf-8", "replace").encode()
    found = _as_json(mended)
    if found is not None:
        return found, "NUL, invalid UTF-8 or a comma at the end"
    found = _as_literal(mended)
    return found, "" if found is None else "Python literal"


def _as_json(content: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; of a key that comes twice the first counts."""
    try:
        found = json.loads(
            content.decode("utf-8"),
            strict=False,
            object_pairs_hook=lambda pairs: dict(reversed(pairs)),
        )
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _as_literal(content: bytes) -> dict[str, Any] | None:
    """Parse a Python dictionary display; nothing is ever evaluated."""
    text = content.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _first(found: dict[str, Any], name: str) -> Any:
    """Return the first of a field's names that is there and not null."""
    values = (found.get(key) for key in NAMES[name])
    return next((value for value in values if value is not None), None)


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


# A file


def read_file(path: Path, category: str, target: Path) -> Report:
    """Read one file of reviews into the Parquet file `target`.

    Raises:
        UserError: the file is missing or no file of reviews.
    """
    report = Report(path, detect_form(path))
    if report.form != "Python literals" and _is_whole(path):
        try:
            with _Writer(target, category) as writer:
                report.rows, unsure = _read_fast(
                    path, report.form, category, writer.write
                )
                sure = _read_carefully(report, writer, unsure)
            if sure:
                report.kept = writer.rows
                return report
        except (duckdb.InvalidInputException, duckdb.IOException):
            pass  # too damaged for DuckDB: all of it the careful way
        report = Report(path, report.form)
    report.reader = "careful"
    with _Writer(target, category) as writer:
        _read_carefully(report, writer, None)
    report.kept = writer.rows
    return report


def _is_whole(path: Path) -> bool:
    """Read a gzipped file to its end; DuckDB checks no check sums."""
    if not is_gzipped(path):
        return True
    try:
        with gzip.open(path) as stream:
            while stream.read(PROBED_BYTES):
                pass
    except (EOFError, OSError, zlib.error):
        return False
    return True


class _Writer:
    """Writes tables and rows to a Parquet file."""

    def __init__(self, target: Path, category: str):
        self.rows = 0
        self.category = category
        self.waiting: list[dict[str, Any]] = []
        self.file = pq.ParquetWriter(target, SCHEMA, compression="none")

    def write(self, table: pa.Table) -> None:
        self.file.write_table(table)
        self.rows += len(table)

    def add(self, row: dict[str, Any], record: int) -> None:
        row |= {"category": self.category, "record": record}
        self.waiting.append(row)
        if len(self.waiting) == BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self.waiting:
            self.write(pa.Table.from_pylist(self.waiting, SCHEMA))
            self.waiting = []

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        if not any(error):
            self._flush()
        self.file.close()


def _read_carefully(
    report: Report, writer: _Writer, wanted: set[int] | None
) -> bool:
    """Read the `wanted` records, or all; count them and keep the rejects.

    Returns:
        False if the file has another number of records than DuckDB found,
        so that the numbers in `wanted` cannot be trusted.
    """
    if wanted is not None and not wanted and report.rows:
        return True
    record = 0
    for record, line, content in records(report.path, report.form):
        if wanted is not None and record not in wanted:
            continue
        row, remark = parse(content)
        if row is not None:
            writer.add(row, record)
            if remark:
                report.repaired[remark] += 1
            continue
        report.dropped[remark] += 1
        shown = content if isinstance(content, bytes) else b""
        shown = shown[:SHOWN_BYTES].decode("utf-8", "replace")
        report.rejects.append(
            {
                "file": report.path.name,
                "line": line,
                "reason": remark,
                "content": shown,
            }
        )
    if wanted and record != report.rows:
        return False
    report.rows = record
    if not record:
        report.rows = 1
        report.dropped["empty file"] = 1
        reject = {"line": 1, "reason": "empty file", "content": ""}
        report.rejects.append({"file": report.path.name, **reject})
    return True


# Many files


def read(
    review_files: dict[str, list[Path]],
    folder: Path,
    max_bad_share: float = 0.01,
    engine: str = "local",
    num_workers: int = 0,
) -> list[Report]:
    """Read files of reviews into `folder`, one Parquet part a file.

    What had to be dropped is listed in rejects.jsonl beside the folder, also
    when the run stops because too much was dropped.

    Args:
        review_files: category -> its files.
        folder: replaced if it exists; it appears whole or not at all.
        max_bad_share: share of a file's records that may be dropped.
        engine: see `engine.run`.
        num_workers: see `engine.run`.

    Returns:
        One report a file, in the order of the files.

    Raises:
        UserError: a file is missing, no file of reviews, or too bad.
    """
    given = [(c, path) for c, group in review_files.items() for path in group]
    with files.staged_folder(folder) as staging:
        tasks = [
            (path, category, staging / f"{number:05d}.parquet")
            for number, (category, path) in enumerate(given)
        ]
        found = dict(run(read_file, tasks, engine, num_workers))
        reports = [found[number] for number in range(len(tasks))]
        rejects = [reject for report in reports for reject in report.rejects]
        lines = (json.dumps(r, ensure_ascii=False) + "\n" for r in rejects)
        files.write_text(folder.with_name("rejects.jsonl"), "".join(lines))
        for report in reports:
            report.check(max_bad_share)
    return reports


def tabulate(reports: list[Report]) -> pd.DataFrame:
    """Make a table of the reports: a row a file, a column a fate."""
    rows = [
        {
            "file": report.path.name,
            "form": report.form,
            "reader": report.reader,
            "records": report.rows,
            "kept": report.kept,
            "repaired": sum(report.repaired.values()),
            **report.dropped,
        }
        for report in reports
    ]
    table = pd.DataFrame(rows).set_index("file")
    fates = table.columns.drop(["form", "reader"])
    return table.astype(dict.fromkeys(fates, "Int64")).fillna(
        dict.fromkeys(fates, 0)
    )
