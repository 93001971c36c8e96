"""How tables, probabilities and counts are shown, decided in one place.

`use_for_tables` tells IPython, so that a notebook shows a table by its name.
"""

import html
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from IPython.core.getipython import get_ipython

MAX_ROWS = 60  # of a table; pandas shows a longer one in part
MAX_TEXT = 300  # characters of a text in a table
MIN_SHOWN = 0.0005  # what is smaller would be 0.000
ELLIPSIS = "..."
# Columns whose numbers name something, and count nothing: no commas.
NAMES = re.compile(r"(^|[ _])(id|token|label)$")


def decimal(value: float) -> str:
    """Return a probability, a score or a loss with three decimals.

    What is not zero is not shown as zero: it is `<0.001`, or `>-0.001`.
    """
    if 0 < abs(value) < MIN_SHOWN:
        return "<0.001" if value > 0 else ">-0.001"
    return f"{value:.3f}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 space`, `2 spaces`.

    Args:
        number: how many.
        noun: for one of them.
        plural: for more or none, where it is not `noun` with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def ending(text: str, length: int) -> str:
    """Return a text, or its last `length` characters after an ellipsis."""
    return text if len(text) <= length else f"{ELLIPSIS}{text[-length:]}"


def column(values: pd.Series) -> list[str]:
    """Return the values of a column as they are shown, all in one way.

    Fractions have three decimals and whole numbers none; a column of smaller
    fractions than that has powers of ten. Of a long text the beginning is
    shown, of a missing value nothing.
    """
    write: Callable[[Any], str] = _write
    if (
        pd.api.types.is_float_dtype(values)
        and (known := values.dropna()).any()
    ):
        largest = known.abs().max()
        if largest > 1 and (known == known.round()).all():
            write = "{:,.0f}".format
        elif largest < 2 * MIN_SHOWN:
            write = "{:.1e}".format
    elif pd.api.types.is_integer_dtype(values):
        if not NAMES.search(str(values.name)):
            write = "{:,}".format
    missing = values.isna()
    return [
        "" if lost else write(value)
        for value, lost in zip(values, missing, strict=True)
    ]


def _write(value: Any) -> str:
    """Return one value as it is shown, whatever stands beside it."""
    if isinstance(value, float | np.floating):
        return decimal(float(value))
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + ELLIPSIS


def _is_text(values: pd.Series) -> bool:
    """Return whether a column is read from the left."""
    return not pd.api.types.is_numeric_dtype(values)


def _columns(table: pd.DataFrame) -> list[tuple[str, list[str], bool]]:
    """Return name, texts and "is text" of the index and of each column."""
    # Of an index with several levels all but the first become columns.
    table = table.reset_index(level=[*range(1, table.index.nlevels)])
    names = [table.index.name, table.columns.name]
    index = table.index.to_series()
    rows = [str(value) for value in table.index]
    corner = " / ".join(str(name) for name in names if name is not None)
    shown = [(corner, rows, _is_text(index))]
    for position, name in enumerate(table.columns):
        values = table.iloc[:, position]
        shown.append((str(name), column(values), _is_text(values)))
    return shown


def as_html(table: pd.DataFrame) -> str:
    """Return a table as HTML: texts on the left, numbers on the right."""
    if len(table) > MAX_ROWS:
        return table._repr_html_()
    columns = _columns(table)
    # A style of its own for each cell: pages drop style sheets of outputs.
    sides = [
        f'style="text-align: {"left" if is_text else "right"}"'
        for _, _, is_text in columns
    ]
    head = "".join(
        f'<th scope="col" {side}>{html.escape(name)}</th>'
        for (name, _, _), side in zip(columns, sides, strict=True)
    )
    lines = [f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    texts = [values for _, values, _ in columns]
    for first, *others in zip(*texts, strict=True):
        cells = [f'<th scope="row" {sides[0]}>{html.escape(first)}</th>']
        cells += [
            f"<td {side}>{html.escape(text)}</td>"
            for side, text in zip(sides[1:], others, strict=True)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join([*lines, "</tbody>"])
    return f'<table class="dataframe">\n{body}\n</table>'


def as_text(table: pd.DataFrame) -> str:
    """Return a table as plain text, for a terminal."""
    if len(table) > MAX_ROWS:
        return repr(table)
    padded = []
    for name, texts, is_text in _columns(table):
        cells = [
            text.replace("\n", "\\n").replace("\r", "\\r")
            for text in (name, *texts)
        ]
        width = max(map(len, cells))
        align = str.ljust if is_text else str.rjust
        padded.append([align(cell, width) for cell in cells])
    rows = ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
    return "\n".join(rows)


def use_for_tables() -> None:
    """Let IPython, if it runs, show every table in this way."""
    shell: Any = get_ipython()
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    formatters["text/html"].for_type(pd.DataFrame, as_html)
    formatters["text/plain"].for_type(
        pd.DataFrame,
        lambda table, printer, cycle: printer.text(as_text(table)),
    )
