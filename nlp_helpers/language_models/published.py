"""What the articles printed, beside what a notebook finds with their models.

The values stand in published.yaml, with their source and tolerance.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter

from nlp_helpers.core import files
from nlp_helpers.core.verdicts import (
    CLOSE,
    DIFFERENT,
    SAME,
    Difference,
    judge,
)
from nlp_helpers.core.yaml_files import read_registry

PUBLISHED = Path(__file__).with_name("published.yaml")
VALUES = "published.json"  # a notebook's own values, in its output folder
MISSING = "(missing)"


class Published(BaseModel):
    """What an article printed where a notebook follows it."""

    model_config = ConfigDict(extra="forbid")

    source: str
    model: str
    tolerance: dict[str, float] = {}
    values: dict[str, Any]


def read_published(path: Path = PUBLISHED) -> dict[str, Published]:
    """Read published.yaml, or a file of its form: one entry a notebook."""
    return read_registry(path, TypeAdapter(Published))


def compare_published(
    notebook: str,
    model_name: str,
    values: Mapping[str, Any],
    output: Path,
) -> pd.DataFrame | None:
    """Show a notebook's values beside the article's, and keep them.

    With another model than the article's there is nothing to compare: it is
    said, and nothing is written. Values that this run did not ask for (other
    sentences) are left out.

    Args:
        notebook: for example `02_fill_mask`.
        model_name: the notebook's parameter.
        values: by the names of published.yaml; numbers, texts, and lists
            and mappings of them.
        output: the notebook's folder; `published.json` is written there for
            `nlp-helpers verify --published`.

    Returns:
        A row a value: article, here, verdict.
    """
    published = read_published()[notebook]
    if model_name != published.model:
        print(
            f"not compared: the article's values are {published.model}'s,"
            f" and this is {model_name}"
        )
        return None
    files.write_json(output / VALUES, dict(values))
    asked = {
        name: value
        for name, value in published.values.items()
        if name in values
    }
    rows = compare(
        notebook, published.model_copy(update={"values": asked}), values
    )
    return pd.DataFrame(
        [(row.name, row.expected, row.actual, row.verdict) for row in rows],
        columns=["value", "article", "here", "verdict"],
    ).set_index("value")


def compare(
    notebook: str, published: Published, values: Mapping[str, Any]
) -> list[Difference]:
    """Compare every published value; one that is missing is different.

    Args:
        notebook: for example `02_fill_mask`.
        published: the article's values.
        values: the notebook's, by the same names.
    """
    return [
        Difference(notebook, name, *_judge_value(expected, actual, published))
        for name, expected, actual in _walk(published.values, values)
    ]


def _walk(
    expected: Mapping[str, Any], actual: Any, above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Give the name of each published value, the value, and the one here."""
    for name, value in expected.items():
        here = actual.get(name) if isinstance(actual, Mapping) else None
        path = f"{above}{name}"
        if isinstance(value, Mapping) and "one_of" not in value:
            yield from _walk(value, here, f"{path} ")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            ranks = _by_rank(value)
            yield from _walk(ranks, _by_rank(here or []), f"{path} ")
        else:
            yield path, value, here


def _by_rank(values: Sequence[Any]) -> dict[str, Any]:
    """Number the entries of a list, from 1."""
    return {str(rank): value for rank, value in enumerate(values, start=1)}


def _judge_value(
    expected: Any, actual: Any, published: Published
) -> tuple[str, str, str]:
    """Return the article's value and this one as texts, and the verdict."""
    if isinstance(expected, Mapping):
        return _judge_words(expected["one_of"], actual or [])
    texts = str(expected), MISSING if actual is None else str(actual)
    if isinstance(expected, float) and isinstance(actual, float):
        texts = f"{expected:.6f}", f"{actual:.6f}"
        verdict = judge(expected, actual, published.tolerance)
    else:
        same = texts[0].casefold() == texts[1].casefold()
        verdict = SAME if same else DIFFERENT
    return *texts, verdict


def _judge_words(
    named: Sequence[str], best: Sequence[str]
) -> tuple[str, str, str]:
    """Judge the best words, best first, by those that the article names."""
    words = [word.strip() for word in best]
    if not words:
        verdict = DIFFERENT
    elif words[0] in named:
        verdict = SAME
    else:
        verdict = CLOSE if set(named) & set(words) else DIFFERENT
    shown = ", ".join(map(repr, best)) or MISSING
    return ", ".join(named), shown, verdict
