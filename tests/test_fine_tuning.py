import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from nlp_helpers import checkpoints, fine_tuning, models
from nlp_helpers.encoding import TokenSet


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=3,
    )
    return BertForSequenceClassification(config).eval()


@pytest.fixture
def tokens():
    """Return 103 short texts; the first token gives the label away."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 103)
    input_ids = [
        np.array([1000 + label, *generator.integers(2000, 2100, size)])
        for label, size in zip(
            labels, generator.integers(1, 20, 103), strict=True
        )
    ]
    return TokenSet(input_ids, labels)


def make_batches(tokens, seed, pad_token_id=0):
    generator = torch.Generator().manual_seed(seed)
    device = torch.device("cpu")
    return list(
        fine_tuning.batches(tokens, 8, pad_token_id, device, generator)
    )


def test_weight_decay_spares_biases_and_layer_norms_and_nothing_else(model):
    decayed, spared = fine_tuning.parameter_groups(model, 0.01)
    names = {id(p): name for name, p in model.named_parameters()}
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    for parameter in spared["params"]:
        name = names[id(parameter)]
        assert name.endswith("bias") or "LayerNorm" in name
        assert parameter.ndim == 1
    for parameter in decayed["params"]:
        assert parameter.ndim == 2


def test_an_epoch_has_every_text_once_and_follows_the_seed(tokens):
    first, again, other = (make_batches(tokens, seed) for seed in (1, 1, 2))
    assert len(first) == 13
    rows = sorted(
        tuple(ids[mask.bool()].tolist())
        for batch in first
        for ids, mask in zip(
            batch["input_ids"], batch["attention_mask"], strict=True
        )
    )
    assert rows == sorted(tuple(ids.tolist()) for ids in tokens.input_ids)
    labels = [batch["labels"].tolist() for batch in first]
    assert labels == [batch["labels"].tolist() for batch in again]
    assert labels != [batch["labels"].tolist() for batch in other]


def test_texts_of_similar_length_share_a_batch(tokens):
    padded = sum(b["input_ids"].numel() for b in make_batches(tokens, 1))
    needed = sum(len(ids) for ids in tokens.input_ids)
    assert padded < 1.2 * needed


def test_the_content_of_padding_changes_no_loss(model, tokens):
    for zeros, other in zip(
        make_batches(tokens, 1, 0), make_batches(tokens, 1, 77), strict=True
    ):
        with torch.no_grad():
            torch.testing.assert_close(
                model(**zeros).loss, model(**other).loss
            )


def test_logits_are_in_the_order_of_the_texts(model, tokens):
    together = fine_tuning.predict_logits(model, tokens.input_ids, 0)
    for row in (0, 17, 102):
        alone = fine_tuning.predict_logits(model, [tokens.input_ids[row]], 0)
        np.testing.assert_allclose(together[row], alone[0], atol=1e-4)


def test_the_loop_learns_what_can_be_learned(model, tokens):
    optimizer = torch.optim.AdamW(
        fine_tuning.parameter_groups(model, 0.01), lr=3e-3
    )
    model.train()
    for epoch in range(6):
        for batch in make_batches(tokens, epoch):
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    logits = fine_tuning.predict_logits(model, tokens.input_ids, 0)
    assert model.training  # as it was before
    assert (logits.argmax(axis=1) == tokens.labels).mean() > 0.95


def test_a_checkpoint_opens_with_the_same_answers(root, model):
    tokenizer = models.load_tokenizer("minilm-l6")
    texts = ["a good camera", "it broke", "it broke, sadly, after a week"]
    expected = fine_tuning.classify(texts, tokenizer, model)
    checkpoints.save(root / "checkpoint", model, tokenizer)
    names = {path.name for path in (root / "checkpoint").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt"))]
    again = fine_tuning.classify(
        texts, *models.load("checkpoint", BertForSequenceClassification)
    )
    assert again == expected
    assert [answer["text"] for answer in again] == texts
    for answer in again:
        names = list(model.config.id2label.values())
        assert sum(answer[name] for name in names) == pytest.approx(1)
        assert answer["label"] == max(names, key=answer.get)
