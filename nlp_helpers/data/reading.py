"""Read review files of any published form into checked Parquet parts.

The 2014 and 2018 releases name their fields `reviewText` and `overall`, the
2023 release `text` and `rating`. Files are JSON lines, one JSON array, or
Python literals a line, plain or gzipped.

Two readers share the work. DuckDB reads what is sound at full speed and says
which records it is not sure of; the lenient reader takes those one by one,
repairs what is safe to repair, and gives a reason for all that it drops. A
file that DuckDB cannot read at all goes through the lenient reader as a whole.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nlp_helpers.core import files, folders
from nlp_helpers.core.engine import processors, run
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.labels import LABEL2ID
from nlp_helpers.data.records import (
    IDENTIFIERS,
    MAX_RECORD_BYTES,
    NAMES,
    NOT_UTF8,
    detect_format,
    is_gzipped,
    is_whole,
    parse,
    records,
    unescape,
)

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
MEMORY_LIMIT = "500MB"
MAX_THREADS = 8  # each holds some 32 MB of JSON; more would not fit
BATCH_ROWS = 20_000
BATCH_CHARACTERS = 50_000_000
MAX_LISTED = 100_000  # rejects of a file in rejects.jsonl; all are counted
SHOWN_BYTES = 500  # of a rejected record, in rejects.jsonl
FIRST_SHOWN = 3  # rejects that an error message names
# {t} is the text: certainly a string with something in it, not a number, a
# list or an object that DuckDB has turned into text; and not monstrous.
HAS_TEXT = r"""regexp_matches({t}, '^\s*[^\s\[{{]')
    AND strlen({t}) < 1000000 AND (strlen({t}) > 25
         OR NOT regexp_full_match({t}, '[-+0-9.eE]+|true|false'))"""
# {r} is the rating: a plain number from 0 to 5, not true or false.
HAS_RATING = r"regexp_full_match({r}, '[0-4](\.[0-9]+)?|5(\.0+)?')"
# {n} is a name: not a number, a list or an object turned into text.
HAS_NAME = r"""(regexp_full_match({n}, '[A-Za-z_][\w-]*|[0-9]{{1,18}}')
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
    format: str  # JSON lines, JSON array or Python literals
    reader: str = "strict"  # or lenient, if DuckDB could not read the file
    rows: int = 0
    kept: int = 0
    dropped: Counter = field(default_factory=Counter)  # reason -> records
    repaired: Counter = field(default_factory=Counter)  # repair -> records
    garbled_line: int = 0  # of the first record that is not UTF-8
    rejects: list[dict[str, Any]] = field(default_factory=list)

    def check(self, max_bad_fraction: float) -> None:
        """Raise a UserError if too many records were dropped or garbled."""
        assert self.rows == self.kept + sum(self.dropped.values())
        garbled = self.repaired[NOT_UTF8]
        if garbled > max_bad_fraction * self.rows:
            raise UserError(
                f"{self.path}: {garbled} of {self.rows} records are not UTF-8,"
                f" the first on line {self.garbled_line}, more than"
                f" max_bad_fraction {max_bad_fraction:.1%} allows; mend them,"
                " or convert a file of another encoding (`iconv -f ENCODING -t"
                " utf-8`), or raise max_bad_fraction"
            )
        bad = sum(self.dropped.values())
        if bad <= max_bad_fraction * self.rows:
            return
        reasons = ", ".join(f"{n} {why}" for why, n in self.dropped.items())
        first = "; ".join(
            f"line {reject['line']}: {reject['reason']}"
            for reject in self.rejects[:FIRST_SHOWN]
        )
        raise UserError(
            f"{self.path}: {bad} of {self.rows} records"
            f" ({bad / self.rows:.1%}) cannot be used ({reasons}), more than"
            f" max_bad_fraction {max_bad_fraction:.1%} allows; {first}; see"
            f" rejects.jsonl in output_dir, {self._remedy()}"
        )

    def _remedy(self) -> str:
        """Say what to do about dropped records."""
        if self.kept or self.dropped.keys() - {"no text", "no rating"}:
            return "mend the file, or raise max_bad_fraction"
        text, rating = (" or ".join(NAMES[n]) for n in ("text", "overall"))
        return f"and rename the fields: text to {text}, rating to {rating}"


def connect() -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory that stays small."""
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    threads = min(MAX_THREADS, processors())
    connection.execute(f"SET threads = {threads}")
    connection.execute("SET enable_progress_bar = false")
    return connection


def literal(path: Path) -> str:
    """Write a path so that DuckDB takes its `*`, `?` and `[` as they are."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))


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


def build_select(path: Path, file_format: str) -> str:
    """Write the SQL that reads the fields of NAMES of every record of a file.

    A record that DuckDB cannot parse comes out with all its fields NULL.
    """
    types: dict[str, str] = {}
    fields = []
    for field_name, names in NAMES.items():
        types |= dict.fromkeys(names, "VARCHAR")
        # What is empty says nothing: another name may say it.
        values = ", ".join(f"nullif({name}, '')" for name in names)
        fields.append(f"coalesce({values}) AS {field_name}_")
    options: dict[str, object] = {
        "format": "'array'"
        if file_format == "JSON array"
        else "'newline_delimited'",
        "compression": "'gzip'" if is_gzipped(path) else "'uncompressed'",
        "columns": types,
        "maximum_object_size": MAX_RECORD_BYTES,
    }
    if file_format != "JSON array":
        options["ignore_errors"] = "true"
    arguments = ", ".join(f"{name}={value}" for name, value in options.items())
    name = literal(path).replace("'", "''")
    return f"SELECT {', '.join(fields)} FROM read_json('{name}', {arguments})"


def _read_strictly(
    path: Path,
    file_format: str,
    category: str,
    write: Callable[[pa.Table], None],
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
              FROM ({build_select(path, file_format)}))"""
    rows, unsure = 0, set()
    batches = _shared().cursor().sql(selected).to_arrow_reader(BATCH_ROWS)
    for batch in batches:
        text = clean_text(batch["text_"], batch["marked"])
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


def clean_text(text: pa.Array, marked: pa.Array) -> pa.Array:
    """Drop outer white space, and mend the texts that are `marked`."""
    if pc.any(marked).as_py():
        mended = [unescape(t) for t in text.filter(marked).to_pylist()]
        mended = pa.array(mended, pa.string())
        text = pc.replace_with_mask(text, marked, mended)
    return pc.fill_null(pc.utf8_trim_whitespace(text), "")


def read_file(path: Path, category: str, target: Path) -> Report:
    """Read one file of reviews into the Parquet file `target`.

    Raises:
        UserError: the file is missing or no file of reviews.
    """
    report = Report(path, detect_format(path))
    if report.format != "Python literals":
        try:
            with _Writer(target, category) as writer:
                report.rows, unsure = _read_strictly(
                    path, report.format, category, writer.write
                )
                # DuckDB checks no check sums; reading to the end does.
                sure = (
                    _read_leniently(report, writer, unsure)
                    if unsure
                    else report.rows > 0 and is_whole(path)
                )
            if sure:
                report.kept = writer.rows
                return report
        except (duckdb.InvalidInputException, duckdb.IOException):
            pass  # too damaged for DuckDB: the lenient reader takes all of it
        except OSError as error:
            # Once rows stream, DuckDB's errors come through Arrow like this.
            if error.errno is not None or "Out of Memory" in str(error):
                raise
        report = Report(path, report.format)
    report.reader = "lenient"
    with _Writer(target, category) as writer:
        _read_leniently(report, writer, None)
    report.kept = writer.rows
    return report


class _Writer:
    """Writes tables and rows to a Parquet file."""

    def __init__(self, target: Path, category: str):
        self.rows = 0
        self.category = category
        self.waiting: list[dict[str, Any]] = []
        self.characters = 0  # of the texts that wait
        self.file = pq.ParquetWriter(target, SCHEMA, compression="none")

    def write(self, table: pa.Table) -> None:
        self.file.write_table(table)
        self.rows += len(table)

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
        if not any(error):
            self._flush()
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
    for record, line, content in records(report.path, report.format):
        if wanted is not None and record not in wanted:
            continue
        row, remark = parse(content)
        if row is not None:
            writer.add(row, record)
            if remark:
                report.repaired[remark] += 1
            if remark == NOT_UTF8:
                report.garbled_line = report.garbled_line or line
            continue
        report.dropped[remark] += 1
        if len(report.rejects) == MAX_LISTED:
            continue
        start = content[:SHOWN_BYTES] if isinstance(content, bytes) else b""
        report.rejects.append(
            {
                "file": report.path.name,
                "line": line,
                "reason": remark,
                "content": start.decode("utf-8", "replace"),
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


def read_reviews(
    review_files: dict[str, list[Path]],
    folder: Path,
    max_bad_fraction: float = 0.01,
    engine: str = "local",
    num_workers: int = 0,
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

    Returns:
        One report a file, in the order of the files.

    Raises:
        UserError: a file is missing, no file of reviews, or too bad.
    """
    inputs = [(c, path) for c, group in review_files.items() for path in group]
    with folders.atomic_folder(folder) as staging:
        tasks = [
            (path, category, staging / f"{number:05d}.parquet")
            for number, (category, path) in enumerate(inputs)
        ]
        by_number = dict(run(read_file, tasks, engine, num_workers))
        reports = [by_number[number] for number in range(len(tasks))]
        rejects = [reject for report in reports for reject in report.rejects]
        lines = (json.dumps(r, ensure_ascii=False) + "\n" for r in rejects)
        files.write_text(folder.with_name("rejects.jsonl"), "".join(lines))
        for report in reports:
            report.check(max_bad_fraction)
    return reports


def tabulate(reports: list[Report]) -> pd.DataFrame:
    """Make a table of the reports: a row a file, a column an outcome."""
    rows = [
        {
            "file": report.path.name,
            "format": report.format,
            "reader": report.reader,
            "records": report.rows,
            "kept": report.kept,
            "repaired": sum(report.repaired.values()),
            **report.dropped,
        }
        for report in reports
    ]
    table = pd.DataFrame(rows).set_index("file")
    outcomes = table.columns.drop(["format", "reader"])
    return table.astype(dict.fromkeys(outcomes, "Int64")).fillna(
        dict.fromkeys(outcomes, 0)
    )
