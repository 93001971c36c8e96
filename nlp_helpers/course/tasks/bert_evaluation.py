"""Tasks of notebook 05, second part: scores, calibration, intervals."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from nlp_helpers.classification import baselines, evaluation
from nlp_helpers.course.answers import Function, Number
from nlp_helpers.course.task import Mistake, Task
from nlp_helpers.data.labels import LABEL2ID

# Rows are the true classes, columns the answers: neutral, positive, negative.
COUNTS = np.array([[28, 8, 14], [4, 80, 6], [8, 2, 50]])
CONFIDENCES = np.array(
    [0.52, 0.58, 0.63, 0.67, 0.71, 0.78, 0.82, 0.84, 0.88, 0.93, 0.96, 0.99]
)
RIGHT = np.array([1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1])
LOW_END, HIGH_END = 0.8, 0.9  # of the bin in question
# For each review whether the answer to each of its sentences was right.
BY_REVIEW = {
    "r01": "1111", "r02": "000", "r03": "111111", "r04": "11",
    "r05": "00100", "r06": "1111111", "r07": "1101", "r08": "0001",
    "r09": "11111", "r10": "10", "r11": "111", "r12": "0000000",
    "r13": "1111", "r14": "110", "r15": "11111", "r16": "01",
}  # fmt: skip
# Twenty times those of the task: the middle of what its draws may give.
RESAMPLES = 200_000
# Relative; what 10,000 draws give differs by 0.007, what 100 give by 0.06.
BY_CHANCE = 0.02
MIN_WORDS, MAX_CHARACTERS = 5, 500  # of a student's own sentence

REACHED = "What it reached"
SURE = "How sure it is"
BASELINES = "Baselines"

Labels = Sequence[int]


def neutral() -> pd.Series:
    """Return precision, recall and F1 of *neutral*."""
    rows, columns = np.indices(COUNTS.shape)
    labels = np.repeat(rows.ravel(), COUNTS.ravel())
    answers = np.repeat(columns.ravel(), COUNTS.ravel())
    return evaluation.per_class_table(labels, answers).loc["neutral"]


def macro_f1(labels: Labels, predictions: Labels) -> float:
    """Return the plain mean of the F1 of each class."""
    return evaluation.score(np.array(labels), np.array(predictions))[
        "macro_f1"
    ]


def other_average(average: str) -> Callable[[Labels, Labels], float]:
    """Return F1 averaged in another way, by scikit-learn."""
    return lambda labels, predictions: float(
        f1_score(labels, predictions, average=average, zero_division=0)
    )


def f1_of_means(labels: Labels, predictions: Labels) -> float:
    """Return the harmonic mean of mean precision and mean recall."""
    table = evaluation.per_class_table(np.array(labels), np.array(predictions))
    precision, recall = table[["precision", "recall"]].mean()
    return float(2 * precision * recall / (precision + recall))


def f1_of_precision(labels: Labels, predictions: Labels) -> float:
    """Divide by the answers of each class, which may be none."""
    found = []
    for name in sorted({*labels, *predictions}):
        pairs = list(zip(labels, predictions, strict=True))
        right = pairs.count((name, name))
        precision = right / list(predictions).count(name)
        recall = right / list(labels).count(name)
        found.append(2 * precision * recall / (precision + recall))
    return sum(found) / len(found)


def macro_probes() -> list[tuple[list[int], list[int]]]:
    """Return labels and answers; in the last, a class is never the answer."""
    return [
        ([0, 0, 1, 1, 1, 1, 2, 2, 2], [0, 1, 1, 1, 1, 0, 2, 2, 0]),
        ([0, 1, 2], [0, 1, 2]),
        ([0, 0, 1, 1, 1, 2], [1, 2, 1, 1, 1, 2]),
    ]


def table_of_bins() -> pd.DataFrame:
    """Return confidence, accuracy and number of answers of each tenth."""
    logits = np.log(np.stack([CONFIDENCES, 1 - CONFIDENCES], axis=1))
    return evaluation.reliability(1 - RIGHT, logits)


def in_bin() -> np.ndarray:
    """Say which answers are in the bin in question."""
    return (CONFIDENCES >= LOW_END) & (CONFIDENCES < HIGH_END)


def gap(rows: np.ndarray | None = None) -> float:
    """Return by how much some answers are surer than right, or all."""
    rows = np.ones_like(RIGHT, bool) if rows is None else rows
    return float(CONFIDENCES[rows].mean() - RIGHT[rows].mean())


def unweighted_error() -> float:
    """Return the distance between confidence and accuracy, a bin a vote."""
    table = table_of_bins()
    return float((table["confidence"] - table["accuracy"]).abs().mean())


def signed_error() -> float:
    """Return the weighted mean of the differences, with their signs."""
    return abs(gap())


def values_and_reviews() -> tuple[np.ndarray, list[str]]:
    """Return 1 or 0 for each sentence, (N, 1), and its review."""
    pairs = [
        (int(digit), review)
        for review, digits in BY_REVIEW.items()
        for digit in digits
    ]
    values, reviews = zip(*pairs, strict=True)
    return np.array(values, dtype=float)[:, None], list(reviews)


@lru_cache(maxsize=1)
def low_of_sentences() -> float:
    """Return the lower end if sentences are drawn one by one."""
    values, _ = values_and_reviews()
    low, _ = evaluation.bootstrap_mean(values, None)
    return float(low[0])


@lru_cache(maxsize=4)
def percentile(of_hundred: float) -> float:
    """Return below what so many in a hundred draws of whole reviews lie."""
    texts = list(BY_REVIEW.values())
    sizes = np.array([len(digits) for digits in texts])
    sums = np.array([digits.count("1") for digits in texts])
    draws = np.random.default_rng(1).integers(
        len(texts), size=(RESAMPLES, len(texts))
    )
    accuracies = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    return float(np.percentile(accuracies, of_hundred))


@lru_cache(maxsize=1)
def analyzer() -> SentimentIntensityAnalyzer:
    """Return VADER."""
    return SentimentIntensityAnalyzer()


def vader(text: str) -> dict[str, float]:
    """Return VADER's scores of a text."""
    scores: dict[str, float] = analyzer().polarity_scores(text)
    return scores


