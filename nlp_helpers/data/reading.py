"""Read review files of any published form into checked Parquet parts.

`formats` tells how a file is laid out and packed, `fields` which of its
fields hold text and rating, and `ratings` what a rating is worth; `reports`
keeps count.

Two readers share the work. DuckDB reads what is sound at full speed (`queries`
has the SQL) and says which records it is not sure of; the lenient reader takes
those one by one, repairs what is safe to repair, and gives a reason for all
that it drops. A file that DuckDB cannot read at all goes through the lenient
reader as a whole.
"""

import json
import reprlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nlp_helpers.core import files, folders
from nlp_helpers.core.engine import processors, run
from nlp_helpers.data import ratings
from nlp_helpers.data.fields import (
    IDENTIFIERS,
    Wanted,
    find_names,
    names_read,
)
from nlp_helpers.data.formats import (
    Form,
    detect_format,
    detect_packing,
    is_whole,
)
from nlp_helpers.data.labels import STARS, order_labels
from nlp_helpers.data.lines import OPEN_FILES, Source, open_lines
from nlp_helpers.data.queries import (
    TABLES,
    build_query,
    literal,
    write_source,
)
from nlp_helpers.data.records import (
    MAX_SPANNED,
    NO_LABEL,
    NO_RATING,
    NO_TEXT,
    NOT_UTF8,
    OFF_SCALE,
    Record,
    as_object,
    first,
    parse,
    records,
    regroup,
    unescape,
)
from nlp_helpers.data.reports import Report, count_rating, count_values

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("overall", pa.float64()),
        ("label", pa.string()),  # the name of the class
        ("category", pa.string()),
        ("product", pa.string()),
        ("reviewer", pa.string()),
        ("review", pa.string()),
        ("group_name", pa.string()),  # or time, of `group_field`
        ("record", pa.int64()),  # place among the file's records, from 1
    ]
)
# Columns whose values repeat. Of the others, texts above all, a dictionary or
# the least and the greatest value would be made for nobody.
REPEATED = ["overall", "label", "category", "product"]
# What DuckDB raises for a damaged file; an error of Parquet has no class.
TOO_DAMAGED = (duckdb.Error, duckdb.InvalidInputException, duckdb.IOException)
MEMORY_LIMIT = "500MB"
MAX_THREADS = 8  # each holds some 32 MB of JSON; more would not fit
FETCHED_ROWS = 4096  # at once from DuckDB; they fit into a processor's cache
BATCH_ROWS = 20_000  # written at once
BATCH_CHARACTERS = 50_000_000
MAX_LISTED = 100_000  # rejects of a file in rejects.jsonl; all are counted
SHOWN_BYTES = 500  # of a rejected record, in rejects.jsonl
SAMPLED = 1000  # records, to see which fields there are
ANY = Wanted()
LABELS_FILE = "labels.json"  # beside the parts: the classes' names, in order


def connect() -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory that stays small."""
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    threads = min(MAX_THREADS, processors())
    connection.execute(f"SET threads = {threads}")
    connection.execute("SET enable_progress_bar = false")
    return connection


@lru_cache(maxsize=1)
def _shared() -> duckdb.DuckDBPyConnection:
    """Open the DuckDB that all reading of files shares."""
    return connect()


def query_parquet(question: str, **tables: Path) -> pd.DataFrame:
    """Answer an SQL question about Parquet files.

    Args:
        question: names the tables as the keyword arguments do.
        tables: a Parquet file each, or a folder of such files.
    """
    with connect() as connection:
        for name, path in tables.items():
            pattern = literal(path) + "/*.parquet" * path.is_dir()
            connection.from_parquet(pattern).create_view(name)
        return connection.sql(question).df()


# The strict reader


def _read_lines(report: Report, writer: "_Writer") -> bool:
    """Read JSON lines: DuckDB what it is sure of, the lenient reader the rest.

    Returns:
        False if the numbers of the records cannot be trusted, or if the file
        breaks off: all of it is for the lenient reader.
    """
    with open_lines(report.path) as lines:
        doubts = _Doubts(report, writer, lines)
        source = write_source(lines.path, lines.packing)
        for unsure in _read_strictly(report, writer, source):
            doubts.settle(unsure)
        return report.rows > 0 and doubts.close() and not lines.damaged


def _read_others(report: Report, writer: "_Writer") -> bool:
    """Read another layout: what DuckDB is not sure of in a second pass.

    Returns:
        See `_read_lines`.
    """
    source = write_source(report.path, detect_packing(report.path))
    unsure: set[int] = set()
    for numbers in _read_strictly(report, writer, source):
        unsure.update(numbers)
    if unsure:
        return _read_leniently(report, writer, unsure)
    # DuckDB checks no check sums; reading to the end does.
    return report.rows > 0 and is_whole(report.path)


def _read_strictly(
    report: Report, writer: "_Writer", source: str
) -> Iterator[list[int]]:
    """Write and count the sound records; yield the others' numbers."""
    cursor = _shared().cursor()  # DuckDB 1.3 closes what nobody holds
    relation = cursor.sql(build_query(report, source))
    # DuckDB 1.3 knows the second name alone, 2 the first.
    new = hasattr(relation, "to_arrow_reader")
    read = relation.to_arrow_reader if new else relation.fetch_arrow_reader
    for batch in read(FETCHED_ROWS):
        text = clean_text(batch["text_"], batch["marked"])
        sound = pc.and_(batch["sound"], pc.not_equal(text, ""))
        start = report.rows + 1
        report.rows += len(batch)
        record = pa.array(np.arange(start, report.rows + 1))
        columns = [
            text,
            batch["rating"],
            batch["label"].cast(pa.string()),
            pa.repeat(writer.category, len(batch)),
            *(batch[f"{name}_"].cast(pa.string()) for name in IDENTIFIERS),
            record,
        ]
        rows = pa.table(columns, SCHEMA)
        unsure = record.filter(pc.invert(sound)).to_pylist()
        if unsure:
            rows = rows.filter(sound)
        writer.write(rows)
        count_values(report.ratings, pc.round(rows["overall"], 2))
        count_values(report.labels, rows["label"])
        yield unsure


