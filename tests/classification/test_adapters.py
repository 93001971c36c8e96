import copy
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from small_encoders import CONFIGS, VOCABULARY

from nlp_helpers.classification import (
    adapters,
    checkpoints,
    encoders,
    training,
)
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import shards
from nlp_helpers.models import loading

WORDS = ("it broke", "it works")


def classifier_of(kind):
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[kind])
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    return model.eval()


@pytest.fixture
def input_ids():
    generator = np.random.default_rng(0)
    return [generator.integers(10, VOCABULARY, n) for n in (5, 40, 17, 2)]


@pytest.mark.parametrize("kind", CONFIGS)
def test_adapters_begin_as_nothing_and_are_merged_as_they_are(kind, input_ids):
    classifier = encoders.wrap(classifier_of(kind))
    before = classifier.predict_logits(input_ids)
    adapters.add(classifier.model, 4)
    assert np.allclose(classifier.predict_logits(input_ids), before, atol=1e-6)
    trained = checkpoints.trained_parameters(classifier.model)
    total = sum(p.numel() for p in classifier.model.parameters())
    assert 0 < sum(p.numel() for p in trained.values()) < total / 10
    for name in trained:  # the head as a whole, of the encoder adapters alone
        whole = not loading.in_encoder(name, classifier.model)
        assert whole or ".lora_" in name
    with torch.no_grad():
        for name, parameter in trained.items():
            if ".lora_" in name:
                parameter.normal_(std=0.2)
    adapted = classifier.predict_logits(input_ids)
    assert np.abs(adapted - before).max() > 0.01
    merged = adapters.merge(classifier.model)
    plain = classifier_of(kind)
    plain.load_state_dict(merged.state_dict())  # the same names, no others
    again = encoders.wrap(plain).predict_logits(input_ids)
    np.testing.assert_allclose(again, adapted, atol=1e-4)
    # What is trained on is not touched.
    np.testing.assert_array_equal(
        classifier.predict_logits(input_ids), adapted
    )


def test_targets_are_named_by_their_last_part():
    model = classifier_of("bert")
    adapters.add(model, 2, ["query", "value"])
    names = {
        name.split(".lora_")[0].rpartition(".")[2]
        for name in checkpoints.trained_parameters(model)
        if ".lora_" in name
    }
    assert names == {"query", "value"}
    with pytest.raises(UserError, match="names 'q_lin', .* has dense, key, q"):
        adapters.add(classifier_of("bert"), 2, ["q_lin"])


def test_a_model_without_adapters_is_itself():
    model = classifier_of("bert")
    assert adapters.merge(model) is model


