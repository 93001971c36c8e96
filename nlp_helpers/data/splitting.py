"""Remove duplicates, draw a sample, and split without leaks.

DuckDB decides on keys of a few bytes a row; the texts themselves are copied
batch by batch, so memory stays flat whatever the number of reviews.
"""

from contextlib import ExitStack
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nlp_helpers.core import files, folders
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import queries, reading

SPLITS = ("train", "validation")
SPLIT_FILE = "split.json"  # how it was made
ROWS_PER_GROUP = 4096  # of a Parquet file; one group becomes one token shard
MEMORY_LIMIT = "250MB"  # of DuckDB; what needs more goes to disk
FEW_GROUPS = 20_000
MAX_COUNTED = 12  # classes whose shares are made equal one by one
MAX_ATTEMPTS = 30
# What must stay on one side of the split. Reviews of the published files have
# no name of their own: a reviewer reviews a product once. A row that does not
# name its product or reviewer stays at least with its review.
REVIEW = "coalesce(review, reviewer || ' on ' || product)"
# A number of whatever unit, or a date and time in ISO 8601 or Amazon's form;
# what has an offset is taken to UTC.
TIME = """coalesce(try_cast(group_name AS DOUBLE), epoch(coalesce(
    try_cast(group_name AS TIMESTAMP), try_strptime(group_name, '%m %d, %Y'))))
"""
GROUPS = {
    "review": REVIEW,
    "product": f"coalesce(product, {REVIEW})",
    "reviewer": f"coalesce(reviewer, {REVIEW})",
    "field": f"coalesce(group_name, {REVIEW})",
    "time": f"({TIME})::VARCHAR",
    "none": "NULL",
}
# What some rows at least must have; for the others there are substitutes.
NAMED = {
    "product": "product",
    "reviewer": "reviewer",
    "field": "group_name",
    "time": TIME,
}
# Texts that differ only in case and white space are the same. Most are ASCII,
# and a few replacements are three times as fast as the translation.
ASCII_SPACE = [ord(space) for space in " \n\t\r\v\f"]
OTHER_SPACE = [code for code in range(0x80, 0x3001) if chr(code).isspace()]
WITHOUT_SPACE = "lower(text)"
for code in ASCII_SPACE:
    WITHOUT_SPACE = f"replace({WITHOUT_SPACE}, chr({code}), '')"
OTHERS = " || ".join(f"chr({code})" for code in OTHER_SPACE)
NORMALISED = f"""CASE WHEN strlen(text) = length(text) THEN {WITHOUT_SPACE}
    ELSE translate({WITHOUT_SPACE}, {OTHERS}, '') END"""


def split(
    parts: Path,
    target: Path,
    *,
    group_by: str = "review",
    test_size: float = 0.2,
    sample_per_category: int = 0,
    seed: int = 0,
) -> dict[str, int]:
    """Write `target`/train.parquet and validation.parquet.

    The first of equal texts stays. Then `sample_per_category` rows are drawn
    by a hash of seed and text, so that the same rows come whatever files they
    stand in. Then groups are put in the order of their class shares, and
    every n-th of them is held out (systematic sampling): training and
    validation have nearly the same share of each class, and no group is on
    both sides. With `time` the latest texts are held out instead.

    Args:
        parts: the folder that `reading.read_reviews` wrote.
        target: replaced if it exists; it appears whole or not at all.
        group_by: review, product, reviewer, field or time (of the field that
            `reading.read_reviews` was asked for), or none.
        test_size: share of the groups held out for validation.
        sample_per_category: 0 keeps all rows.
        seed: decides the sample and the split.

    Returns:
        Rows by what became of them: duplicates, not sampled, train,
        validation, and without time. They add up to the rows read.

    Raises:
        UserError: `group_by` is unknown, no row names its product, reviewer,
            field or time, or a side of the split is empty.
    """
    if group_by not in GROUPS:
        raise UserError(
            f"group_by is {group_by!r}; it can be {', '.join(GROUPS)}"
        )
    paths = sorted(parts.glob("*.parquet"))
    labels = reading.read_labels(parts)
    with folders.atomic_folder(target) as staging:
        connection = reading.connect()
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        temporary = str(staging / "temporary").replace("'", "''")
        connection.execute(f"SET temp_directory = '{temporary}'")
        if group_by in NAMED:
            _check_named(connection, paths, group_by)
        counts = _decide(
            connection,
            paths,
            group_by,
            test_size,
            sample_per_category,
            seed,
            labels,
        )
        for name in SPLITS:
            if not counts[name]:
                raise UserError(
                    f"no review is left for {name}: {counts}; give more"
                    " reviews, or another test_size or group_by"
                )
        _write(connection, paths, staging)
        connection.close()
        made = {"group_by": group_by, "labels": labels}
        files.write_json(staging / SPLIT_FILE, made)
    return counts


