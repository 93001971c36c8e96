import numpy as np
import pytest
import torch
from small_bert import small_config
from transformers import BertForTokenClassification, pipeline

from nlp_helpers.heads import token_labels
from nlp_helpers.heads.token_labels import Span, Word
from nlp_helpers.models import loading

LABELS = {0: "O", 1: "B-NAME", 2: "I-NAME", 3: "B-CITY", 4: "I-CITY"}


@pytest.fixture(scope="module")
def tagger():
    """Return a tokenizer, and a small model that labels at random."""
    torch.manual_seed(3)
    config = small_config(id2label=LABELS, max_position_embeddings=48)
    config.initializer_range = 0.5  # else all is nearly equal
    tokenizer = loading.load_tokenizer("minilm-l6")
    tokenizer.model_max_length = 48
    return tokenizer, BertForTokenClassification(config).eval()


def words(*labels):
    return [
        Word(3 * n, 3 * n + 2, label, 0.5) for n, label in enumerate(labels)
    ]


def test_marked_lines_become_texts_and_spans():
    line = "I am [Ann Lee](NAME), from [Oslo](CITY) [sic]."
    text, spans = token_labels.parse_marked(line)
    assert text == "I am Ann Lee, from Oslo [sic]."
    assert [(text[s.start : s.end], s.label) for s in spans] == [
        ("Ann Lee", "NAME"),
        ("Oslo", "CITY"),
    ]


def test_there_are_forty_labelled_sentences():
    marked = token_labels.read_marked()
    assert len(marked) == 40
    assert sum(not spans for _, spans in marked) == 10
    assert not [text for text, _ in marked if "](" in text or "[" in text]


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        (["O", "B-A", "I-A", "O"], [(3, 8, "A")]),
        (["B-A", "B-A"], [(0, 2, "A"), (3, 5, "A")]),
        (["I-A", "I-B"], [(0, 2, "A"), (3, 5, "B")]),
        (["B-A", "O", "I-A"], [(0, 2, "A"), (6, 8, "A")]),
        (["O", "O"], []),
    ],
)
def test_bio_labels_are_read_as_spans(labels, spans):
    found = token_labels.to_spans(words(*labels))
    assert [span[:3] for span in found] == spans


def test_the_score_of_a_span_is_the_mean_of_its_words():
    pair = [Word(0, 1, "B-A", 0.9), Word(2, 3, "I-A", 0.5)]
    [span] = token_labels.to_spans(pair)
    assert span.score == pytest.approx(0.7)


def test_the_first_piece_of_a_word_decides():
    probabilities = torch.eye(5)[[0, 3, 1, 0, 0]]
    offsets = [(0, 0), (0, 6), (6, 9), (9, 10), (0, 0)]
    [city, mark] = token_labels.join_pieces(
        probabilities, offsets, [None, 0, 0, 1, None], LABELS
    )
    assert city == Word(0, 9, "B-CITY", 1.0)
    assert mark == Word(9, 10, "O", 1.0)


def test_the_pipeline_of_transformers_finds_the_same(tagger):
    tokenizer, model = tagger
    labeller = pipeline(
        "token-classification",
        model=model,
        tokenizer=tokenizer,
        aggregation_strategy="first",
    )
    count = 0
    for text, _ in token_labels.read_marked():
        found = token_labels.find_spans(text, tokenizer, model)
        expected = [
            (each["start"], each["end"], each["entity_group"])
            for each in labeller(text)
        ]
        assert [span[:3] for span in found] == expected
        scores = [float(each["score"]) for each in labeller(text)]
        assert np.allclose([span.score for span in found], scores, atol=1e-4)
        count += len(found)
    assert count > 100  # a model that says nothing proves nothing


def test_a_long_text_is_read_to_its_end_in_windows(tagger):
    tokenizer, model = tagger
    text = " ".join(f"word{n % 7} goes" for n in range(60))
    spans = token_labels.find_spans(text, tokenizer, model)
    assert spans == sorted(spans)
    assert spans[-1].end > len(text) - 60
    pairs = zip(spans, spans[1:], strict=False)
    assert all(one.end <= other.start for one, other in pairs)


def test_a_span_is_right_with_bounds_and_label_alone():
    expected = [[Span(0, 3, "A"), Span(5, 9, "B")], []]
    found = [[Span(0, 3, "A", 0.4), Span(5, 8, "B")], [Span(0, 3, "C")]]
    table = token_labels.count_spans(found, expected)
    columns = ["expected", "found", "right"]
    assert table[columns].to_numpy().tolist() == [
        [1, 1, 1],
        [1, 1, 0],
        [0, 1, 0],
        [2, 3, 1],
    ]
    assert list(table.index) == ["A", "B", "C", "all"]
    assert table.loc["all", "precision"] == pytest.approx(1 / 3)
    assert table.loc["all", "recall"] == 0.5
    assert np.isnan(table.loc["C", "recall"])