@pytest.fixture(scope="module")
def adapted_training(tmp_path_factory):
    """Return token shards of 32 texts, and settings with adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    torch.manual_seed(0)
    checkpoints.save_model(
        folder / "encoder",
        transformers.BertModel(copy.deepcopy(CONFIGS["bert"])),
        loading.load_tokenizer("minilm-l6"),
    )
    splits = folder / "splits"
    splits.mkdir()
    names = ["bad", "good"]
    texts = [f"{WORDS[n % 2]} {n}" for n in range(32)]
    labels = [names[n % 2] for n in range(32)]
    table = pa.table({"text": texts, "label": labels})
    for side in ("train", "validation"):
        pq.write_table(table, splits / f"{side}.parquet")
    made = {"group_by": "review", "labels": names}
    (splits / "split.json").write_text(json.dumps(made))
    name = str(folder / "encoder")
    shards.write_shards(splits, folder / "shards", name, 16)
    settings = training.Settings(
        model_name=name,
        num_epochs=4,
        batch_size=8,
        learning_rate=2e-2,
        warmup_ratio=0.1,
        weight_decay=0.01,
        class_weight="none",
        freeze_layers=0,
        adapter_rank=4,
        adapter_targets=[],
        seed=7,
    )
    return folder, settings


def test_adapters_are_trained_saved_and_resumed(tmp_path, adapted_training):
    """An interrupted training ends with the bytes of a whole one."""
    data, settings = adapted_training
    training.train(data, tmp_path / "whole", settings, "cpu", 2)
    history = json.loads((tmp_path / "whole" / "history.json").read_text())
    assert history["losses"][-1] < history["losses"][0] / 2
    folder = tmp_path / "whole" / "model"
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder
    )
    assert not [name for name, _ in plain.named_parameters() if "lora" in name]
    # The encoder was moved by the adapters.
    first = transformers.AutoModel.from_pretrained(settings.model_name)
    name = "encoder.layer.0.attention.self.query.weight"
    assert (first.get_parameter(name) != plain.bert.get_parameter(name)).any()
    [step] = (tmp_path / "whole" / "checkpoints").iterdir()
    size = (step / "tensors.safetensors").stat().st_size
    assert size < (folder / "model.safetensors").stat().st_size / 4
    part = tmp_path / "part"
    stop = pytest.MonkeyPatch()
    taken = []

    def stop_after_three(run, number, real=training.Run.training_step):
        taken.append(number)
        if len(taken) > 3:
            raise KeyboardInterrupt
        return real(run, number)

    stop.setattr(training.Run, "training_step", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        training.train(data, part, settings, "cpu", 2)
    stop.undo()
    training.train(data, part, settings, "cpu", 2)
    whole = (folder / "model.safetensors").read_bytes()
    assert (part / "model" / "model.safetensors").read_bytes() == whole


def test_adapters_and_frozen_layers_exclude_each_other(adapted_training):
    _, settings = adapted_training
    with pytest.raises(ValueError, match="set freeze_layers to 0"):
        training.Settings(**settings.model_dump() | {"freeze_layers": 1})


@pytest.mark.parametrize("kind", CONFIGS)
def test_saved_small_they_answer_as_merged(kind, tmp_path, input_ids, root):
    """From a folder of adapters and the base, as from the merged folder."""
    tokenizer = loading.load_tokenizer("minilm-l6")
    torch.manual_seed(0)
    base = transformers.AutoModel.from_config(copy.deepcopy(CONFIGS[kind]))
    checkpoints.save_model(tmp_path / "base", base, tokenizer)
    _, classifier = encoders.load_encoder(
        str(tmp_path / "base"),
        new_head=True,
        num_labels=2,
        id2label={0: "bad", 1: "good"},
    )
    adapters.add(classifier.model, 4)
    trained = checkpoints.trained_parameters(classifier.model)
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    expected = classifier.predict_logits(input_ids)
    adapters.save(classifier.model, tmp_path / "small", str(tmp_path / "base"))
    state = torch.get_rng_state()
    _, small = encoders.load_encoder(str(tmp_path / "small"))
    assert (torch.get_rng_state() == state).all()
    assert small.config.id2label == {0: "bad", 1: "good"}
    np.testing.assert_allclose(
        small.predict_logits(input_ids), expected, atol=1e-4
    )
    assert np.abs(np.diff(expected, axis=0)).max() > 0.01


def test_adapters_of_a_classifier_that_lack_tensors_are_refused(
    adapted_training, tmp_path, monkeypatch
):
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path / "cache"))
    data, settings = adapted_training
    training.train(data, tmp_path, settings, "cpu", 2)
    small = tmp_path / "model" / "adapters"
    path = small / "adapter_model.safetensors"
    tensors = load_file(path)
    lora = next(name for name in tensors if ".lora_B." in name)
    for name, message in (
        ("base_model.model.classifier.weight", "cannot be opened .KeyError"),
        (lora, "are not complete, or of another"),
    ):
        save_file({n: t for n, t in tensors.items() if n != name}, path)
        with pytest.raises(UserError, match=message):
            encoders.load_encoder(str(small))
    path.unlink()
    (small / "adapter_config.json").unlink()
    (small / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="adapters has no adapter_config.json"):
        encoders.load_encoder(str(small))


def test_a_training_leaves_both_forms(
    adapted_training, tmp_path, monkeypatch, input_ids
):
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path / "cache"))
    data, settings = adapted_training
    training.train(data, tmp_path, settings, "cpu", 2)
    for name in ("model", "best"):
        folder = tmp_path / name
        merged, small = (
            encoders.load_encoder(str(path))[1].predict_logits(input_ids)
            for path in (folder, folder / "adapters")
        )
        np.testing.assert_allclose(small, merged, atol=1e-4)
    sizes = [
        (tmp_path / "model" / file).stat().st_size
        for file in ("adapters/adapter_model.safetensors", "model.safetensors")
    ]
    assert sizes[0] < sizes[1] / 10
    full = settings.model_copy(update={"adapter_rank": 0, "num_epochs": 1})
    training.train(data, tmp_path / "full", full, "cpu", 2)
    assert not (tmp_path / "full" / "model" / "adapters").exists()
