import pytest
import torch

from nlp_helpers.serving.batching import UNFINISHED
from nlp_helpers.serving.failures import ServiceError
from nlp_helpers.serving.generation import (
    Continuation,
    Sampling,
    TextGenerator,
)

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def generator():
    return TextGenerator("smollm2-135m", torch.device("cpu"))


def finish(generator, emit=None, **sampling):
    settings = {"max_new_tokens": 12} | sampling
    ids = generator.encode(PROMPT, settings["max_new_tokens"])
    state = Continuation(ids, Sampling(**settings), emit)
    while generator.run([state]) == [UNFINISHED]:
        pass
    return state


def test_the_best_tokens_are_those_of_generate(generator):
    inputs = generator.tokenizer(PROMPT, return_tensors="pt")
    theirs = generator.model.generate(
        **inputs, max_new_tokens=12, do_sample=False
    )
    state = finish(generator)
    assert theirs[0, inputs["input_ids"].shape[1] :].tolist() == state.ids
    assert state.finish_reason == "length"
    assert state.text == generator.tokenizer.decode(state.ids)


def test_a_penalty_is_that_of_generate(generator):
    inputs = generator.tokenizer(PROMPT, return_tensors="pt")
    theirs = generator.model.generate(
        **inputs, max_new_tokens=12, do_sample=False, repetition_penalty=1.5
    )
    state = finish(generator, repetition_penalty=1.5)
    assert theirs[0, inputs["input_ids"].shape[1] :].tolist() == state.ids
    assert state.ids != finish(generator).ids


def test_chance_follows_its_seed_and_its_nucleus(generator):
    warm = {"do_sample": True, "temperature": 1.5}
    texts = {finish(generator, seed=n, **warm).text for n in (1, 1, 2, 3)}
    assert len(texts) == 3
    narrow = finish(generator, do_sample=True, top_p=1e-6, seed=5)
    assert narrow.ids == finish(generator).ids
    single = finish(generator, do_sample=True, top_k=1, seed=5)
    assert single.ids == narrow.ids


def test_a_stop_ends_the_text_and_is_in_it(generator):
    whole = finish(generator).text
    stop = whole[2:6]
    state = finish(generator, stop=(stop,))
    assert state.finish_reason == "stop_sequence"
    assert stop in state.text and len(state.text) < len(whole)


def test_events_make_the_text_and_carry_its_probabilities(generator):
    events = []
    state = finish(generator, emit=events.append, top_n_tokens=3)
    assert "".join(event["token"]["text"] for event in events) == state.text
    assert [event["index"] for event in events] == [*range(1, 13)]
    for event, best in zip(events, state.top_tokens, strict=True):
        assert best[0]["id"] == event["token"]["id"]
        assert best[0]["logprob"] == pytest.approx(
            event["token"]["logprob"], abs=1e-5
        )


def test_half_characters_wait_for_the_rest(generator):
    smile = generator.tokenizer("🙂 done")["input_ids"]
    texts = []
    state = Continuation([1], Sampling(max_new_tokens=len(smile)))
    state.choose = lambda logits: (smile[len(state.ids)], 0.0)
    while generator.run([state]) == [UNFINISHED]:
        texts.append(state.text)
    assert not [text for text in texts if "\ufffd" in text]
    assert state.text == "🙂 done"


def test_what_the_model_cannot_read_is_refused(generator):
    with pytest.raises(ServiceError, match="shorten one of them"):
        generator.encode(PROMPT, 10_000)
    with pytest.raises(ServiceError, match="empty"):
        generator.encode("", 5)
