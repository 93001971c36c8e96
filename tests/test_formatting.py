import re

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from nlp_helpers import formatting

LONG = "w" * 400


@pytest.mark.parametrize(
    "value, shown",
    [
        (0.7020270, "0.702"),
        (1, "1.000"),
        (0, "0.000"),
        (1.4e-07, "<0.001"),
        (-1.4e-07, ">-0.001"),
        (0.00051, "0.001"),
        (-0.25, "-0.250"),
        (19.8584, "19.858"),
    ],
)
def test_a_probability_has_three_decimals(value, shown):
    assert formatting.decimal(value) == shown
    assert formatting.column(pd.Series([value, 0.5]))[0] == shown


@pytest.mark.parametrize(
    "arguments, shown",
    [
        ((0, "space"), "0 spaces"),
        ((1, "space"), "1 space"),
        ((2, "space"), "2 spaces"),
        ((1558, "row"), "1,558 rows"),
        ((2, "class", "classes"), "2 classes"),
    ],
)
def test_a_count_agrees_with_its_noun(arguments, shown):
    assert formatting.count(*arguments) == shown


@pytest.mark.parametrize(
    "values, shown",
    [
        ([1.0, 2.0, 5.0], ["1", "2", "5"]),  # stars
        ([1.0, 0.0], ["1.000", "0.000"]),  # sure answers
        ([0.0, 1.1e-5, 7.8e-5], ["0.0e+00", "1.1e-05", "7.8e-05"]),
        ([791, 1558], ["791", "1,558"]),
        ([0.5, None], ["0.500", ""]),
        (["a", None, LONG], ["a", "", "w" * 300 + "..."]),
        ([], []),
    ],
)
def test_a_column_is_shown_in_one_way(values, shown):
    assert formatting.column(pd.Series(values, name="n")) == shown


@pytest.mark.parametrize("name", ["id", "token", "token_type_id", "label"])
def test_ids_have_no_commas(name):
    assert formatting.column(pd.Series([40953], name=name)) == ["40953"]


def test_a_text_is_cut_at_its_beginning_where_its_end_counts():
    assert formatting.ending("the newest word", 9) == "...west word"
    assert formatting.ending("word", 4) == "word"


TABLE = pd.DataFrame(
    {"token": ["<b>", " who"], "id": [40953, 7], "probability": [0.5, 1e-7]},
    index=pd.RangeIndex(1, 3, name="rank"),
)


def test_texts_stand_on_the_left_and_numbers_on_the_right():
    page = formatting.as_html(TABLE)
    sides = re.findall(r'<t[hd][^>]*text-align: (\w+)">([^<]*)<', page)
    right = [text for side, text in sides if side == "right"]
    left = [text for side, text in sides if side == "left"]
    assert left == ["token", "&lt;b&gt;", " who"]
    assert right == (
        ["rank", "id", "probability", "1", "40953", "0.500"]
        + ["2", "7", "&lt;0.001"]
    )


def test_a_table_in_a_terminal():
    assert formatting.as_text(TABLE).splitlines() == [
        "rank  token     id  probability",
        "   1  <b>    40953        0.500",
        "   2   who       7       <0.001",
    ]


def test_a_long_table_is_left_to_pandas():
    table = pd.DataFrame({"n": np.arange(1000)})
    assert formatting.as_html(table) == table._repr_html_()
    assert formatting.as_text(table) == repr(table)


def test_a_notebook_shows_its_tables_so():
    shell = InteractiveShell.instance()
    try:
        formatting.use_for_tables()
        data, _ = shell.display_formatter.format(TABLE)
    finally:
        InteractiveShell.clear_instance()
    assert data["text/html"] == formatting.as_html(TABLE)
    assert data["text/plain"] == formatting.as_text(TABLE)


def test_each_level_of_an_index_is_a_column():
    parts = [pd.DataFrame({"token": ["a", "b"]}, index=[1, 2])] * 2
    table = pd.concat(parts, keys=[7, 8], names=["position", "rank"])
    lines = [line.split() for line in formatting.as_text(table).splitlines()]
    assert lines == [
        ["position", "rank", "token"],
        ["7", "1", "a"],
        ["7", "2", "b"],
        ["8", "1", "a"],
        ["8", "2", "b"],
    ]
