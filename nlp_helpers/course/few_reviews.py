"""A few records and reviews for tasks, as `few_reviews.yaml` has them."""

from pathlib import Path
from typing import Any

import pandas as pd

from nlp_helpers.core.yaml_files import read_yaml
from nlp_helpers.data.labels import label_of

PATH = Path(__file__).with_name("few_reviews.yaml")


def records() -> list[dict[str, Any]]:
    """Return records as a file might have them, some of them incomplete."""
    found: list[dict[str, Any]] = read_yaml(PATH)["records"]
    return found


def table() -> pd.DataFrame:
    """Return a row a sentence: `review`, `side`, `overall`, `text`, `label`.

    `side` is *train* or *validation*.
    """
    rows = [
        {"review": entry["review"], **sentence}
        for entry in read_yaml(PATH)["reviews"]
        for sentence in entry["sentences"]
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(label=frame["overall"].map(label_of))
