"""What a classifier of one kind of text learns from a few of another."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from nlp_helpers.classification import evaluation, training
from nlp_helpers.classification.classifier import Classifier
from nlp_helpers.classification.processes import make_accelerator
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.shards import TokenSet
from nlp_helpers.parameters import TrainingSettings


def hold_out(
    groups: Sequence[str], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divide texts into those to draw from and those that judge.

    Args:
        groups: what each text is a part of, (N,); texts of one group stay on
            one side.
        fraction: of the groups that judge.
        seed: of the draw.

    Returns:
        The rows of the pool and of the held-out texts, each in order.
    """
    splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
    pool, held_out = next(splitter.split(groups, groups=groups))
    return np.sort(pool), np.sort(held_out)


def draw(
    pool: np.ndarray, labels: np.ndarray, number: int, seed: int
) -> np.ndarray:
    """Draw `number` rows of a pool, each class by its share of the pool.

    Args:
        pool: rows.
        labels: the class of every row there is, (N,).
        number: of rows, fewer than the pool has.
        seed: of the draw.

    Raises:
        UserError: the pool is too small.
    """
    if number >= len(pool) - len(set(labels)):
        raise UserError(
            f"num_labels asks for {number:,} texts, and {len(pool):,} are not"
            " held out; lower it, or lower held_out"
        )
    rows, _ = train_test_split(
        pool, train_size=number, stratify=labels[pool], random_state=seed
    )
    return rows


def train_further(
    model: Classifier,
    tokens: TokenSet,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    device: str = "auto",
) -> Classifier:
    """Train a copy of a classifier on more texts; all of its weights.

    The loop is that of notebook 5, without checkpoints: these trainings take
    seconds. Every text has the same weight in the loss.

    Args:
        model: stays as it is.
        tokens: texts and labels, of the classes that the model has.
        num_epochs: passes over them.
        batch_size: texts of a step.
        learning_rate: the highest; it rises over a tenth of the steps.
        seed: of batches and dropout.
        device: `cpu`, `cuda` or `auto`.

    Raises:
        UserError: the loss is not finite.
    """
    settings = TrainingSettings(
        model_name="a copy",  # it is here already
        seed=seed,
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_ratio=0.1,
        weight_decay=0.01,
        class_weight="none",
        freeze_layers=0,
        adapter_rank=0,
        adapter_targets=[],
    )
    accelerator = make_accelerator(device)
    run = training.Run(accelerator, deepcopy(model), tokens, settings)
    losses = [run.training_step(n + 1) for n in range(run.num_steps)]
    run.gather_losses(losses)  # which asks for finite ones
    return run.classifier.eval()


def score_draws(
    labels: np.ndarray,
    answers: Mapping[str, Mapping[int, Sequence[np.ndarray]]],
    rival: np.ndarray,
    groups: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Score what was predicted for the same held-out texts after each draw.

    Args:
        labels: the true classes, (N,).
        answers: method -> number of labels -> predictions of each draw, (N,).
        rival: predictions to beat, (N,).
        groups: see `evaluation.bootstrap`.

    Returns:
        A row for each draw: `method`, `labels`, `accuracy`, `macro_f1`;
        `gain`, of macro-F1 over the rival's; and `gain_low` and `gain_high`,
        its 95 % interval.
    """
    to_beat = evaluation.score(labels, rival)["macro_f1"]
    rows = []
    for method, by_number in answers.items():
        for number, draws in by_number.items():
            for predicted in draws:
                score = evaluation.score(labels, predicted)
                low, high = evaluation.bootstrap(
                    labels, predicted, rival, groups
                )
                row = {"method": method, "labels": number, **score}
                row |= {"gain": score["macro_f1"] - to_beat}
                rows.append(row | {"gain_low": low, "gain_high": high})
    return pd.DataFrame(rows)


def labels_to_beat(
    points: pd.DataFrame, metric: str, rival: float
) -> int | None:
    """Return from which number of labels on the mean score is above another.

    Args:
        points: of one method; see `score_draws`.
        metric: `macro_f1` or `accuracy`.
        rival: the score to beat.

    Returns:
        The smallest number of labels at which, and at all larger ones, the
        mean of the draws is higher; None if it is not at the largest.
    """
    means = points.groupby("labels")[metric].mean()
    smallest = None
    for number in sorted(means.index, reverse=True):
        if means[number] <= rival:
            break
        smallest = int(number)
    return smallest