def own_complaint(text: Any) -> str:
    """Say what is wrong with a complaint that VADER takes for praise."""
    if not isinstance(text, str) or len(text.split()) < MIN_WORDS:
        return f"your own sentence is a text of {MIN_WORDS} words or more"
    if len(text) > MAX_CHARACTERS:
        return f"at most {MAX_CHARACTERS} characters are enough here"
    if baselines.predict_vader([text])[0] != LABEL2ID["positive"]:
        return (
            "VADER does not take this sentence for positive. It counts words:"
            " think of irony, or of praise for something else"
        )
    return ""


TASKS = (
    Task(
        "05.7",
        ("f1_neutral",),
        REACHED,
        Number(low=0, high=1),
        lambda: float(neutral()["f1"]),
        (
            Mistake(
                "this is the precision; F1 takes the recall in as well",
                lambda: float(neutral()["precision"]),
            ),
            Mistake(
                "this is the recall; F1 takes the precision in as well",
                lambda: float(neutral()["recall"]),
            ),
            Mistake(
                "this is the plain mean of precision and recall; F1 is their"
                " harmonic mean",
                lambda: float(neutral()[["precision", "recall"]].mean()),
            ),
            Mistake(
                "this is the accuracy, which belongs to all classes together",
                lambda: float(COUNTS.trace() / COUNTS.sum()),
            ),
        ),
    ),
    Task(
        "05.8",
        ("macro_f1",),
        REACHED,
        Function(Number(), macro_probes),
        lambda: macro_f1,
        (
            Mistake(
                "this is the accuracy; macro-F1 is computed for each class",
                lambda: other_average("micro"),
            ),
            Mistake(
                "the classes are weighted by their texts; each class counts"
                " the same",
                lambda: other_average("weighted"),
            ),
            Mistake(
                "this is the F1 of mean precision and mean recall; take the"
                " F1 of each class first, then the mean",
                lambda: f1_of_means,
            ),
            Mistake("", lambda: f1_of_precision),
        ),
        points=3,
    ),
    Task(
        "05.9",
        ("bin_gap",),
        SURE,
        Number(low=-1, high=1),
        lambda: gap(in_bin()),
        (
            Mistake(
                "it is the other way round: take the accuracy from the"
                " confidence, so that a positive number says *too sure*",
                lambda: -gap(in_bin()),
            ),
            Mistake("this is computed from all answers, not the bin", gap),
            Mistake(
                "this takes the middle of the bin; take the mean confidence"
                " of the answers in it",
                lambda: float(
                    (LOW_END + HIGH_END) / 2 - RIGHT[in_bin()].mean()
                ),
            ),
            Mistake(
                "the bin has no upper end: surer answers are in it too",
                lambda: gap(CONFIDENCES >= LOW_END),
            ),
        ),
    ),
    Task(
        "05.10",
        ("calibration_error",),
        SURE,
        Number(low=0, high=1),
        lambda: evaluation.calibration_error(table_of_bins()),
        (
            Mistake(
                "each bin counts the same; weight it by its answers",
                unweighted_error,
            ),
            Mistake(
                "bins that are too sure and bins that are not sure enough"
                " cancel out; take the distance of each bin without its sign",
                signed_error,
            ),
            Mistake(
                "this is the sum over the bins; it must be their mean,"
                " weighted by the answers",
                lambda: len(table_of_bins()) * unweighted_error(),
            ),
        ),
        points=2,
    ),
    Task(
        "05.11",
        ("low",),
        REACHED,
        Number(BY_CHANCE, low=0, high=1),
        lambda: percentile(2.5),
        (
            Mistake(
                "this interval is too narrow: sentences were drawn one by"
                " one. Draw whole reviews",
                low_of_sentences,
            ),
            Mistake(
                "five in a hundred draws lie below this number; of a 95 %"
                " interval, half of the five belong below it",
                lambda: percentile(5),
            ),
            Mistake(
                "this is the accuracy itself; draw with replacement, so that"
                " some reviews come twice and others not at all",
                lambda: float(values_and_reviews()[0].mean()),
            ),
            Mistake("this is the upper end", lambda: percentile(97.5)),
        ),
        points=3,
    ),
)
OWN_TASKS = (
    Task(
        "05.13",
        ("my_complaint", "my_compound"),
        BASELINES,
        Number(low=-1, high=1),
        lambda text: vader(text)["compound"],
        (
            Mistake(
                "this is the share of positive words; `compound` is the score"
                " of the whole sentence",
                lambda text: vader(text)["pos"],
            ),
            Mistake(
                "this is positive less negative; `compound` is another score",
                lambda text: vader(text)["pos"] - vader(text)["neg"],
            ),
            Mistake(
                "this is the number of the class, not the score",
                lambda text: baselines.predict_vader([text])[0],
            ),
        ),
        own=own_complaint,
        examples=(
            ("Wonderful, a broken lamp again; I am so happy.",),
            ("My old phone was great and so much better than this bad one.",),
        ),
    ),
)