class _Doubts:
    """The records of JSON lines that DuckDB is not sure of."""

    def __init__(self, report: Report, writer: "_Writer", lines: Source):
        self.report = report
        self.writer = writer
        self.lines = lines
        self.run: list[tuple[int, Record]] = []  # neighbours, with numbers
        self.trusted = True

    def settle(self, numbers: list[int]) -> None:
        """Take records that come after all before, up to `report.rows`."""
        for number in numbers:
            follows = self.run and self.run[-1][0] == number - 1
            if not follows or len(self.run) > MAX_SPANNED:
                self._take_run()
            piece = self.lines.finder.find(number)
            if piece is None:  # DuckDB has found more records than lines
                self.trusted = False
                return
            self.run.append((number, piece))
        if self.lines.fed:
            # Not to the next: that may wait until this one is taken.
            self.lines.finder.skip(self.report.rows)

    def _take_run(self) -> None:
        """Ask the lenient reader about neighbours, which may be one object."""
        pieces = [piece for _, piece in self.run]
        if list(regroup(iter(pieces))) != pieces:
            self.trusted = False
        for number, (line, content) in self.run:
            _take(self.report, self.writer, number, line, content)
        self.report.doubtful += len(self.run)
        self.run = []

    def close(self) -> bool:
        """Say whether the records' numbers were DuckDB's throughout."""
        self._take_run()
        if not self.report.doubtful and not self.lines.fed:
            return True
        return self.trusted and self.lines.finder.count() == self.report.rows


def clean_text(text: pa.StringArray, marked: pa.BooleanArray) -> pa.Array:
    """Drop outer white space, and mend the texts that are `marked`.

    Args:
        text: without nulls.
        marked: has something to mend.
    """
    odd = pa.array(marked.to_numpy(zero_copy_only=False) | _outer_odd(text))
    if not odd.true_count:
        return text
    mended = [unescape(t) for t in text.filter(odd).to_pylist()]
    trimmed = pc.utf8_trim_whitespace(pa.array(mended, pa.string()))
    return pc.replace_with_mask(text, odd, trimmed)


def _outer_odd(text: pa.StringArray) -> np.ndarray:
    """Say of which texts the first or the last byte may be white space.

    That is all but the printable characters of ASCII. Looking at two bytes
    costs less than copying all texts to trim a few.
    """
    _, offsets, content = text.buffers()
    ends = np.frombuffer(offsets, np.int32)[text.offset :][: len(text) + 1]
    letters = np.frombuffer(content or b"", np.uint8)
    first, last = ends[:-1], ends[1:] - 1
    filled = np.flatnonzero(first <= last)
    odd = np.zeros(len(text), bool)
    for place in (first, last):
        letter = letters[place[filled]]
        odd[filled] |= (letter <= ord(" ")) | (letter > ord("~"))
    return odd


