"""Whether attributions mean something: remove tokens, and ask again.

If the tokens with the highest attributions are those that the answer rests
on, the probability of that answer falls faster without them than without as
many others. Samek et al. 2017, "Evaluating the Visualization of What a Deep
Neural Network Has Learned", arXiv:1509.06321, did this to pictures.
"""

from collections.abc import Sequence

import numpy as np
import torch

from nlp_helpers.classification.attribution import Attribution
from nlp_helpers.classification.classifier import Classifier


def num_removed(fraction: float, num_words: int) -> int:
    """Return how many tokens a fraction of a text's is: at least one."""
    return min(num_words, max(1, round(fraction * num_words)))


def order_by(scores: np.ndarray, words: range) -> np.ndarray:
    """Return the positions of a text's own tokens, highest score first.

    Args:
        scores: of all its tokens, (T,).
        words: positions of its own.
    """
    positions = np.array(words)
    return positions[np.argsort(-scores[positions], kind="stable")]


def remove(input_ids: Sequence[int], positions: np.ndarray) -> list[int]:
    """Return a text without the tokens at some positions."""
    return np.delete(np.asarray(input_ids), positions).tolist()


def probabilities(
    classifier: Classifier,
    texts: Sequence[Sequence[int]],
    labels: Sequence[int],
) -> np.ndarray:
    """Return the probability of one class for each of N texts, (N,)."""
    logits = torch.from_numpy(classifier.predict_logits(texts))
    rows = np.arange(len(texts))
    return logits.softmax(dim=-1).numpy()[rows, labels]


def measure_drops(
    classifier: Classifier,
    attributions: Sequence[Attribution],
    orders: Sequence[np.ndarray],
    fractions: Sequence[float],
) -> np.ndarray:
    """Return by how much the probability of each text's class falls.

    Args:
        classifier: the one that was asked before.
        attributions: of N texts.
        orders: of their tokens; the first are removed.
        fractions: F shares of each text's own tokens.

    Returns:
        (N, F); negative where the class became more probable.
    """
    labels = [each.label for each in attributions]
    whole = [each.input_ids for each in attributions]
    before = probabilities(classifier, whole, labels)
    drops = np.empty((len(attributions), len(fractions)))
    for column, fraction in enumerate(fractions):
        shortened = [
            remove(
                each.input_ids, order[: num_removed(fraction, len(each.words))]
            )
            for each, order in zip(attributions, orders, strict=True)
        ]
        drops[:, column] = before - probabilities(
            classifier, shortened, labels
        )
    return drops


def measure_random_drops(
    classifier: Classifier,
    attributions: Sequence[Attribution],
    fractions: Sequence[float],
    num_draws: int,
    seed: int,
) -> np.ndarray:
    """Return the mean drop of each text over random orders, (N, F).

    Args:
        classifier: see `measure_drops`.
        attributions: of N texts.
        fractions: F shares of their tokens.
        num_draws: orders of each text.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    draws = [
        measure_drops(
            classifier,
            attributions,
            [generator.permutation(each.words) for each in attributions],
            fractions,
        )
        for _ in range(num_draws)
    ]
    return np.mean(draws, axis=0)


def leave_one_out(
    classifier: Classifier, attributions: Sequence[Attribution]
) -> list[np.ndarray]:
    """Return for each text what the removal of each token costs, (T,) each.

    Measured, not attributed: the drop of the probability of the text's class
    when this token alone is removed; 0 for tokens that are not its own.
    """
    texts, labels = [], []
    for each in attributions:
        texts.append(each.input_ids)
        texts += [
            remove(each.input_ids, np.array([position]))
            for position in each.words
        ]
        labels += [each.label] * (1 + len(each.words))
    answers = iter(probabilities(classifier, texts, labels))
    costs = []
    for each in attributions:
        before = next(answers)
        cost = np.zeros(len(each.input_ids))
        for position in each.words:
            cost[position] = before - next(answers)
        costs.append(cost)
    return costs
