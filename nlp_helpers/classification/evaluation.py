"""How good a classifier is, how sure that is, and where it errs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)
from sklearn.neighbors import NearestNeighbors

from nlp_helpers.core.errors import UserError
from nlp_helpers.data.labels import LABEL2ID, STARS

RESAMPLES = 10_000  # of the bootstrap
SEED = 0  # of its draws
_CLEAR = [LABEL2ID["positive"], LABEL2ID["negative"]]


def check_classes(
    train: np.ndarray,
    validation: np.ndarray,
    names: Sequence[str] = STARS,
) -> None:
    """Ask for labels that can be learned from, and judged by.

    Raises:
        UserError: all training texts are of one class; or of the classes of
            stars, no validation text is positive or negative.
    """
    if len(set(train)) < 2:
        problem = "all training texts are of one class"
    elif tuple(names) == STARS and not np.isin(validation, _CLEAR).any():
        problem = "no validation text is positive or negative"
    else:
        return
    raise UserError(f"{problem}; run notebook 04 with more reviews")


def score(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Return `accuracy` and `macro_f1`, both in 0 to 1.

    Macro-F1 is the plain mean of the F1 of each class, so that a small class
    counts as much as a large one.
    """
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(
            f1_score(labels, predictions, average="macro", zero_division=0)
        ),
    }


