"""How well people agree with one another: what a classifier can reach."""

from collections.abc import Sequence

import numpy as np

from nlp_helpers.classification import evaluation
from nlp_helpers.data.labels import LABEL2ID
from nlp_helpers.data.rated_texts import classes_of


def count_one_rater(ratings: Sequence[np.ndarray]) -> np.ndarray:
    """Count how single raters classify, against the mean of the others.

    Each rating is left out once: it is a prediction, and the mean of the
    other ratings of the text is the truth. A text weighs the same however
    many people rated it.

    Args:
        ratings: of each text, all in -4 to 4; texts with fewer than two are
            passed over.

    Returns:
        Texts by class of the mean (row) and of the single rating (column),
        (3, 3), as fractions of texts add up.
    """
    counts = np.zeros((len(LABEL2ID), len(LABEL2ID)))
    for values in ratings:
        if len(values) < 2:
            continue
        others = (values.sum() - values) / (len(values) - 1)
        truth, said = _numbers(others), _numbers(values)
        np.add.at(counts, (truth, said), 1 / len(values))
    return counts


def score_counts(counts: np.ndarray) -> dict[str, float]:
    """Return `accuracy` and `macro_f1` of confusion counts, (K, K)."""
    right = counts.diagonal()
    said_or_true = counts.sum(axis=0) + counts.sum(axis=1)
    return {
        "accuracy": float(right.sum() / counts.sum()),
        "macro_f1": float(evaluation.macro_f1(right, said_or_true)),
    }


def agreement(
    ratings: Sequence[np.ndarray], labels: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Return the fraction of a text's raters who chose its class, (N,).

    NaN where a text has no ratings.
    """
    return np.array(
        [
            (_numbers(values) == label).mean() if len(values) else np.nan
            for values, label in zip(ratings, labels, strict=True)
        ]
    )


def _numbers(ratings: np.ndarray) -> np.ndarray:
    """Return the numbers of the classes of ratings, (N,)."""
    return np.array([LABEL2ID[name] for name in classes_of(ratings)])
