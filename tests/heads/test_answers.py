from types import SimpleNamespace

import pytest
import torch
from small_bert import small_config
from transformers import BertForQuestionAnswering

from nlp_helpers.core.errors import UserError
from nlp_helpers.heads import answers
from nlp_helpers.models import loading


class Finder(torch.nn.Module):
    """Answers with the tokens of one word; with [CLS] where it is absent."""

    def __init__(self, token_id, strength=5.0, null=1.0):
        super().__init__()
        self.token_id, self.strength, self.null = token_id, strength, null
        self.config = small_config()
        self.device = torch.device("cpu")
        self.windows = 0

    def forward(self, input_ids, **others):
        self.windows += 1
        logits = (input_ids == self.token_id) * self.strength
        logits[:, 0] = self.null
        return SimpleNamespace(start_logits=logits, end_logits=logits)


@pytest.fixture(scope="module")
def tokenizer():
    return loading.load_tokenizer("minilm-l6")


@pytest.fixture
def finder(tokenizer):
    return Finder(tokenizer.convert_tokens_to_ids("oslo"))


def span(begins, ends, inside, longest=30):
    tensors = (
        torch.tensor(each, dtype=torch.float) for each in (begins, ends)
    )
    return answers.best_span(*tensors, torch.tensor(inside), longest)


def test_the_best_span_is_the_highest_sum():
    assert span([0, 3, 1, 0], [0, 0, 1, 4], [False, True, True, True]) == (
        1,
        3,
        7,
    )


def test_an_end_before_its_begin_is_no_span():
    begin, end, _ = span([0, 0, 0, 9], [0, 9, 0, 0], [False, True, True, True])
    assert begin <= end


def test_the_question_is_no_answer():
    assert span([9, 0, 1], [9, 0, 1], [False, False, True])[:2] == (2, 2)


def test_a_span_may_not_be_longer_than_asked():
    flat = [0, 5, 0, 0, 0, 5], [True] * 6
    assert span(flat[0], [0, 0, 1, 0, 0, 9], flat[1], 2)[:2] == (5, 5)
    assert span(flat[0], [0, 0, 1, 0, 0, 9], flat[1], 5)[:2] == (1, 5)


def test_the_answer_is_cut_from_the_context_as_written(tokenizer, finder):
    context = "She moved to OSLO, in May."
    found = answers.find_answer("Where is she?", context, tokenizer, finder)
    assert found.text == "OSLO" == context[found.start : found.end]
    assert found.score == 10 and found.null_score == 2


def test_no_answer_wins_where_it_is_likelier(tokenizer, finder):
    found = answers.find_answer("Where?", "In Rome.", tokenizer, finder)
    assert found.text == "" and found.null_score == 2
    found = answers.find_answer(
        "Where?", "In Rome.", tokenizer, finder, null_threshold=5
    )
    assert found.text != ""


@pytest.mark.parametrize("before", [0, 20, 40, 100])
def test_a_long_context_is_read_in_windows(tokenizer, finder, before):
    context = "word " * before + "Oslo" + " word" * (100 - before)
    found = answers.find_answer(
        "Where is she?", context, tokenizer, finder, max_length=40
    )
    assert found.text == "Oslo" and found.start == 5 * before
    assert finder.windows > 3


def test_a_question_that_leaves_no_room_is_refused(tokenizer, finder):
    with pytest.raises(UserError, match="leaves 1 tokens for a context of 3"):
        answers.find_answer("one two three", "Rom", tokenizer, finder, 7)
    with pytest.raises(UserError, match="give a context"):
        answers.find_answer("Where?", " ", tokenizer, finder)


def test_a_real_head_gives_what_its_logits_say(tokenizer):
    torch.manual_seed(1)
    model = BertForQuestionAnswering(small_config()).eval()
    question, context = "Where is she?", "She moved to Oslo in May."
    found = answers.find_answer(
        question, context, tokenizer, model, null_threshold=100
    )
    encoded = tokenizer(question, context, return_tensors="pt")
    with torch.no_grad():
        output = model(**encoded)
    begins, ends = output.start_logits[0], output.end_logits[0]
    places = [n for n, s in enumerate(encoded.sequence_ids()) if s == 1]
    best = max(begins[b] + ends[e] for b in places for e in places if b <= e)
    assert found.score == pytest.approx(float(best), abs=1e-4)
    assert found.null_score == pytest.approx(
        float(begins[0] + ends[0]), abs=1e-4
    )


@pytest.mark.parametrize(
    ("found", "expected", "exact", "f1"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1, 1),
        ("Eiffel", "the eiffel tower", 0, 2 / 3),
        ("in the north", "south", 0, 0),
        ("", "", 1, 1),
        ("", "south", 0, 0),
        ("a b b", "b b c", 0, 0.8),
    ],
)
def test_answers_are_counted_as_squad_counts(found, expected, exact, f1):
    assert answers.exact_match(found, expected) == exact
    assert answers.f1(found, expected) == pytest.approx(f1)
