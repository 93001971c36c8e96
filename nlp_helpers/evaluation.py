"""Figures of a classifier, the baselines beside it, and its mistakes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_recall_fscore_support,
)
from sklearn.pipeline import make_pipeline

from nlp_helpers.reviews import ID2LABEL


def score(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Return `accuracy` and `macro_f1`, both in 0 to 1.

    Macro-F1 is the plain mean of the F1 of each class, so that the small
    neutral class counts as much as the large ones.
    """
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(
            f1_score(labels, predictions, average="macro", zero_division=0)
        ),
    }


def per_class_table(
    labels: np.ndarray, predictions: np.ndarray
) -> pd.DataFrame:
    """Tabulate precision, recall, F1 and number of texts of each class."""
    columns = precision_recall_fscore_support(
        labels, predictions, labels=list(ID2LABEL), zero_division=0
    )
    names = ["precision", "recall", "f1", "texts"]
    return pd.DataFrame(
        dict(zip(names, columns, strict=True)), index=list(ID2LABEL.values())
    )


def predict_majority(labels: np.ndarray, num_texts: int) -> np.ndarray:
    """Predict the most frequent training label for every text, (N,)."""
    model = DummyClassifier(strategy="most_frequent")
    model.fit(np.zeros((len(labels), 1)), labels)
    return model.predict(np.zeros((num_texts, 1)))


def predict_tfidf(
    texts: Sequence[str], labels: np.ndarray, new_texts: Sequence[str]
) -> np.ndarray:
    """Train TF-IDF + balanced logistic regression; predict `new_texts`, (N,).

    Words and pairs of words, each class weighted by the inverse of its size.
    """
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    model.fit(texts, labels)
    return model.predict(new_texts)


def worst_mistakes(
    texts: Sequence[str], labels: np.ndarray, logits: np.ndarray, number: int
) -> pd.DataFrame:
    """Tabulate the texts with the highest loss, worst first.

    Returns:
        Columns `loss`, `label`, `predicted`, `text`.
    """
    losses = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(labels), reduction="none"
    ).numpy()
    worst = np.argsort(-losses, kind="stable")[:number]
    return pd.DataFrame(
        {
            "loss": losses[worst],
            "label": [ID2LABEL[label] for label in labels[worst]],
            "predicted": [ID2LABEL[i] for i in logits[worst].argmax(axis=1)],
            "text": [texts[row] for row in worst],
        }
    )
