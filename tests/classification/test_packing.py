import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import BertConfig, BertForSequenceClassification

from nlp_helpers.classification import attention, packing

LENGTHS = (5, 1, 90, 300, 17, 2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        num_labels=3,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config)


@pytest.fixture
def input_ids():
    generator = np.random.default_rng(0)
    return [generator.integers(5, 30_000, length) for length in LENGTHS]


def test_texts_stand_end_to_end(input_ids):
    joined = packing.pack(input_ids)
    assert joined["input_ids"].shape == (1, sum(LENGTHS))
    assert joined["cu_seqlens"].tolist() == [0, 5, 6, 96, 396, 413, 415]
    assert joined["position_ids"][0, :7].tolist() == [0, 1, 2, 3, 4, 0, 0]
    assert joined["position_ids"].max() == 299
    assert joined["input_ids"][0, 5] == input_ids[1][0]


def test_logits_and_gradients_are_those_of_padded_batches(model, input_ids):
    labels = torch.arange(6) % 3
    rows = [torch.from_numpy(row) for row in input_ids]
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    plain = copy.deepcopy(model)
    wrapped = packing.PackedClassifier(model)
    for padding in (0, 77):  # what it holds does not matter
        plain.zero_grad()
        rectangle = pad_sequence(rows, batch_first=True, padding_value=padding)
        padded = plain(rectangle, attention_mask=mask.long()).logits
        cross_entropy(padded, labels).backward()
        expected = {n: p.grad for n, p in plain.named_parameters()}
        model.zero_grad()
        logits = wrapped(**packing.pack(input_ids))
        cross_entropy(logits, labels).backward()
        torch.testing.assert_close(logits, padded, atol=1e-4, rtol=0)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                parameter.grad, expected[name], atol=1e-5, rtol=1e-3, msg=name
            )


def test_no_text_sees_another(model, input_ids):
    wrapped = packing.PackedClassifier(model).eval()
    before = wrapped(**packing.pack(input_ids))
    input_ids[3] = input_ids[3][::-1].copy()
    after = wrapped(**packing.pack(input_ids))
    same = (before == after).all(dim=1)
    assert same.tolist() == [True, True, True, False, True, True]


def test_attention_dropout_is_refused(model, input_ids):
    model.bert.encoder.layer[0].attention.self.dropout.p = 0.1
    wrapped = packing.PackedClassifier(model).train()
    with pytest.raises(ValueError, match="has no dropout; load the"):
        wrapped(**packing.pack(input_ids))


def test_passes_hold_no_more_tokens_than_allowed():
    lengths = [300, 300, 500, 1200, 1, 1, 999]
    cuts = list(packing.micro_batches(lengths, 1000))
    assert [lengths[cut] for cut in cuts] == [
        [300, 300],
        [500],
        [1200],  # one text is never cut
        [1, 1],
        [999],
    ]
    assert list(packing.micro_batches([], 1000)) == []


def test_predicted_logits_are_in_the_order_of_the_texts(
    model, input_ids, monkeypatch
):
    wrapped = packing.PackedClassifier(model).train()
    together = wrapped.predict_logits(input_ids)
    assert model.training  # as it was before
    monkeypatch.setattr(packing, "CACHED_TOKENS", 100)
    again = wrapped.predict_logits(input_ids)
    np.testing.assert_allclose(together, again, atol=1e-5)
    for row, ids in enumerate(input_ids):
        alone = wrapped.predict_logits([ids])
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


@pytest.mark.parametrize("window", [None, 3])
def test_neighbours_of_one_length_do_not_attend_to_each_other(window):
    lengths = (7, 7, 7, 3, 3, 9)
    query, key, value = torch.randn(3, sum(lengths), 2, 16)
    cu_seqlens = torch.tensor([0, *np.cumsum(lengths)])
    together = attention.attend(
        query, key, value, cu_seqlens, cu_seqlens, window
    )
    pieces = zip(*(t.split(lengths) for t in (query, key, value)), strict=True)
    alone = []
    for piece in pieces:
        ends = torch.tensor([0, len(piece[0])])
        alone.append(attention.attend(*piece, ends, ends, window))
    torch.testing.assert_close(together, torch.cat(alone))


def test_texts_of_one_length_are_read_together():
    lengths = [3, 900, 3, 1200, 3, 900]
    passes = packing.plan_reading(lengths, torch.device("cpu"))
    assert [rows.tolist() for rows in passes] == [[0, 2, 4, 1, 5], [3]]
    passes = packing.plan_reading(lengths, torch.device("meta"))
    assert [rows.tolist() for rows in passes] == [[0, 2, 4, 1, 5, 3]]


def test_attention_is_computed_in_float32():
    query, key, value = torch.randn(3, 6, 2, 16).bfloat16()
    cu_seqlens = torch.tensor([0, 6])
    wanted = torch.nn.functional.scaled_dot_product_attention(
        *(t.float().transpose(0, 1)[None] for t in (query, key, value))
    )
    with torch.autocast("cpu", torch.bfloat16):
        found = attention.attend(query, key, value, cu_seqlens, cu_seqlens)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted[0].transpose(0, 1).bfloat16())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_on_cuda_texts_attend_as_on_the_processor():
    """In bfloat16, CUDA has a kernel of its own for joined texts."""
    torch.manual_seed(0)
    keys = torch.tensor([0, *np.cumsum(LENGTHS)])
    firsts = torch.arange(len(keys))
    key, value = torch.randn(2, int(keys[-1]), 4, 64).bfloat16()
    for cu_seqlens in (keys, firsts):
        query = torch.randn(int(cu_seqlens[-1]), 4, 64).bfloat16()
        wanted = attention.attend(query, key, value, cu_seqlens, keys)
        tensors = (query, key, value, cu_seqlens, keys)
        found = attention.attend(*(tensor.cuda() for tensor in tensors))
        torch.testing.assert_close(found.cpu(), wanted, atol=0.02, rtol=0.02)


def test_asking_for_predictions_switches_no_dropout_on(model, input_ids):
    wrapped = packing.PackedClassifier(model.eval())
    wrapped.predict_logits(input_ids)
    assert not any(module.training for module in wrapped.modules())


def test_a_failed_prediction_leaves_dropout_on(model):
    wrapped = packing.PackedClassifier(model).train()
    with pytest.raises(IndexError):
        wrapped.predict_logits([np.array([model.config.vocab_size])])
    assert all(module.training for module in wrapped.modules())


def test_bfloat16_gives_nearly_the_same(model, input_ids, monkeypatch):
    wrapped = packing.PackedClassifier(model)
    exact = wrapped.predict_logits(input_ids)
    monkeypatch.setattr(
        "nlp_helpers.session.precision", lambda device: torch.bfloat16
    )
    rounded = wrapped.predict_logits(input_ids)
    np.testing.assert_allclose(rounded, exact, atol=0.02)
    assert (rounded != exact).any()
