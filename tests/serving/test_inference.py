"""Each type of encoder against transformers' own forward pass."""

import copy

import numpy as np
import pytest
import torch
import transformers
from small_encoders import CONFIGS, VOCABULARY

from nlp_helpers.classification import checkpoints
from nlp_helpers.models import loading
from nlp_helpers.serving import inference
from nlp_helpers.serving.inference import (
    MaskFiller,
    TextClassifier,
    TextEmbedder,
)

LENGTHS = (5, 3, 90, 230, 17)
MASK = 103  # of MiniLM's tokenizer
CPU = torch.device("cpu")
BFLOAT16 = torch.bfloat16


@pytest.fixture
def input_ids():
    generator = np.random.default_rng(0)
    texts = [generator.integers(200, VOCABULARY, n) for n in LENGTHS]
    for text in texts:
        text[len(text) // 2] = MASK
    return [text.tolist() for text in texts]


def saved(tmp_path, name, model_class, **settings):
    """Return the folder of a model drawn at random, and the model."""
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[name])
    for key, value in settings.items():
        setattr(config, key, value)
    model = model_class.from_config(config).eval()
    tokenizer = loading.load_tokenizer("minilm-l6")
    checkpoints.save_model(tmp_path / "model", model, tokenizer)
    return str(tmp_path / "model"), model


def alone(model, ids):
    """Ask transformers' own forward pass for one text."""
    inputs = {"input_ids": torch.tensor([ids])}
    if model.config.model_type == "xlnet":  # as its own tokenizer has it
        types = torch.zeros_like(inputs["input_ids"])
        types[:, -1] = 2
        inputs["token_type_ids"] = types
    with torch.no_grad():
        return model(**inputs)


@pytest.mark.parametrize("name", [n for n in CONFIGS if n != "xlnet"])
def test_weights_that_are_rounded_once_answer_the_same(
    name, tmp_path, input_ids, monkeypatch
):
    monkeypatch.setattr(inference.session, "precision", lambda _: BFLOAT16)
    folder, _ = saved(tmp_path, name, transformers.AutoModelForMaskedLM)
    filler = MaskFiller(folder, CPU)
    monkeypatch.setattr(inference, "round_weights", lambda *_: None)
    usual = MaskFiller(folder, CPU)
    pairs = zip(filler.run(input_ids), usual.run(input_ids), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    layers = [
        m for m in filler.model.modules() if isinstance(m, torch.nn.Linear)
    ]
    assert layers and {m.weight.dtype for m in layers} == {BFLOAT16}
    embeddings = filler.model.get_input_embeddings()
    assert embeddings.weight.dtype == torch.float32


@pytest.mark.parametrize("name", CONFIGS)
def test_vectors_are_those_of_each_text_alone(name, tmp_path, input_ids):
    folder, model = saved(tmp_path, name, transformers.AutoModel)
    vectors = TextEmbedder(folder, CPU).run(input_ids)
    for ids, vector in zip(input_ids, vectors, strict=True):
        expected = alone(model, ids).last_hidden_state[0].mean(dim=0)
        assert np.abs(vector - expected.numpy()).max() < 1e-4


@pytest.mark.parametrize("name", [n for n in CONFIGS if n != "xlnet"])
def test_masks_are_filled_as_in_each_text_alone(name, tmp_path, input_ids):
    folder, model = saved(tmp_path, name, transformers.AutoModelForMaskedLM)
    filler = MaskFiller(folder, CPU)
    rows = filler.run(input_ids)
    for ids, row in zip(input_ids, rows, strict=True):
        at = filler.position(ids)
        expected = alone(model, ids).logits[0, at]
        assert row.shape == expected.shape
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=0)
    assert torch.stack(rows).std(dim=0).mean() > 0.01  # they do differ


@pytest.mark.parametrize("name", CONFIGS)
def test_a_classifier_of_each_type_is_served(name, tmp_path, input_ids):
    names = {0: "low", 1: "high"}
    folder, model = saved(
        tmp_path,
        name,
        transformers.AutoModelForSequenceClassification,
        id2label=names,
        label2id={text: n for n, text in names.items()},
    )
    classifier = TextClassifier(folder, CPU)
    assert classifier.labels == ["low", "high"]
    for ids, row in zip(input_ids, classifier.run(input_ids), strict=True):
        expected = alone(model, ids).logits[0].numpy()
        assert np.abs(row - expected).max() < 1e-4
    encoded, cut = classifier.encode(["a " * 50, "b"], 10)
    assert [len(ids) for ids in encoded] == [10, 3] and cut == [0]
