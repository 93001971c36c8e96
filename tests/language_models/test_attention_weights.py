import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from nlp_helpers.language_models import attention_weights


@pytest.fixture
def bert():
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.5,
    )
    model = BertForMaskedLM(config).eval()
    model.set_attn_implementation("sdpa")
    return model


IDS = torch.tensor([[5, 9, 3, 7, 11]])


@torch.no_grad()
def logits_of(model):
    return model(input_ids=IDS).logits


def test_the_weights_are_those_of_the_first_layers_equation(bert):
    weights = attention_weights.read_weights(bert, input_ids=IDS)
    assert weights.shape == (2, 4, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5))
    attention = bert.bert.encoder.layer[0].attention.self
    with torch.no_grad():
        states = bert.bert.embeddings(input_ids=IDS)[0]  # (T, 16)
        queries = attention.query(states)[:, 4:8]  # of the second head
        keys = attention.key(states)[:, 4:8]
        expected = (queries @ keys.T / 4**0.5).softmax(-1)
    torch.testing.assert_close(weights[0, 1], expected)


def test_reading_leaves_the_model_as_it_was(bert):
    before = logits_of(bert)
    attention_weights.read_weights(bert, input_ids=IDS)
    assert bert.config._attn_implementation == "sdpa"
    assert torch.equal(logits_of(bert), before)
    with pytest.raises(IndexError):
        attention_weights.read_weights(bert, input_ids=IDS + 100)
    assert bert.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 3)])
def test_a_head_that_is_off_is_a_head_with_weights_of_zero(bert, layer, head):
    before = logits_of(bert)
    with attention_weights.head_off(bert, layer, head):
        without = logits_of(bert)
    assert torch.equal(logits_of(bert), before)
    assert not torch.allclose(without, before, atol=1e-3)
    dense = bert.bert.encoder.layer[layer].attention.output.dense
    with torch.no_grad():
        dense.weight[:, head * 4 : head * 4 + 4] = 0
    torch.testing.assert_close(logits_of(bert), without)


def test_a_head_is_on_again_after_a_failure(bert):
    before = logits_of(bert)
    with pytest.raises(ValueError), attention_weights.head_off(bert, 0, 1):
        raise ValueError
    assert torch.equal(logits_of(bert), before)
