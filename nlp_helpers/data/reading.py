"""Read review files of any published form into checked Parquet parts.

`formats` tells how a file is laid out and packed, `fields` which of its
fields hold text and rating, and `ratings` what a rating is worth.

Two readers share the work. DuckDB reads what is sound at full speed and says
which records it is not sure of; the lenient reader takes those one by one,
repairs what is safe to repair, and gives a reason for all that it drops. A
file that DuckDB cannot read at all goes through the lenient reader as a whole.
"""

import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
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
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import ratings
from nlp_helpers.data.fields import (
    IDENTIFIERS,
    Names,
    Template,
    Wanted,
    find_names,
    names_read,
    parts_of,
)
from nlp_helpers.data.formats import (
    Form,
    detect_format,
    detect_packing,
    is_whole,
)
from nlp_helpers.data.labels import STARS, order_labels
from nlp_helpers.data.lines import OPEN_FILES, Source, open_lines
from nlp_helpers.data.records import (
    MAX_RECORD_BYTES,
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
MEMORY_LIMIT = "500MB"
MAX_THREADS = 8  # each holds some 32 MB of JSON; more would not fit
FETCHED_ROWS = 4096  # at once from DuckDB; they fit into a processor's cache
BATCH_ROWS = 20_000  # written at once
BATCH_CHARACTERS = 50_000_000
MAX_LISTED = 100_000  # rejects of a file in rejects.jsonl; all are counted
SHOWN_BYTES = 500  # of a rejected record, in rejects.jsonl
SAMPLED = 1000  # records, to see which fields there are
ANY = Wanted()
FIRST_SHOWN = 3  # rejects that an error message names
# {t} is the text: certainly a string with something in it, not a number, a
# list or an object that DuckDB has turned into text; and not monstrous.
HAS_TEXT = r"""regexp_matches({t}, '^\s*[^\s\[{{]')
    AND strlen({t}) < 1000000 AND (strlen({t}) > 25
         OR NOT regexp_full_match({t}, '[-+0-9.eE]+|true|false'))"""
# {r} is the rating: a plain number, not true or false.
HAS_RATING = r"regexp_full_match({r}, '-?[0-9]{{1,9}}(\.[0-9]{{1,9}})?')"
# {n} is a name that certainly was one. In JSON, no list or object turned into
# text, and no number but a whole one: not 1.5, 1e9 or NaN, where ISBNs, UUIDs
# and hashes may begin with digits too.
JSON_NAME = (
    r"({n} IS NULL OR NOT regexp_full_match({n}, '(?is)([^!-~\pL\pN]|[\[{{]).*"
    r"|[0-9]{{19,}}|[-+][0-9]+|[-+]?[0-9]*\.?[0-9]*e[-+]?[0-9]+"
    r"|[-+]?[0-9]*\.[0-9]*|[-+]?(nan|inf(inity)?)'))"
)
# What begins with a letter, a digit or a sign in a table is what it is.
TABLE_NAME = r"({n} IS NULL OR regexp_matches({n}, '^[!-~\pL\pN]'))"
# Parquet's dates, fractions and times may be written in other ways.
STORED_NAME = (
    r"({n} IS NULL OR regexp_full_match({n}, '[-\w]*[A-Za-df-zA-DF-Z_][-\w]*"
    r"|[0-9]{{1,18}}') AND NOT regexp_full_match({n}, '(?i)-?(nan|inf)'))"
)
# The same, and the forms of a time in a field of the user's own.
STORED_GROUP = (
    r"({n} IS NULL OR regexp_full_match({n}, '[A-Za-z_][\w -]*|[0-9]{{1,18}}"
    r"|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ][0-9:]+)?')"
    r" AND NOT regexp_full_match({n}, '(?i)-?(nan|inf)'))"
)
LABEL = (
    "CASE WHEN {o} >= 4 THEN 'positive' WHEN {o} < 3 THEN 'negative'"
    " ELSE 'neutral' END"
)
# {r} is a label: a text or a number as it stands; whatever else there is, a
# fraction, an entity, a list, is left to the lenient reader.
HAS_LABEL = r"regexp_full_match({r}, '[\w-]+( [\w-]+)*') AND strlen({r}) < 200"
TABLES = ("table", "Parquet")  # each row has all columns
LABELS_FILE = "labels.json"  # beside the parts: the classes' names, in order


MAX_DISTINCT = 1000  # ratings that are told apart
MIN_RATINGS = 50  # before it means something that none is the best


@dataclass
class Report:
    """What became of the records of one file."""

    path: Path
    form: Form
    columns: list[str]  # what its first records have
    names: Names  # field -> the names it is read from
    wanted: Wanted
    reader: str = "strict"  # or lenient, if DuckDB could not read the file
    rows: int = 0
    kept: int = 0
    dropped: Counter = field(default_factory=Counter)  # reason -> records
    repaired: Counter = field(default_factory=Counter)  # repair -> records
    ratings: Counter = field(default_factory=Counter)  # also off the scale
    labels: Counter = field(default_factory=Counter)  # of what is kept
    doubtful: int = 0  # records that the lenient reader was asked about
    garbled_line: int = 0  # of the first record that is not UTF-8
    rejects: list[dict[str, Any]] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Say whether the file has what a name stands for."""
        return all(part in self.columns for part in parts_of(name))

    def check(self, max_bad_fraction: float) -> None:
        """Raise a UserError if too many records were dropped or garbled.

        Or if the ratings look like those of another scale.
        """
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
        if bad > max_bad_fraction * self.rows:
            counts = self.dropped.items()
            reasons = ", ".join(f"{n} {why}" for why, n in counts)
            first = "; ".join(
                f"line {reject['line']}: {reject['reason']}"
                for reject in self.rejects[:FIRST_SHOWN]
            )
            raise UserError(
                f"{self.path}: {bad} of {self.rows} records"
                f" ({bad / self.rows:.1%}) cannot be used ({reasons}), more"
                f" than max_bad_fraction {max_bad_fraction:.1%} allows;"
                f" {first}; see rejects.jsonl in output_dir; {self._remedy()}"
            )
        if self._is_doubtful():
            raise UserError(
                f"{self.path}: {self._describe_scale()}; for stars that never"
                " reach five, rating_scale: [1, 5]"
            )

    def _is_doubtful(self) -> bool:
        """Say whether stars were assumed, and none of many is the best.

        A single rating may be all there is: some sort files by it.
        """
        many = self.kept >= MIN_RATINGS and len(self.ratings) > 1
        assumed = not self.wanted.rating_scale
        return assumed and many and max(self.ratings) < ratings.STARS[1]

    def _describe_scale(self) -> str:
        return ratings.describe_scale(self.ratings, self.wanted.scale)

    def _remedy(self) -> str:
        """Say what to do about most of the dropped records."""
        reason, _ = self.dropped.most_common(1)[0]
        if reason == OFF_SCALE and self.ratings:
            return self._describe_scale()
        if self.kept or reason not in (NO_TEXT, NO_RATING, NO_LABEL):
            bad = sum(self.dropped.values()) / self.rows
            enough = math.ceil(bad * 100) / 100
            return f"mend the file, or raise max_bad_fraction to {enough}"
        name, parameter = (
            ("text", "text_field")
            if reason == NO_TEXT
            else ("overall", "label_field")
        )
        first = next(r for r in self.rejects if r["reason"] == reason)
        return (
            f"there, {' or '.join(self.names[name])} holds {first['value']};"
            f" mend it, or name another field as {parameter}: the file has"
            f" {', '.join(self.columns)}"
            + "; set label_rule to values if it is a label"
            * (reason == NO_RATING)
        )


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


def build_select(report: Report, source: str) -> str:
    """Write the SQL that reads the fields of every record of a file.

    A record of JSON that DuckDB cannot parse comes out with all its fields
    NULL.

    Args:
        report: of the file.
        source: what `_source` writes.
    """
    selected = []
    for name, columns in report.names.items():
        # What is empty says nothing: another name may say it.
        values = [
            _filled(column)
            if isinstance(column, Template)
            else f"nullif({_quoted(column)}, '')"
            for column in columns
            if report.form.name not in TABLES or report.has(column)
        ]
        selected.append(f"coalesce({', '.join(['NULL', *values])}) AS {name}_")
    readers = {"table": _read_csv, "Parquet": _read_parquet}
    reader = readers.get(report.form.name, _read_json)(report, source)
    return f"SELECT {', '.join(selected)} FROM {reader}"


def _filled(template: Template) -> str:
    """Write the SQL of a text of several fields, NULL where one is unsure."""
    pieces = template.pieces
    parts = [_quoted(name) for name in pieces[1::2]]
    pieces[::2] = [
        "'" + words.replace("'", "''") + "'" for words in pieces[::2]
    ]
    pieces[1::2] = parts
    sure = [
        f"(nullif({part}, '') IS NULL OR {HAS_TEXT.format(t=part)})"
        for part in parts
    ]
    some = [f"nullif({part}, '') IS NOT NULL" for part in parts]
    return (
        f"CASE WHEN ({' OR '.join(some)}) AND {' AND '.join(sure)}"
        f" THEN concat({', '.join(pieces)}) END"
    )


def _read_json(report: Report, source: str) -> str:
    """Write DuckDB's call that reads JSON."""
    types = ", ".join(
        f"{_quoted(name)}: 'VARCHAR'"
        for name in sorted(names_read(report.names))
    )
    layout = {"JSON array": "array", "JSON objects": "unstructured"}
    lines = report.form.name not in layout
    return f"""read_json({source}, columns={{{types}}},
        format='{layout.get(report.form.name, "newline_delimited")}',
        maximum_object_size={MAX_RECORD_BYTES}, ignore_errors={lines})"""


def _read_csv(report: Report, source: str) -> str:
    """Write DuckDB's call that reads a table."""
    quote = '"' if report.form.quoting else ""
    # pandas gives the column of the index no name.
    columns = [_quoted(name or " ") for name in report.columns]
    types = ", ".join(f"{column}: 'VARCHAR'" for column in columns)
    return f"""read_csv({source}, header=true,
        auto_detect=false, columns={{{types}}},
        delim='{report.form.delimiter}', quote='{quote}', escape='{quote}',
        max_line_size={MAX_RECORD_BYTES})"""


def _read_parquet(report: Report, source: str) -> str:
    """Write DuckDB's call that reads a Parquet file, all of it as text."""
    name = literal(report.path).replace("'", "''")
    reader = f"read_parquet('{name}', binary_as_string=true)"
    return f"(SELECT COLUMNS(*)::VARCHAR FROM {reader})"


def _source(path: Path, packing: str) -> str:
    """Write a path and its compression as arguments for DuckDB."""
    packing = packing.replace("plain", "uncompressed")
    name = literal(path).replace("'", "''")
    return f"'{name}', compression='{packing}'"


def _quoted(name: str) -> str:
    """Write a column's name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _read_lines(report: Report, writer: "_Writer") -> bool:
    """Read JSON lines: DuckDB what it is sure of, the lenient reader the rest.

    Returns:
        False if the numbers of the records cannot be trusted, or if the file
        breaks off: all of it is for the lenient reader.
    """
    with open_lines(report.path) as lines:
        doubts = _Doubts(report, writer, lines)
        source = _source(lines.path, lines.packing)
        for unsure in _read_strictly(report, writer, source):
            doubts.settle(unsure)
        return report.rows > 0 and doubts.close() and not lines.damaged


def _read_others(report: Report, writer: "_Writer") -> bool:
    """Read another layout: what DuckDB is not sure of in a second pass.

    Returns:
        See `_read_lines`.
    """
    source = _source(report.path, detect_packing(report.path))
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
    selected = f"""
        SELECT * REPLACE (coalesce(text_, '') AS text_),
            coalesce(regexp_matches(text_, '&[#A-Za-z]')
                OR contains(text_, chr(0)), false) AS marked,
            {_label(report.wanted)} AS label,
            coalesce({HAS_TEXT.format(t="text_")}
                AND {_has_label(report.wanted)}
                AND {_have_names(report.form)}, false) AS sound
        FROM (SELECT *, {_rating(report.wanted)} AS rating
              FROM ({build_select(report, source)}))"""
    cursor = _shared().cursor()  # DuckDB 1.3 closes what nobody holds
    relation = cursor.sql(selected)
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
        _count_values(report.ratings, pc.round(rows["overall"], 2))
        _count_values(report.labels, rows["label"])
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


def _have_names(form: Form) -> str:
    """Write the SQL that says whether all identifiers are certain."""
    tests = {"table": TABLE_NAME, "Parquet": STORED_NAME}
    test = dict.fromkeys(IDENTIFIERS, tests.get(form.name, JSON_NAME))
    if form.name == "Parquet":
        test["group_name"] = STORED_GROUP
    return " AND ".join(
        test[name].format(n=f"{name}_") for name in IDENTIFIERS
    )


def _rating(wanted: Wanted) -> str:
    """Write the SQL of the rating; where labels count, there is none."""
    number = "NULL" if wanted.label_rule == "values" else "overall_"
    return f"try_cast({number} AS DOUBLE)"


def _label(wanted: Wanted) -> str:
    """Write the SQL of the name of the class."""
    if wanted.label_rule == "values":
        return "overall_"
    return LABEL.format(o=_stars(wanted))


def _has_label(wanted: Wanted) -> str:
    """Write the SQL that says whether a class is certain."""
    if wanted.label_rule == "values":
        return HAS_LABEL.format(r="overall_")
    lowest, highest = wanted.scale
    number = HAS_RATING.format(r="overall_")
    return f"{number} AND rating BETWEEN {lowest} AND {highest}"


def _stars(wanted: Wanted) -> str:
    """Write the SQL of `ratings.to_stars`."""
    lowest, highest = wanted.scale
    if wanted.scale == ratings.STARS:
        return "rating"
    return f"((rating - {lowest}) * 4 / ({highest} - {lowest}) + 1)"


def _count_rating(report: Report, rating: float | None) -> None:
    """Count one rating, unless it is none or endless."""
    if rating is not None and math.isfinite(rating):
        if len(report.ratings) < MAX_DISTINCT:
            report.ratings[round(rating, 2)] += 1


def _count_values(counter: Counter, values: pa.Array) -> None:
    """Count how often each value occurs, as long as they are few."""
    if len(counter) < MAX_DISTINCT:
        for count in pc.value_counts(values.drop_null()).to_pylist():
            counter[count["values"]] += count["counts"]


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
        except (duckdb.InvalidInputException, duckdb.IOException):
            pass  # too damaged for DuckDB: the lenient reader takes all of it
        except OSError as error:
            # Once rows stream, DuckDB's errors come through Arrow like this.
            if error.errno is not None or "Out of Memory" in str(error):
                raise
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
    _count_rating(report, row["overall"])
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
            _count_rating(report, ratings.read_rating(found))
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
