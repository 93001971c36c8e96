"""The SQL by which DuckDB reads review files, and says what it is sure of.

A value that may have been something else in the file, such as a list that
DuckDB turned into text, is not certain: the lenient reader looks at it.
"""

import re
from pathlib import Path

from nlp_helpers.data import ratings
from nlp_helpers.data.fields import (
    IDENTIFIERS,
    Template,
    Wanted,
    names_read,
)
from nlp_helpers.data.formats import Form
from nlp_helpers.data.records import MAX_RECORD_BYTES
from nlp_helpers.data.reports import Report

# {t} is the text: certainly a string with something in it, not a number, a
# list or an object that DuckDB has turned into text; and not monstrous. Its
# \s is space of ASCII, of which Python and Unicode know more.
HAS_TEXT = r"""regexp_matches({t}, '^\s*[^\s\x0b\x1c-\x1f\x{{85}}\pZ\[{{]')
    AND strlen({t}) < 1000000 AND (strlen({t}) > 25
         OR NOT regexp_full_match(
             {t}, '(?i)[-+0-9.e]+|true|false|[-+]?(nan|inf(inity)?)'))"""
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
# fraction, NaN, an entity, a list, is left to the lenient reader.
HAS_LABEL = (
    r"regexp_full_match({r}, '[\w-]+( [\w-]+)*') AND strlen({r}) < 200"
    r" AND NOT regexp_full_match({r}, '(?i)-?([0-9]{{18,}}|nan|inf(inity)?)')"
)
TABLES = ("table", "Parquet")  # each row has all columns


def literal(path: Path) -> str:
    """Write a path so that DuckDB takes its `*`, `?` and `[` as they are."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))


def build_query(report: Report, source: str) -> str:
    """Write the SQL that reads, labels and checks every record of a file.

    Its columns are those of `build_select`, `rating`, `label`, `marked` (the
    text has something to mend) and `sound` (all values are certain).

    Args:
        report: of the file.
        source: what `write_source` writes.
    """
    return f"""
        SELECT * REPLACE (coalesce(text_, '') AS text_),
            coalesce(regexp_matches(text_, '&[#A-Za-z]')
                OR contains(text_, chr(0)), false) AS marked,
            {_label(report.wanted)} AS label,
            coalesce({HAS_TEXT.format(t="text_")}
                AND {_has_label(report.wanted)}
                AND {_have_names(report.form)}, false) AS sound
        FROM (SELECT *, {_rating(report.wanted)} AS rating
              FROM ({build_select(report, source)}))"""


def build_select(report: Report, source: str) -> str:
    """Write the SQL that reads the fields of every record of a file.

    A record of JSON that DuckDB cannot parse comes out with all its fields
    NULL.

    Args:
        report: of the file.
        source: what `write_source` writes.
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


def write_source(path: Path, packing: str) -> str:
    """Write a path and its compression as arguments for DuckDB."""
    packing = packing.replace("plain", "uncompressed")
    name = literal(path).replace("'", "''")
    return f"'{name}', compression='{packing}'"


def _quoted(name: str) -> str:
    """Write a column's name for SQL."""
    return '"' + name.replace('"', '""') + '"'


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