def check_classes(splits: Path) -> None:
    """Ask for texts of every class to learn from.

    Args:
        splits: the folder that `split` wrote.

    Raises:
        UserError: a class has none.
    """
    found = reading.query_parquet(
        "SELECT label, count(*) AS n FROM train GROUP BY label",
        train=splits / "train.parquet",
    ).set_index("label")["n"]
    counts = {name: int(found.get(name, 0)) for name in read_labels(splits)}
    missing = [name for name, count in counts.items() if not count]
    if missing:
        raise UserError(
            f"no training review is {' or '.join(missing)}: {counts}; give"
            " more reviews, or a larger sample_per_category; if their ratings"
            " have another scale, set rating_scale, or leave the class out"
        )


def read_labels(splits: Path) -> list[str]:
    """Return the names of all classes, in the order of their numbers.

    Args:
        splits: the folder that `split` wrote.
    """
    return files.read_json(splits / SPLIT_FILE)["labels"]


def read_groups(splits: Path, side: str) -> pd.Series:
    """Return the group of each row, in order: what the split kept together.

    Where it kept nothing together, it is the review.

    Args:
        splits: the folder that `split` wrote.
        side: train or validation.

    Returns:
        Names; None for a row that belongs to no group.

    Raises:
        UserError: an older version made the splits, and did not say how.
    """
    if not (splits / SPLIT_FILE).is_file():
        raise UserError(
            f"{splits} does not say how it was made; run notebook 04 again"
        )
    group_by = files.read_json(splits / SPLIT_FILE)["group_by"]
    group = GROUPS["review" if group_by == "none" else group_by]
    return reading.query_parquet(
        f"SELECT {group} AS name FROM rows", rows=splits / f"{side}.parquet"
    )["name"]


def _check_named(
    connection: duckdb.DuckDBPyConnection, paths: list[Path], group_by: str
) -> None:
    """Refuse to group by what no row names.

    Raises:
        UserError: the column is empty.
    """
    [(named,)] = connection.execute(
        f"SELECT count({NAMED[group_by]}) FROM read_parquet($patterns)",
        {"patterns": [queries.literal(path) for path in paths]},
    ).fetchall()
    if named:
        return
    problem = f"no review names its {group_by}"
    if group_by in ("field", "time"):
        problem = "the field that group_field names is empty"
    if group_by == "time":
        problem += ", or holds no number and no date such as 2014-03-31"
    raise UserError(f"group_by is {group_by}, and {problem}; set it to review")