def read_file(
    path: Path, category: str, target: Path, wanted: Wanted = ANY
) -> Report:
    """Read one file of reviews into the Parquet file `target`.

    Raises:
        UserError: the file is missing or no file of reviews.
    """
    form = detect_format(path, wanted.text_field)
    columns = _sample_columns(path, form)
    names = find_names(path, columns, wanted)
    report = Report(path, form, columns, names, wanted)
    if _is_for_duckdb(report):
        try:
            with _Writer(target, category) as writer:
                read = (
                    _read_lines if form.name == "JSON lines" else _read_others
                )
                sure = read(report, writer)
            if sure:
                report.kept = writer.rows
                return report
        except duckdb.Error as error:
            if type(error) not in TOO_DAMAGED:
                raise
        except OSError as error:
            # Once rows stream, DuckDB's errors come through Arrow like this.
            if error.errno is not None or "Out of Memory" in str(error):
                raise
        # The lenient reader takes all of it.
        report = Report(path, form, columns, names, wanted)
    report.reader = "lenient"
    with _Writer(target, category) as writer:
        _read_leniently(report, writer, None)
    report.kept = writer.rows
    return report


def _sample_columns(path: Path, form: Form) -> list[str]:
    """Return the names of the fields that a file's first records have."""
    columns: dict[str, None] = {}
    for _, _, content in islice(records(path, form), SAMPLED):
        if isinstance(content, bytes):
            record, _ = as_object(content)
            columns |= dict.fromkeys(record or ())
    return [str(name) for name in columns]


def _is_for_duckdb(report: Report) -> bool:
    """Say whether DuckDB reads such a file, and its columns' names."""
    tabular = report.form.name in TABLES
    columns = report.columns if tabular else names_read(report.names)
    lower = {name.lower() for name in columns}
    stored = report.form.name == "Parquet"
    packings = ("plain",) if stored else ("plain", "gzip", "zstd")
    if report.form.name == "JSON lines" and OPEN_FILES.is_dir():
        packings = (detect_packing(report.path),)  # of any kind
    return (
        report.form.name
        not in ("Python literals", "text blocks", "wrapped JSON", "Excel")
        and detect_packing(report.path) in packings
        # DuckDB's names are the same in any case; a damaged file has none.
        and 0 < len(lower) == len(columns)
    )


class _Writer:
    """Writes tables and rows to a Parquet file, in a thread of its own."""

    def __init__(self, target: Path, category: str):
        self.rows = 0
        self.category = category
        self.tables: list[pa.Table] = []  # of the next group of rows
        self.waiting: list[dict[str, Any]] = []
        self.characters = 0  # of the texts that wait
        self.file = pq.ParquetWriter(
            target,
            SCHEMA,
            compression="none",
            use_dictionary=REPEATED,
            write_statistics=REPEATED,
        )
        self.thread = ThreadPoolExecutor(1)
        self.written: Future[None] = self.thread.submit(lambda: None)

    def write(self, table: pa.Table) -> None:
        self.tables.append(table)
        self.rows += len(table)
        rows = sum(map(len, self.tables))
        size = sum(table.nbytes for table in self.tables)
        if rows >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            self._write_group()

    def _write_group(self) -> None:
        """Have the thread write what there is, once it is free."""
        self.written.result()  # raises what writing raised
        if self.tables:
            group = pa.concat_tables(self.tables)
            self.tables = []
            self.written = self.thread.submit(self.file.write_table, group)

    def add(self, row: dict[str, Any], record: int) -> None:
        row |= {"category": self.category, "record": record}
        self.waiting.append(row)
        self.characters += len(row["text"])
        full = self.characters >= BATCH_CHARACTERS
        if full or len(self.waiting) == BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self.waiting:
            self.write(pa.Table.from_pylist(self.waiting, SCHEMA))
            self.waiting, self.characters = [], 0

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if not any(error):
                self._flush()
                self._write_group()
                self.written.result()
        finally:
            self.thread.shutdown()
            self.file.close()


def _read_leniently(
    report: Report, writer: _Writer, wanted: set[int] | None
) -> bool:
    """Read the `wanted` records, or all; count them and keep the rejects.

    Returns:
        False if the file has another number of records than DuckDB found,
        so that the numbers in `wanted` cannot be trusted.
    """
    record = 0
    for record, line, content in records(report.path, report.form):
        if wanted is not None and record not in wanted:
            continue
        _take(report, writer, record, line, content)
    if wanted and record != report.rows:
        return False
    report.rows = record
    report.doubtful = record if wanted is None else len(wanted)
    if not record:
        report.rows = 1
        report.dropped["empty file"] = 1
        reject = {"line": 1, "reason": "empty file", "content": ""}
        report.rejects.append({"file": report.path.name, **reject})
    return True


def _take(
    report: Report,
    writer: _Writer,
    record: int,
    line: int,
    content: bytes | str,
) -> None:
    """Turn one record into a row or a reject, and count it."""
    stars = report.wanted.label_rule == "stars"
    scale = report.wanted.scale if stars else None
    row, remark = parse(content, report.names, scale)
    if row is None:
        _reject(report, line, remark, content)
        return
    writer.add(row, record)
    count_rating(report, row["overall"])
    report.labels[row["label"]] += 1
    if remark:
        report.repaired[remark] += 1
    if remark == NOT_UTF8:
        report.garbled_line = report.garbled_line or line


