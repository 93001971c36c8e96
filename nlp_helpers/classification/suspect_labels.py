"""Which labels look wrong: the texts that others contradict most.

Each text is judged by a classifier that has not seen it, nor another text of
its group. Northcutt, Jiang and Chuang, "Confident Learning: Estimating
Uncertainty in Dataset Labels", JAIR 70, 2021, arXiv:1911.00068: a text is
suspect if a class other than its label's is as probable as it is, in the
mean, for the texts that have that label.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from nlp_helpers.classification import baselines
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import splitting

FOLDS = 5


def judge_splits(splits: Path, seed: int = 0) -> pd.DataFrame:
    """Return the suspect texts of both sides of a split.

    Args:
        splits: the folder that `splitting.split` wrote.
        seed: decides the folds.

    Returns:
        A row for each, the most suspect first: `text`, `label`, `suggested`,
        `p_label`, `p_suggested`, `category`, and `record`, its place in the
        file it was read from.

    Raises:
        UserError: see `read_both_sides` and `judge`.
    """
    table, labels = read_both_sides(splits)
    names = splitting.read_labels(splits)
    found = find_suspects(
        labels, judge(table["text"], labels, table["group"], seed)
    )
    found["suggested"] = [names[number] for number in found["suggested"]]
    table = table[["text", "label", "category", "record"]]
    columns = ["text", "label", *found.columns, "category", "record"]
    return table.join(found, how="right")[columns]


def read_both_sides(splits: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the texts of both sides of a split, and their classes, (N,).

    Args:
        splits: the folder that `splitting.split` wrote.

    Returns:
        The table with `group`, what each text is kept together with, and the
        numbers of the classes.

    Raises:
        UserError: there are no splits.
    """
    if not (splits / splitting.SPLIT_FILE).is_file():
        raise UserError(
            f"{splits} has no texts; run notebook 04 first, for example"
            " `python -m nlp_helpers run 04`"
        )
    names = splitting.read_labels(splits)
    sides = [splits / f"{side}.parquet" for side in splitting.SPLITS]
    table = pd.concat(map(pd.read_parquet, sides), ignore_index=True)
    group = pd.concat(
        [splitting.read_groups(splits, side) for side in splitting.SPLITS],
        ignore_index=True,
    )
    alone = table.index.to_series().astype(str)
    table["group"] = group.fillna(alone)
    return table, table["label"].map(names.index).to_numpy()


def flip_labels(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Turn some labels to another class, on purpose.

    Args:
        labels: classes, (N,), numbers from 0 on.
        fraction: of the labels that is turned, each by chance.
        seed: of the draw.

    Returns:
        The labels with those turned, and which they are, (N,) each.
    """
    generator = np.random.default_rng(seed)
    num_classes = int(labels.max()) + 1
    flipped = generator.random(len(labels)) < fraction
    steps = generator.integers(1, num_classes, len(labels))
    given = np.where(flipped, (labels + steps) % num_classes, labels)
    return given, flipped


def judge(
    texts: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    seed: int = 0,
) -> np.ndarray:
    """Return the out-of-fold probability of each class, (N, classes).

    By TF-IDF and a logistic regression, in FOLDS folds of whole groups.

    Args:
        texts: N of them.
        labels: their classes, (N,), numbers from 0 on.
        groups: what is kept together, (N,).
        seed: decides the folds.

    Raises:
        UserError: a class has fewer texts or groups than there are folds.
    """
    table = pd.DataFrame({"label": labels, "group": groups})
    num_groups = table.groupby("label")["group"].nunique()
    if num_groups.min() < FOLDS:
        raise UserError(
            f"a class has texts in {num_groups.min()} groups alone, and"
            f" {FOLDS} are needed to judge each text by the others; give more"
            " texts, or leave the class out"
        )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(
        baselines.tfidf_classifier(class_weight=None),
        np.asarray(texts, dtype=object),
        labels,
        groups=groups,
        cv=folds,
        method="predict_proba",
    )


def find_suspects(
    labels: np.ndarray, probabilities: np.ndarray
) -> pd.DataFrame:
    """Return the suspect rows, the most suspect first.

    Args:
        labels: classes, (N,).
        probabilities: of `judge`, (N, classes).

    Returns:
        By row number: `suggested`, the most probable class, and
        `p_label` and `p_suggested`, the probabilities of both.
    """
    rows = np.arange(len(labels))
    num_classes = probabilities.shape[1]
    thresholds = np.array(
        [probabilities[labels == k, k].mean() for k in range(num_classes)]
    )
    others = probabilities.copy()
    others[rows, labels] = -1
    others[others < thresholds] = -1
    suggested = others.argmax(axis=1)
    table = pd.DataFrame(
        {
            "suggested": suggested,
            "p_label": probabilities[rows, labels],
            "p_suggested": others[rows, suggested],
        }
    )
    table = table[table["p_suggested"] > table["p_label"]]
    margin = table["p_label"] - table["p_suggested"]
    return table.loc[margin.sort_values(kind="stable").index]
