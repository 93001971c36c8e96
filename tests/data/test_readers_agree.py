"""DuckDB and the lenient reader make the same of every kind of file.

The lenient reader, asked about all records, says what is right: the rows, the
counts, and why others were dropped.
"""

import csv
import io
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import reading
from nlp_helpers.data.fields import Wanted, find_names
from nlp_helpers.data.formats import detect_format

FIELDS = ("reviewText", "overall", "title", "asin", "when")
FIRST = ("good", "5", "first", "A", "x")  # so that there is a field of each
WAYS = [
    Wanted(),
    Wanted(rating_scale=(0, 10), group_field="when"),
    Wanted(label_field="overall", label_rule="values"),
    Wanted(text_field="{title}. {reviewText}", label_field="overall"),
]
EXAMPLES = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)
# What might be taken for something else; no NUL, which is no text.
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
CELLS = st.text(LETTERS, max_size=12) | st.sampled_from(
    [
        *("", " ", "\u00a0", "4", "5.0", " 3 ", "1e0", "-1", "00123"),
        *("12345678901234567890", "spam", "ham", "x" * 201),
        *("nan", "NaN", "inf", "-Infinity", "true", "True", "null", "None"),
        *("&amp;", "a&lt;b", 'it\'s "so"', "x,y", "a\nb", "[1]", "{}"),
        *("2014-03-31", "05 13, 2014"),
    ]
)
RATINGS = st.sampled_from(["1", "2", "3", "4.0", "5"]) | CELLS
VALUES = st.one_of(
    CELLS,
    st.none(),
    st.booleans(),
    st.integers(-(10**23), 10**23),
    st.floats() | st.sampled_from([math.nan, 10**18, 10**20]),
    st.lists(CELLS, max_size=2),
    st.dictionaries(CELLS, CELLS, max_size=2),
)
COLUMNS = {
    pa.string(): CELLS,
    pa.float64(): st.none() | st.floats(),
    pa.int64(): st.none() | st.integers(-(2**60), 2**60),
    pa.bool_(): st.none() | st.booleans(),
    pa.list_(pa.int64()): st.lists(st.integers(0, 3), max_size=2),
}


def compare(path, wanted):
    """Read a file with both readers; both may refuse it."""
    try:
        report = reading.read_file(path, "c", path.with_name("strict"), wanted)
    except UserError:
        report = None
    form = detect_format(path, wanted.text_field)
    columns = reading._sample_columns(path, form)
    try:
        names = find_names(path, columns, wanted)
    except UserError:
        assert report is None
        return
    assert report is not None
    expected = reading.Report(path, form, columns, names, wanted)
    with reading._Writer(path.with_name("lenient"), "c") as writer:
        reading._read_leniently(expected, writer, None)
    rows, right = (
        pq.read_table(path.with_name(name)).sort_by("record").to_pylist()
        for name in ("strict", "lenient")
    )
    assert rows == right
    for counts in ("rows", "dropped", "repaired", "ratings", "labels"):
        assert getattr(report, counts) == getattr(expected, counts), counts


@pytest.mark.parametrize("wanted", WAYS)
@EXAMPLES
@given(
    rows=st.lists(
        st.tuples(VALUES, RATINGS | VALUES, VALUES, VALUES, VALUES),
        min_size=3,
        max_size=20,
    ),
    array=st.booleans(),
)
def test_of_json(tmp_path, wanted, rows, array):
    records = [dict(zip(FIELDS, row, strict=True)) for row in (FIRST, *rows)]
    content = map(json.dumps, records)
    path = tmp_path / "reviews.json"
    path.write_text(json.dumps(records) if array else "\n".join(content))
    compare(path, wanted)


@pytest.mark.parametrize("wanted", WAYS)
@EXAMPLES
@given(
    rows=st.lists(
        st.tuples(CELLS, RATINGS, CELLS, CELLS, CELLS), min_size=3, max_size=20
    ),
    delimiter=st.sampled_from([",", "\t", ";"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_of_tables(tmp_path, wanted, rows, delimiter, quoting):
    text = io.StringIO()
    table = csv.writer(text, delimiter=delimiter, quoting=quoting)
    table.writerows([FIELDS, FIRST, *rows])
    path = tmp_path / "reviews.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    compare(path, wanted)


@pytest.mark.parametrize("wanted", WAYS)
@EXAMPLES
@given(data=st.data())
def test_of_parquet(tmp_path, wanted, data):
    size = data.draw(st.integers(3, 12))
    columns = {}
    for name in FIELDS:
        kind = data.draw(st.sampled_from(list(COLUMNS)))
        cells = st.lists(COLUMNS[kind], min_size=size, max_size=size)
        columns[name] = pa.array(data.draw(cells), kind)
    table = pa.table(columns)
    path = tmp_path / "reviews.parquet"
    pq.write_table(table, path)
    compare(path, wanted)