def _decide(
    connection: duckdb.DuckDBPyConnection,
    paths: list[Path],
    group_by: str,
    test_size: float,
    sample_per_category: int,
    seed: int,
    labels: list[str],
) -> dict[str, int]:
    """Make the table `decided` (part, part_row, held_out); count the rows."""
    group = f"coalesce({GROUPS[group_by]}, part || ' ' || part_row)"
    # A part has far fewer than 2 ** 40 rows: `position` orders all rows.
    connection.execute(
        f"""
        CREATE TABLE keys AS SELECT
            (part::BIGINT << 40) | part_row AS position,
            category, label, {TIME} AS time,
            md5_number_lower({NORMALISED}) AS text_key,
            md5_number_lower({group}) AS group_key
        FROM (SELECT *, file_row_number AS part_row
            FROM read_parquet(
                $patterns, filename = true, file_row_number = true)
            JOIN (SELECT unnest($names) AS filename,
                    unnest(range(len($names))) AS part) USING (filename))
        """,
        {
            "names": [str(path) for path in paths],
            "patterns": [queries.literal(path) for path in paths],
        },
    )
    [(rows,)] = connection.sql("SELECT count(*) FROM keys").fetchall()
    if group_by == "time":  # what has none is neither past nor future
        connection.execute("DELETE FROM keys WHERE time IS NULL")
    connection.execute(
        """
        CREATE TABLE uniques AS SELECT keys.* FROM keys SEMI JOIN (
            SELECT min(position) AS position FROM keys GROUP BY text_key)
        USING (position)
        """
    )
    _draw(connection, sample_per_category, seed)
    # What all classes but one have in a group says what the last has.
    counted = range(min(len(labels), MAX_COUNTED + 1) - 1)
    counts = [
        f"count(*) FILTER (label = ${k + 1}) AS label_{k}" for k in counted
    ]
    connection.execute(
        f"""
        CREATE TABLE groups AS SELECT group_key, count(*) AS size,
            mode(label) AS most, {", ".join(counts)}
        FROM sampled GROUP BY group_key
        """,
        [labels[k] for k in counted],
    )
    if group_by == "time":
        held_out = _choose_latest(connection, test_size)
    else:
        held_out = _choose_groups(connection, test_size, seed, counted)
    connection.execute(
        f"""
        CREATE TABLE decided AS SELECT position >> 40 AS part,
            position & ((1::BIGINT << 40) - 1) AS part_row, held_out
        FROM sampled JOIN ({held_out}) USING (group_key)
        ORDER BY position -- to find the rows of a part without a full scan
        """
    )
    [(timed, uniques, sampled, validation)] = connection.sql(
        """
        SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM uniques),
            count(*), count(*) FILTER (held_out) FROM decided
        """
    ).fetchall()
    outcomes = {
        "duplicates": timed - uniques,
        "not sampled": uniques - sampled,
        "train": sampled - validation,
        "validation": validation,
    }
    if rows > timed:
        outcomes["without time"] = rows - timed
    return outcomes


def _draw(
    connection: duckdb.DuckDBPyConnection, sample_per_category: int, seed: int
) -> None:
    """Make the view `sampled`: so many `uniques` of each category, or all.

    Only the last hash that is drawn is looked for. To number all rows, as a
    window function does, takes memory for all of them.
    """
    draw_key = f"md5_number_lower('{seed}:' || text_key)"
    connection.execute("CREATE TABLE lasts (category VARCHAR, last UBIGINT)")
    categories = connection.sql("SELECT DISTINCT category FROM uniques")
    for row in categories.fetchall() if sample_per_category else []:
        connection.execute(
            f"""
            INSERT INTO lasts SELECT category, {draw_key} AS draw_key
            FROM uniques WHERE category = $1 ORDER BY draw_key
            LIMIT 1 OFFSET {sample_per_category - 1}
            """,
            row,
        )
    connection.execute(
        f"""
        CREATE VIEW sampled AS SELECT uniques.* FROM uniques
        LEFT JOIN lasts USING (category)
        WHERE last IS NULL OR {draw_key} <= last
        """
    )


def _choose_latest(
    connection: duckdb.DuckDBPyConnection, test_size: float
) -> str:
    """Return the SQL that holds out the latest rows, `test_size` of all.

    Rows of one moment stay together. If the last moment has more than that,
    it is held out alone.
    """
    [(last, bound)] = connection.execute(
        "SELECT max(time), quantile_disc(time, $1) FROM sampled",
        [1 - test_size],
    ).fetchall()
    later = ">" if bound < last else ">="
    return f"""SELECT DISTINCT group_key, time {later} {bound!r} AS held_out
        FROM sampled"""