def compare(
    labels: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    groups: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Tabulate the scores of several predictions for the same texts.

    Args:
        labels: the true classes, (N,).
        predictions: name -> predicted classes, (N,).
        groups: see `bootstrap`.

    Returns:
        A row for each: `accuracy`, `macro_f1`, and `low` and `high`, its
        95 % interval.
    """
    rows = {}
    for name, predicted in predictions.items():
        low, high = bootstrap(labels, predicted, groups=groups)
        rows[name] = score(labels, predicted) | {"low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index")


def per_class_table(
    labels: np.ndarray,
    predictions: np.ndarray,
    names: Sequence[str] = STARS,
) -> pd.DataFrame:
    """Tabulate precision, recall, F1 and number of texts of each class."""
    columns = precision_recall_fscore_support(
        labels, predictions, labels=range(len(names)), zero_division=0
    )
    scores = ["precision", "recall", "f1", "texts"]
    return pd.DataFrame(
        dict(zip(scores, columns, strict=True)), index=list(names)
    )


def confusion_counts(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int = len(STARS)
) -> np.ndarray:
    """Count texts by true class (row) and predicted class (column)."""
    return confusion_matrix(labels, predictions, labels=range(num_classes))


def macro_f1(right: np.ndarray, said_or_true: np.ndarray) -> np.ndarray:
    """Return macro-F1 of counts of each class, (..., K) -> (...).

    A class that neither occurs nor was predicted has no F1; as in `score`,
    the mean is that of the others.

    Args:
        right: texts of a class that were predicted as it.
        said_or_true: texts of a class, and texts predicted as it.
    """
    f1 = 2 * right / np.maximum(said_or_true, 1)
    return f1.sum(axis=-1) / np.count_nonzero(said_or_true, axis=-1)


def bootstrap(
    labels: np.ndarray,
    predictions: np.ndarray,
    baseline: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Return the 95 % interval of macro-F1, or of the gain over a baseline.

    The percentile bootstrap (Efron 1979): draw as many texts as there are,
    with replacement, 10,000 times, and take the middle 95 % of the scores.
    Texts that belong together are drawn together (the cluster bootstrap):
    the sentences of a review agree more than those of two, so that drawing
    single ones makes the interval too narrow. It says how far chance in the
    choice of texts reaches, not in the training.

    What a draw needs to know of a group is what `macro_f1` counts. Many
    groups are alike in this, so that numbers of such kinds are drawn, from a
    multinomial distribution, which is the same and much faster.

    Args:
        labels: the true classes, (N,).
        predictions: of the model, (N,).
        baseline: predictions of another model for the same texts, (N,).
        groups: what each text belongs to, for example its review, (N,); a
            text without a name stands alone, as all do if there are none.
    """
    size = int(max(labels.max(), predictions.max())) + 1
    answers = [predictions]
    if baseline is not None:
        size = max(size, int(baseline.max()) + 1)
        answers.append(baseline)
    numbers = _number_groups(groups, len(labels))
    # For each group: right, and said or true, of each answer and class.
    counts = np.zeros((numbers.max() + 1, len(answers), 2, size), np.int64)
    for answer, predicted in enumerate(answers):
        right = predicted == labels
        of_answer = counts[:, answer]
        for kind, rows, classes in (
            (0, numbers[right], labels[right]),
            (1, numbers, labels),
            (1, numbers, predicted),
        ):
            np.add.at(of_answer[:, kind], (rows, classes), 1)
    kinds, sizes = np.unique(
        counts.reshape(len(counts), -1), axis=0, return_counts=True
    )
    draws = np.random.default_rng(SEED).multinomial(
        len(counts), sizes / len(counts), RESAMPLES
    )
    drawn = (draws @ kinds).reshape(-1, len(answers), 2, size)
    scores = macro_f1(drawn[:, :, 0], drawn[:, :, 1])  # (RESAMPLES, answers)
    if baseline is not None:
        scores = scores[:, :1] - scores[:, 1:]
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_mean(
    values: np.ndarray, groups: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of the mean over texts, as `bootstrap` does.

    Args:
        values: K numbers of each text, (N, K).
        groups: see `bootstrap`.

    Returns:
        Low and high ends, (K,) each.
    """
    numbers = _number_groups(groups, len(values))
    sizes = np.bincount(numbers)  # (G,)
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, numbers, values)
    draws = np.random.default_rng(SEED).multinomial(
        len(sizes), np.full(len(sizes), 1 / len(sizes)), RESAMPLES
    )
    means = (draws @ sums) / (draws @ sizes)[:, None]  # (RESAMPLES, K)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high


def _number_groups(groups: Sequence[str] | None, size: int) -> np.ndarray:
    """Number the groups of `size` texts from 0; one without a name is new."""
    if groups is None:
        return np.arange(size)
    numbers, names = pd.factorize(np.asarray(groups, dtype=object))
    alone = numbers < 0
    numbers[alone] = len(names) + np.arange(alone.sum())
    return numbers


def reliability(labels: np.ndarray, logits: np.ndarray) -> pd.DataFrame:
    """Compare how sure the model was with how often it was right.

    Returns:
        A row for each tenth of probability that occurs: `confidence` (mean
        probability of the predicted class), `accuracy`, `texts`.
    """
    probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
    per_text = pd.DataFrame(
        {
            "confidence": probabilities.max(axis=1),
            "accuracy": logits.argmax(axis=1) == labels,
        }
    )
    tenth = np.minimum((per_text["confidence"] * 10).astype(int), 9)
    table = per_text.groupby(tenth).mean()
    return table.assign(texts=per_text.groupby(tenth).size())


def calibration_error(table: pd.DataFrame) -> float:
    """Return the expected calibration error of a `reliability` table.

    The mean distance between confidence and accuracy, weighted by texts:
    Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    distances = (table["confidence"] - table["accuracy"]).abs()
    return float((distances * table["texts"]).sum() / table["texts"].sum())


def without_neutral(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the accuracy when only positive and negative texts count.

    Neutral texts are left out and *neutral* cannot be answered: what the
    model would reach if the neutral class did not exist.
    """
    rows = np.isin(labels, _CLEAR)
    predicted = np.take(_CLEAR, logits[rows][:, _CLEAR].argmax(axis=1))
    return float((predicted == labels[rows]).mean())


def losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each text in nats, (N,)."""
    return torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), reduction="none"
    ).numpy()


def worst_mistakes(
    texts: Sequence[str],
    labels: np.ndarray,
    logits: np.ndarray,
    number: int,
    names: Sequence[str] = STARS,
) -> pd.DataFrame:
    """Tabulate the wrong predictions with the highest loss, worst first.

    Returns:
        Columns `loss`, `label`, `predicted`, `text`.
    """
    text_losses = losses(labels, logits)
    order = np.argsort(-text_losses, kind="stable")
    wrong = logits.argmax(axis=1) != labels
    worst = order[wrong[order]][:number]
    return pd.DataFrame(
        {
            "loss": text_losses[worst],
            "label": [names[label] for label in labels[worst]],
            "predicted": [names[i] for i in logits[worst].argmax(axis=1)],
            "text": [texts[row] for row in worst],
        }
    )


def neighbour_agreement(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of texts whose nearest neighbour has their class.

    Args:
        vectors: of N texts, (N, H); the nearest is that of the largest
            cosine.
        labels: their classes, (N,).
    """
    search = NearestNeighbors(n_neighbors=1, metric="cosine").fit(vectors)
    nearest = search.kneighbors(return_distance=False)[:, 0]
    return float((labels[nearest] == labels).mean())
