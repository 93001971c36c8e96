"""Which texts each step takes, as a function of seed and step alone.

Nothing has to be remembered: a run that was killed asks for the batches of
the step where it goes on, and gets those it would have had.
"""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=1)  # asked at every step of the epoch
def plan_epoch(
    num_texts: int, batch_size: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """Shuffle the rows 0 to `num_texts` - 1 and cut them into batches.

    The batches are as few as hold all texts, and equally large, to one text:
    no small rest is left over, whose few texts would weigh more than the
    others. Long and short texts may meet, since nothing is padded.
    """
    order = np.random.default_rng([seed, epoch]).permutation(num_texts)
    return np.array_split(order, -(-num_texts // batch_size))


def shard(
    rows: np.ndarray, lengths: np.ndarray, process: int, num_processes: int
) -> np.ndarray:
    """Return the rows of a batch that one process takes.

    Dealt out from the longest text to the shortest, forth and back, so that
    the processes get about as many tokens each.
    """
    if num_processes == 1:
        return rows
    order = rows[np.argsort(-lengths[rows], kind="stable")]
    positions = np.arange(len(order)) % (2 * num_processes)
    turn = np.minimum(positions, 2 * num_processes - 1 - positions)
    return order[turn == process]


def step_seed(seed: int, step: int, process: int) -> int:
    """Return the seed of the dropout of one step in one process."""
    sequence = np.random.SeedSequence([seed, step, process])
    return int(sequence.generate_state(1)[0])
