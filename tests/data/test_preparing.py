"""Notebook 5 alone: the data of notebook 4, made in one call."""

import pytest

from nlp_helpers import parameters
from nlp_helpers.core import files
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import preparing, shards

DATA = f"outputs/offline/{preparing.NOTEBOOK}"


def test_the_values_are_those_of_the_offline_profile(project):
    path = project / "params" / "offline" / f"{preparing.NOTEBOOK}.yaml"
    given = parameters.read_parameters(preparing.NOTEBOOK, path)
    assert preparing.OFFLINE.items() <= given.items()
    assert given.keys() - preparing.OFFLINE.keys() == {"device", "output_dir"}


def test_missing_data_is_made_once_and_said(root, project, capsys):
    folder = preparing.ensure(DATA)
    assert capsys.readouterr().out.startswith(f"{DATA} is missing, so it is")
    made = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    reference = project / "outputs" / "reference" / preparing.NOTEBOOK
    metrics = files.read_json(reference / "metrics.json")
    for side in ("training", "validation"):
        split = "train" if side == "training" else side
        tokens = shards.read_shards(folder / "shards", split, "minilm-l6")
        assert len(tokens) == metrics[f"rows_{side}"]
    assert preparing.ensure(DATA) == folder
    assert capsys.readouterr().out == ""
    assert made == {p: p.read_bytes() for p in folder.rglob("*.parquet")}


def test_the_profile_is_that_of_the_folder(root, project):
    """A hub profile without its parameters is not replaced by another."""
    folder = preparing.ensure(f"outputs/hub/{preparing.NOTEBOOK}")
    assert not folder.exists()
    with pytest.raises(UserError, match="run notebook 04 first"):
        shards.read_shards(folder / "shards", "train", "bert-base-uncased")
    (root / "params" / "mine").mkdir(parents=True)
    path = root / "params" / "mine" / f"{preparing.NOTEBOOK}.yaml"
    text = project / "params" / "offline" / f"{preparing.NOTEBOOK}.yaml"
    path.write_text(
        text.read_text().replace("categories: []", "categories: [phone]")
    )
    folder = preparing.ensure(f"outputs/mine/{preparing.NOTEBOOK}")
    tokens = shards.read_shards(folder / "shards", "train", "minilm-l6")
    assert 300 < len(tokens) < 600