def _reject(
    report: Report, line: int, reason: str, content: bytes | str
) -> None:
    """Count a dropped record, and list it while the list is short."""
    report.dropped[reason] += 1
    field_name = {
        NO_TEXT: "text",
        **dict.fromkeys((NO_RATING, NO_LABEL, OFF_SCALE), "overall"),
    }
    value = ""
    if reason in field_name and isinstance(content, bytes):
        record, _ = as_object(content)
        found = first(record or {}, report.names[field_name[reason]])
        value = reprlib.repr(found)
        if reason == OFF_SCALE:
            count_rating(report, ratings.read_rating(found))
    if len(report.rejects) == MAX_LISTED:
        return
    start = content[:SHOWN_BYTES] if isinstance(content, bytes) else b""
    report.rejects.append(
        {
            "file": report.path.name,
            "line": line,
            "reason": reason,
            "content": start.decode("utf-8", "replace"),
        }
        | ({"value": value} if value else {})
    )


# Many files


def read_reviews(
    review_files: dict[str, list[Path]],
    folder: Path,
    max_bad_fraction: float = 0.01,
    engine: str = "local",
    num_workers: int = 0,
    wanted: Wanted = ANY,
) -> list[Report]:
    """Read files of reviews into `folder`, one Parquet part a file.

    What had to be dropped is listed in rejects.jsonl beside the folder, also
    when the run stops because too much was dropped.

    Args:
        review_files: category -> its files.
        folder: replaced if it exists; it appears whole or not at all.
        max_bad_fraction: share of a file's records that may be dropped, and
            share that may lose letters because they are not UTF-8.
        engine: see `engine.run`.
        num_workers: see `engine.run`.
        wanted: fields and scale of the files; see `Wanted`.

    Returns:
        One report a file, in the order of the files.

    Raises:
        UserError: a file is missing, no file of reviews, or too bad, or its
            ratings look like those of another scale.
    """
    inputs = [(c, path) for c, group in review_files.items() for path in group]
    with folders.atomic_folder(folder) as staging:
        tasks = [
            (path, category, staging / f"{number:05d}.parquet", wanted)
            for number, (category, path) in enumerate(inputs)
        ]
        by_number = dict(run(read_file, tasks, engine, num_workers))
        reports = [by_number[number] for number in range(len(tasks))]
        rejects = [reject for report in reports for reject in report.rejects]
        lines = (json.dumps(r, ensure_ascii=False) + "\n" for r in rejects)
        files.write_text(folder.with_name("rejects.jsonl"), "".join(lines))
        for report in reports:
            report.check(max_bad_fraction)
        files.write_json(staging / LABELS_FILE, _labels_of(reports, wanted))
    return reports


def _labels_of(reports: list[Report], wanted: Wanted) -> list[str]:
    """Return the names of all classes, in the order of their numbers."""
    if wanted.label_rule == "stars":
        return list(STARS)
    return order_labels({label for r in reports for label in r.labels})


def read_labels(parts: Path) -> list[str]:
    """Return the names of all classes, in the order of their numbers.

    Args:
        parts: the folder that `read_reviews` wrote.
    """
    return files.read_json(parts / LABELS_FILE)


TEXT_COLUMNS = ["format", "reader", "text", "label", "ratings"]


def tabulate(reports: list[Report]) -> pd.DataFrame:
    """Make a table of the reports: a row a file, a column an outcome."""
    rows = [
        {
            "file": report.path.name,
            "format": str(report.form),
            "reader": report.reader,
            "text": _names_present(report, "text"),
            "label": _names_present(report, "overall"),
            "ratings": _show_range(report.ratings),
            "classes": len(report.labels),
            "records": report.rows,
            "kept": report.kept,
            "repaired": sum(report.repaired.values()),
            **report.dropped,
        }
        for report in reports
    ]
    table = pd.DataFrame(rows).set_index("file")
    outcomes = table.columns.drop(TEXT_COLUMNS)
    return table.astype(dict.fromkeys(outcomes, "Int64")).fillna(
        dict.fromkeys(outcomes, 0)
    )


def _names_present(report: Report, field_name: str) -> str:
    """Return the names under which a file has a field."""
    names = report.names[field_name]
    return " or ".join(name for name in names if report.has(name))


def _show_range(values: Counter[float]) -> str:
    """Return the lowest and the highest rating."""
    return f"{min(values):g} to {max(values):g}" if values else ""
