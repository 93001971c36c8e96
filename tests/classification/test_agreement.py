"""What single raters reach."""

import numpy as np
import pytest

from nlp_helpers.classification import agreement
from nlp_helpers.data.labels import LABEL2ID

NEUTRAL, POSITIVE, NEGATIVE = (
    LABEL2ID[name] for name in ("neutral", "positive", "negative")
)


def test_each_rater_is_compared_with_the_mean_of_the_others():
    # Left out, 4 leaves a mean of 0; each 0 leaves one of 2.
    counts = agreement.count_one_rater([np.array([0.0, 0.0, 4.0])])
    expected = np.zeros((3, 3))
    expected[NEUTRAL, POSITIVE] = 1 / 3
    expected[POSITIVE, NEUTRAL] = 2 / 3
    assert counts == pytest.approx(expected)


def test_a_text_weighs_the_same_however_many_rated_it():
    ratings = [np.full(5, 3.0), np.full(50, -3.0), np.array([]), np.zeros(1)]
    counts = agreement.count_one_rater(ratings)
    assert counts[POSITIVE, POSITIVE] == pytest.approx(1)
    assert counts[NEGATIVE, NEGATIVE] == pytest.approx(1)
    assert counts.sum() == pytest.approx(2)


def test_the_scores_of_counts_are_those_of_the_texts():
    counts = np.array([[2.0, 1, 0], [0, 4, 1], [1, 0, 3]])
    scores = agreement.score_counts(counts)
    assert scores["accuracy"] == pytest.approx(9 / 12)
    f1 = [2 * 2 / (3 + 3), 2 * 4 / (5 + 5), 2 * 3 / (4 + 4)]
    assert scores["macro_f1"] == pytest.approx(np.mean(f1))


def test_agreement_is_the_share_of_raters_who_chose_the_class():
    ratings = [np.array([1.0, 2, 0, -1]), np.array([]), np.array([-4.0, -1])]
    found = agreement.agreement(ratings, [POSITIVE, NEUTRAL, NEGATIVE])
    assert found == pytest.approx([0.5, np.nan, 1], nan_ok=True)
