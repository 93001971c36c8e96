"""Notebook 6 alone: the checkpoint of notebook 5, trained in one call."""

import json

import numpy as np
import pytest
import torch
from small_bert import small_config
from transformers import BertForSequenceClassification

from nlp_helpers import parameters
from nlp_helpers.classification import checkpoints, predicting, preparing
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import shards
from nlp_helpers.data.labels import ID2LABEL
from nlp_helpers.models import loading

FOLDER = f"outputs/offline/{preparing.NOTEBOOK}"


def test_the_values_are_those_of_the_offline_profile(project):
    path = project / "params" / "offline" / f"{preparing.NOTEBOOK}.yaml"
    given = parameters.read_parameters(preparing.NOTEBOOK, path)
    assert preparing.OFFLINE.items() <= given.items()
    others = {"num_seeds", "sentences", "output_dir"}
    assert given.keys() - preparing.OFFLINE.keys() == others


@pytest.fixture
def small(root, monkeypatch):
    """Let the offline profile be about a small model and few reviews."""
    torch.manual_seed(0)
    config = small_config(initializer_range=0.2)
    checkpoints.save_model(
        root / "model",
        BertForSequenceClassification(config),
        loading.load_tokenizer("minilm-l6"),
    )
    name = str(root / "model")
    few = {"categories": ["phone"], "model_name": name}
    monkeypatch.setattr(
        preparing.preparing, "OFFLINE", preparing.preparing.OFFLINE | few
    )
    settings = {"model_name": name, "num_epochs": 1}
    monkeypatch.setattr(preparing, "OFFLINE", preparing.OFFLINE | settings)


def test_a_missing_checkpoint_is_trained_once_and_said(small, root, capsys):
    checkpoint = preparing.ensure(FOLDER)
    said = capsys.readouterr().out
    assert said.startswith(f"{FOLDER} has no checkpoint, so it is trained")
    assert checkpoint == root / FOLDER / "checkpoint"
    tokenizer, model = predicting.load_classifier(str(checkpoint))
    assert model.config.id2label == ID2LABEL
    logits = model.predict_logits(shards.encode(["Good."], tokenizer, 16))
    assert np.isfinite(logits).all()
    weights = (checkpoint / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert preparing.ensure(FOLDER) == checkpoint
    assert capsys.readouterr().out == ""
    assert (checkpoint / "model.safetensors").stat().st_mtime_ns == weights


def test_another_profile_is_not_trained_unasked(root):
    with pytest.raises(UserError, match="run --profile hub 05"):
        preparing.ensure(f"outputs/hub/{preparing.NOTEBOOK}")


@pytest.mark.parametrize(
    "names", [{"0": "ham", "1": "spam"}, {}, dict(enumerate(["a", "b", "c"]))]
)
def test_a_checkpoint_of_other_classes_is_refused(root, names):
    checkpoint = root / FOLDER / "checkpoint"
    checkpoint.mkdir(parents=True)
    text = json.dumps({"id2label": names} if names else {})
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(UserError, match="not neutral, positive, negative"):
        preparing.ensure(FOLDER)
