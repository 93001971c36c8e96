import copy

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from nlp_helpers import formatting
from nlp_helpers.core.errors import UserError
from nlp_helpers.language_models import next_token
from nlp_helpers.language_models.next_token import top_k_table
from nlp_helpers.models import loading


@pytest.fixture(scope="module")
def causal():
    return loading.load_model("smollm2-135m", AutoModelForCausalLM)


def test_the_packaged_model_knows_the_capital_of_france(causal):
    tokenizer, model = causal
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    best = top_k_table(next_token.next_token_logits(model, ids), tokenizer, 3)
    assert best["token"].iloc[0] == " Paris"
    assert best["probability"].iloc[0] == pytest.approx(0.77, abs=0.02)
    assert best["probability"].is_monotonic_decreasing


def test_greedy_decoding_equals_generate(causal):
    tokenizer, model = causal
    encoded = tokenizer("The recipe begins with", return_tensors="pt")
    ids, steps = next_token.decode_greedily(
        model, tokenizer, encoded.input_ids, num_steps=6
    )
    generated = model.generate(**encoded, max_new_tokens=6, do_sample=False)
    assert torch.equal(ids, generated)
    assert len(steps) == 6
    assert steps["text so far"].iloc[0] == "The recipe begins with"


def test_the_table_of_steps_shows_the_newest_words(causal):
    tokenizer, model = causal
    prompt = "The first line is long. " * 10 + "The recipe begins with"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    _, steps = next_token.decode_greedily(model, tokenizer, ids, 2)
    first, second = steps["text so far"]
    assert first.startswith("...") and first.endswith("recipe begins with")
    newest = steps["token"].iloc[0]
    assert second.endswith("recipe begins with" + newest)
    shown = formatting.as_html(steps)
    assert first in shown and second in shown  # whole


def test_the_table_of_steps_says_what_was_chosen_and_what_was_not(causal):
    tokenizer, model = causal
    ids = tokenizer("The recipe begins with", return_tensors="pt").input_ids
    decoded, steps = next_token.decode_greedily(model, tokenizer, ids, 2)
    for length, row in zip((-2, -1), steps.itertuples(), strict=True):
        logits = next_token.next_token_logits(model, decoded[:, :length])
        best = next_token.top_k_table(logits, tokenizer, 4)
        assert row.token == tokenizer.decode([decoded[0, length]])
        assert row.probability == pytest.approx(best["probability"].iloc[0])
        others = best.iloc[1:]
        assert row.instead == ", ".join(
            f"{other.token!r} {formatting.decimal(other.probability)}"
            for other in others.itertuples()
        )


def test_decoding_stops_at_the_end_of_the_text(causal):
    tokenizer, model = causal
    encoded = tokenizer("The recipe begins with", return_tensors="pt")
    start = encoded.input_ids.shape[1]
    ids, _ = next_token.decode_greedily(model, tokenizer, encoded.input_ids, 6)
    ending = copy.deepcopy(tokenizer)  # calls the third token the end
    ending.eos_token = tokenizer.convert_ids_to_tokens(int(ids[0, start + 2]))
    stopped, steps = next_token.decode_greedily(
        model, ending, encoded.input_ids, 6
    )
    assert torch.equal(stopped, ids[:, : start + 3])
    assert len(steps) == 3
    sampled = next_token.sample(
        model, ending, encoded.input_ids, 6, 0.001, 1.0, seed=1
    )
    assert torch.equal(sampled, stopped)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, 1), (0.5, 1), (0.51, 2), (0.8, 2), (1.0, 4)]
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(top_p, kept):
    probabilities = torch.tensor([0.125, 0.5, 0.0625, 0.3125])
    logits = next_token.top_p_filter(probabilities.log(), top_p)
    best = probabilities.argsort(descending=True)[:kept]
    assert logits.isfinite().nonzero().flatten().tolist() == sorted(best)
    assert torch.equal(logits[best], probabilities.log()[best])


def test_a_top_p_of_1_keeps_every_token():
    logits = torch.linspace(0, 30, 50_000)  # the tail is below rounding
    assert next_token.top_p_filter(logits, 1.0).isfinite().all()
    nearly_all = next_token.top_p_filter(logits, 1 - 1e-9).isfinite().sum()
    exact = logits.sort(descending=True).values.softmax(0).double().cumsum(0)
    assert nearly_all == (exact < 1 - 1e-9).sum() + 1


def test_a_token_is_drawn_as_often_as_it_is_probable():
    probabilities = torch.tensor([0.0, 0.5, 0.2, 0.0, 0.3, 0.0])
    generator = np.random.default_rng(0)
    drawn = [
        next_token.sample_token(probabilities.log(), generator)
        for _ in range(4000)
    ]
    shares = np.bincount(drawn, minlength=6) / 4000
    assert (shares[[0, 3, 5]] == 0).all()
    np.testing.assert_allclose(shares, probabilities, atol=0.03)


def test_a_seed_repeats_a_sample_and_another_does_not(causal):
    tokenizer, model = causal
    ids = tokenizer("Once upon a time", return_tensors="pt").input_ids

    def draw(seed, temperature=1.0, top_p=1.0):
        return next_token.sample(
            model, tokenizer, ids, 6, temperature, top_p, seed
        )

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    greedy, _ = next_token.decode_greedily(model, tokenizer, ids, 6)
    assert torch.equal(draw(1, temperature=0.001), greedy)
    assert torch.equal(draw(1, top_p=1e-6), greedy)


def test_a_text_longer_than_the_model_is_refused():
    config = GPT2Config(
        vocab_size=50, n_positions=12, n_embd=8, n_layer=1, n_head=2
    )
    model = GPT2LMHeadModel(config)
    ids = torch.arange(10).reshape(1, 10)
    next_token.check_length(ids, 2, model)
    with pytest.raises(UserError, match="10 tokens, num_steps 3 .* reads 12"):
        next_token.check_length(ids, 3, model)
    config = BloomConfig(vocab_size=50, hidden_size=8, n_layer=1, n_head=2)
    next_token.check_length(ids, 3, BloomForCausalLM(config))
