import copy
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from small_encoders import CONFIGS, VOCABULARY
from torch.nn.functional import cross_entropy

from nlp_helpers.classification import (
    baselines,
    checkpoints,
    encoders,
    predicting,
    training,
)
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import shards
from nlp_helpers.models import loading, registry

LENGTHS = (5, 1, 90, 230, 17, 2)
WORDS = ("camera", "phone", "radio", "cable", "battery", "screen", "case")


@pytest.fixture
def input_ids():
    generator = np.random.default_rng(0)
    return [generator.integers(10, VOCABULARY, length) for length in LENGTHS]


@pytest.fixture(params=CONFIGS)
def folder(request, tmp_path):
    """Return the folder of an encoder, with nothing for its head."""
    config = copy.deepcopy(CONFIGS[request.param])
    torch.manual_seed(0)
    checkpoints.save_model(
        tmp_path / "encoder",
        transformers.AutoModel.from_config(config),
        loading.load_tokenizer("minilm-l6"),
    )
    return tmp_path / "encoder"


def own_logits(model, ids):
    """Ask transformers' own forward pass for one text alone."""
    inputs = {"input_ids": torch.from_numpy(ids)[None]}
    if model.config.model_type == "xlnet":  # as its own tokenizer has it
        types = torch.zeros_like(inputs["input_ids"])
        types[:, -1] = 2
        inputs["token_type_ids"] = types
    return model(**inputs).logits[0]


def test_every_type_that_can_be_trained_is_tried_here():
    types = {config.model_type for config in CONFIGS.values()}
    assert types == set(registry.TRAINABLE)


def test_logits_and_gradients_are_those_of_each_text_alone(folder, input_ids):
    _, classifier = encoders.load_encoder(
        str(folder), new_head=True, num_labels=4
    )
    kind = registry.TRAINABLE[classifier.config.model_type]
    assert classifier.how.startswith(kind)
    classifier.model.save_pretrained(folder.parent / "classifier")
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder.parent / "classifier"
    ).eval()
    labels = torch.arange(len(LENGTHS)) % 4
    expected = torch.stack([own_logits(plain, ids) for ids in input_ids])
    cross_entropy(expected, labels).backward()
    logits = classifier(**classifier.collate(input_ids))
    cross_entropy(logits, labels).backward()
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert expected.std(dim=0).min() > 0.01  # else equal means little
    theirs = dict(plain.named_parameters())
    for name, parameter in classifier.model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(
                parameter.grad, theirs[name].grad, atol=1e-5, rtol=1e-3
            )
        else:
            assert theirs[name].grad is None  # no text uses it
    predicted = classifier.predict_logits(input_ids)
    torch.testing.assert_close(
        torch.from_numpy(predicted), expected.detach(), atol=1e-4, rtol=0
    )


def test_padding_among_the_tokens_of_a_text_counts_as_theirs(input_ids):
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS["roberta"])
    model = transformers.RobertaForSequenceClassification(config).eval()
    input_ids[2][7] = config.pad_token_id  # somebody wrote `<pad>`
    expected = [own_logits(model, ids) for ids in input_ids]
    classifier = encoders.wrap(model)
    logits = classifier(**classifier.collate(input_ids))
    torch.testing.assert_close(
        logits, torch.stack(expected), atol=1e-4, rtol=0
    )


@pytest.fixture
def data(folder):
    """Return 32 texts of three classes as notebook 4 leaves them."""
    splits = folder.parent / "splits"
    splits.mkdir()
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, 1 + n % 9)) for n in range(32)]
    names = ["bad", "fair", "good"]
    table = pa.table(
        {"text": texts, "label": [names[n % 3] for n in range(32)]}
    )
    for split in ("train", "validation"):
        pq.write_table(table, splits / f"{split}.parquet")
    made = {"group_by": "review", "labels": names}
    (splits / "split.json").write_text(json.dumps(made))
    shards.write_shards(splits, folder.parent / "shards", str(folder), 16)
    return folder.parent


def test_it_learns_texts_by_heart_is_saved_and_answers(folder, data):
    settings = training.Settings(
        model_name=str(folder),
        num_epochs=40,
        batch_size=8,
        learning_rate=6e-3,
        warmup_ratio=0.1,
        weight_decay=0.01,
        class_weight="none",
        freeze_layers=0,
        adapter_rank=0,
        adapter_targets=[],
        seed=7,
    )
    training.train(data, data / "training", settings, "cpu")
    table = pq.read_table(data / "splits" / "train.parquet")
    checkpoint = str(data / "training" / "model")
    tokenizer, classifier = predicting.load_classifier(checkpoint)
    texts = table["text"].to_pylist()
    answers = list(predicting.classify(texts, tokenizer, classifier))
    right = [answer["label"] for answer in answers] == np.array(table["label"])
    assert right.mean() > 0.9
    history = json.loads((data / "training" / "history.json").read_text())
    assert history["losses"][-1] < 0.3 < history["losses"][0]


def test_a_baseline_rests_on_its_vectors(folder, data):
    tokens = shards.read_shards(data / "shards", "train", str(folder))
    both = baselines.frozen_vectors(str(folder), [tokens, tokens])
    predicted = baselines.predict_frozen(both, tokens.labels)
    assert (predicted == tokens.labels).mean() > 0.4  # by chance: 0.34
    tokenizer, model = loading.load_model(folder, transformers.AutoModel)
    vectors = baselines.sentence_vectors(tokenizer, model, tokens)
    with torch.no_grad():
        for ids, vector in zip(tokens.input_ids, vectors, strict=True):
            text = torch.from_numpy(ids.astype(np.int64))[None]
            alone = model(text).last_hidden_state[0].mean(dim=0)
            torch.testing.assert_close(
                torch.from_numpy(vector), alone, atol=1e-4, rtol=0
            )


def test_layers_are_frozen_up_to_where_it_is_asked(folder):
    _, classifier = encoders.load_encoder(str(folder), new_head=True)
    model = classifier.model
    training.freeze(model, 1)
    names = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert any("embedding" in name for name in names)
    trained = list(checkpoints.trained_parameters(model))
    assert trained
    albert = model.config.model_type == "albert"  # one layer for all
    others = [name for name in trained if ".1." in name or "rel_emb" in name]
    assert bool(others) is not albert
    first = [name for name in names if ".0." in name]
    assert first
    assert not [name for name in trained if ".0." in name]
    with pytest.raises(UserError, match="freeze_layers is 9, but the model"):
        training.freeze(model, 9)


def test_vectors_alone_do_not_decay(folder):
    _, classifier = encoders.load_encoder(str(folder), new_head=True)
    decay, others = training.parameter_groups(classifier.model, 0.01)
    theirs = transformers.Trainer.get_decay_parameter_names(
        None, classifier.model
    )
    trained = checkpoints.trained_parameters(classifier.model)
    assert {id(p) for p in decay["params"]} == {
        id(p) for name, p in trained.items() if name in theirs
    }
    assert others["params"]


def test_a_decoder_is_refused(tmp_path):
    config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1)
    transformers.GPT2Model(config).save_pretrained(tmp_path / "gpt")
    with pytest.raises(UserError, match="of type gpt2, which notebook 5"):
        encoders.load_encoder(str(tmp_path / "gpt"))
