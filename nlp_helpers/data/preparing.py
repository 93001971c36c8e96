"""All steps of notebook 4 at once, for a machine that has notebook 5 alone."""

from pathlib import Path
from typing import Any

from nlp_helpers import parameters
from nlp_helpers.core import paths
from nlp_helpers.data import reading, shards, sources, splitting
from nlp_helpers.data.fields import Wanted

NOTEBOOK = "04_amazon_preprocessing"
# As params/offline has them, for a machine without that folder.
OFFLINE: dict[str, Any] = {
    "review_source": "amazon-snippets",
    "categories": [],
    "sample_per_category": 0,
    "text_field": "",
    "label_field": "",
    "label_rule": "stars",
    "rating_scale": [],
    "max_bad_fraction": 0.01,
    "group_by": "review",
    "group_field": "",
    "model_name": "minilm-l6",
    "max_length": 512,
    "test_size": 0.2,
    "engine": "local",
    "num_workers": 0,
    "seed": 2018,
}


def ensure(data_dir: str) -> Path:
    """Return the folder of notebook 4; make what is in it if it is missing.

    Args:
        data_dir: such as outputs/offline/04_amazon_preprocessing; the name
            before the last is the profile whose parameters count.

    Raises:
        UserError: no such profile is known, or see `prepare`.
    """
    folder = paths.resolve(data_dir)
    if (folder / "shards" / "shards.json").is_file():
        return folder
    profile = folder.parent.name
    path = paths.project_root() / "params" / profile / f"{NOTEBOOK}.yaml"
    if path.is_file():
        values = parameters.read_parameters(NOTEBOOK, path)
    elif profile == "offline":
        values = OFFLINE
    else:
        return folder  # whoever reads it says what to do
    print(
        f"{data_dir} is missing, so it is made now, with all steps of notebook"
        f" 4 and the parameters of the {profile} profile"
    )
    prepare(values, folder)
    return folder


def prepare(values: dict[str, Any], folder: Path) -> None:
    """Read, split and tokenise reviews: parts/, splits/ and shards/.

    Args:
        values: the parameters of notebook 4.
        folder: its `output_dir`.

    Raises:
        UserError: see `reading.read_reviews`, `splitting.split` and
            `shards.write_shards`.
    """
    reading.read_reviews(
        sources.fetch_reviews(values["review_source"], values["categories"]),
        folder / "parts",
        values["max_bad_fraction"],
        values["engine"],
        values["num_workers"],
        Wanted(
            values["text_field"],
            values["label_field"],
            tuple(values["rating_scale"]),
            values["label_rule"],
            values["group_field"],
        ),
    )
    splitting.split(
        folder / "parts",
        folder / "splits",
        group_by=values["group_by"],
        test_size=values["test_size"],
        sample_per_category=values["sample_per_category"],
        seed=values["seed"],
    )
    splitting.check_classes(folder / "splits")
    shards.write_shards(
        folder / "splits",
        folder / "shards",
        values["model_name"],
        values["max_length"],
        values["engine"],
        values["num_workers"],
    )
