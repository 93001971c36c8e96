import numpy as np
import pytest

from nlp_helpers import evaluation

LABELS = np.array([0, 1, 1, 1, 2, 2])
PREDICTIONS = np.array([1, 1, 1, 0, 2, 1])


def test_scores_by_hand():
    scores = evaluation.score(LABELS, PREDICTIONS)
    # F1: neutral 0, positive 2*2/(3+4), negative 2*1/(2+1)
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert scores["macro_f1"] == pytest.approx((0 + 4 / 7 + 2 / 3) / 3)


def test_per_class_table_by_hand():
    table = evaluation.per_class_table(LABELS, PREDICTIONS)
    assert table.index.tolist() == ["neutral", "positive", "negative"]
    assert table.loc["positive"].tolist() == pytest.approx(
        [2 / 4, 2 / 3, 4 / 7, 3]
    )
    assert table.loc["neutral", "f1"] == 0


def test_a_class_that_is_never_predicted_counts_as_zero():
    scores = evaluation.score(LABELS, np.ones(6, int))
    assert scores["macro_f1"] == pytest.approx((0 + 2 / 3 + 0) / 3)


def test_the_majority_is_that_of_the_training_labels():
    assert evaluation.predict_majority(LABELS, 3).tolist() == [1, 1, 1]


def test_tfidf_learns_words_and_pairs_of_words():
    texts = ["good camera", "not good", "a camera"] * 5
    labels = np.array([1, 2, 0] * 5)
    new = ["a good camera", "it is not good"]
    assert evaluation.predict_tfidf(texts, labels, new).tolist() == [1, 2]


def test_mistakes_come_worst_first():
    logits = np.array([[0, 9, 0], [0, 0, 5], [3, 0, 0]], dtype=np.float32)
    table = evaluation.worst_mistakes(
        ["right", "wrong", "very wrong"], np.array([1, 1, 2]), logits, 2
    )
    assert table["text"].tolist() == ["wrong", "very wrong"]
    assert table["loss"].tolist() == pytest.approx([5.013, 3.095], abs=1e-3)
    assert table["label"].tolist() == ["positive", "negative"]
    assert table["predicted"].tolist() == ["negative", "neutral"]