def _choose_groups(
    connection: duckdb.DuckDBPyConnection,
    test_size: float,
    seed: int,
    counted: range,
) -> str:
    """Return the SQL that says of every group whether it is held out.

    A few hundred groups can miss the class shares by some points, so several
    draws are tried, and the one that comes closest is taken.
    """
    [(num_groups,)] = connection.sql("SELECT count(*) FROM groups").fetchall()
    attempts = MAX_ATTEMPTS if num_groups <= FEW_GROUPS else 1
    generator = np.random.default_rng(seed)
    best, smallest = "", np.inf
    # The second class first, as ever; the others in their order.
    columns = [f"label_{k}" for k in sorted(counted, key=lambda k: k != 1)]
    order = "".join(f"round({column} / size, 1), " for column in columns)
    # Of many classes, the most frequent of a group stands for the rest.
    order += "most, " * (len(counted) == MAX_COUNTED)
    for attempt in range(attempts):
        before = f"(number - 1) * {test_size} + {generator.random()}"
        drawn = f"""
            SELECT *, floor({before} + {test_size}) > floor({before})
                AS held_out
            FROM (SELECT *, row_number() OVER (ORDER BY {order}
                md5_number_lower('{seed}:{attempt}:' || group_key)) AS number
                FROM groups)"""
        # How far validation's rows of each class are from test_size of all;
        # a class without rows is NULL, which `greatest` passes over.
        distances = ", ".join(
            f"abs(sum({column}) FILTER (held_out) / nullif(sum({column}), 0)"
            f" - {test_size})"
            for column in ("size", *columns)
        )
        missed = f"SELECT greatest({distances}) FROM ({drawn})"
        if attempts == 1:
            return drawn
        [(distance,)] = connection.sql(missed).fetchall()
        if distance is not None and distance < smallest:
            best, smallest = drawn, distance
    return best or drawn


def _write(
    connection: duckdb.DuckDBPyConnection, paths: list[Path], folder: Path
) -> None:
    """Copy the rows to their sides, in the order in which they were read."""
    with ExitStack() as stack:
        writers = [
            stack.enter_context(RowGroupWriter(folder / f"{name}.parquet"))
            for name in SPLITS
        ]
        for part, path in enumerate(paths):
            chosen = connection.execute(
                "SELECT part_row, held_out FROM decided WHERE part = $1",
                [part],
            ).fetchnumpy()
            file = pq.ParquetFile(path, pre_buffer=False)  # memory stays flat
            side = np.full(file.metadata.num_rows, -1, np.int8)
            side[chosen["part_row"]] = chosen["held_out"]
            start = 0
            for batch in file.iter_batches(batch_size=reading.BATCH_ROWS):
                sides = side[start : start + len(batch)]
                start += len(batch)
                for number, writer in enumerate(writers):
                    writer.add(batch.filter(pa.array(sides == number)))


class RowGroupWriter:
    """Writes a Parquet file in row groups of exactly ROWS_PER_GROUP rows."""

    def __init__(self, path: Path):
        """Open the file."""
        self.file = pq.ParquetWriter(path, reading.SCHEMA, compression="none")
        self.waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Write what fills whole groups, keep the rest for later."""
        self.waiting.append(batch)
        rows = sum(map(len, self.waiting))
        if rows >= ROWS_PER_GROUP:
            self._write(rows - rows % ROWS_PER_GROUP)

    def _write(self, rows: int) -> None:
        """Write the first `rows` of the waiting rows."""
        table = pa.Table.from_batches(self.waiting, reading.SCHEMA)
        self.file.write_table(table.slice(0, rows), ROWS_PER_GROUP)
        self.waiting = table.slice(rows).to_batches()

    def __enter__(self) -> "RowGroupWriter":
        """Return the writer."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write the last, smaller group and close the file."""
        if self.waiting and not any(error):
            self._write(sum(map(len, self.waiting)))
        self.file.close()
