"""One vector for a whole sentence, and search by meaning.

The mean of the hidden states of its tokens, of length 1: how the vectors of
all-MiniLM-L6-v2 are made. `queries.yaml` has ten queries to the reviews, with
the sentences that answer them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import ndcg_score
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers.classification import baselines
from nlp_helpers.core import yaml_files
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import shards

QUERIES = Path(__file__).with_name("queries.yaml")
MAX_LENGTH = 256  # tokens; what is longer is cut
RESAMPLES = 2000  # of an interval
LEVEL = 0.95


def encode(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
) -> np.ndarray:
    """Return the vector of each of N texts, of length 1, (N, H)."""
    ids = shards.encode(texts, tokenizer, MAX_LENGTH)
    tokens = shards.TokenSet(
        [np.asarray(text) for text in ids], np.zeros(len(ids), np.int64)
    )
    vectors = baselines.sentence_vectors(tokenizer, model, tokens)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_reviews(folder: Path) -> pd.DataFrame:
    """Read both splits of notebook 04 as one table.

    Args:
        folder: of notebook 04's outputs.

    Returns:
        Its columns and `split`, with the index `product/record`.
    """
    parts = [
        pd.read_parquet(folder / "splits" / f"{name}.parquet").assign(
            split=name
        )
        for name in ("train", "validation")
    ]
    table = pd.concat(parts, ignore_index=True)
    table.index = pd.Index(
        table["product"].astype(str) + "/" + table["record"].astype(str)
    )
    return table


def read_judgements(table: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Read queries.yaml for a table of reviews.

    Args:
        table: of `read_reviews`, N rows.

    Returns:
        The Q queries, and (Q, N) grades: 2 answers, 1 in part, 0 does not.

    Raises:
        UserError: a sentence that was judged is not in the table.
    """
    entries = yaml_files.read_yaml(QUERIES)
    grades = np.zeros((len(entries), len(table)), np.int64)
    for row, entry in enumerate(entries):
        answers = entry["answers"]
        columns = table.index.get_indexer(list(answers))
        if (columns < 0).any():
            missing = list(answers)[int(columns.argmin())]
            raise UserError(
                f"the reviews have no sentence {missing}, which {QUERIES.name}"
                " names; set data_dir to notebook 04's outputs of the offline"
                " profile"
            )
        grades[row, columns] = list(answers.values())
    return [entry["query"] for entry in entries], grades


def ndcg_per_query(
    grades: np.ndarray, scores: np.ndarray, top_k: int = 5
) -> np.ndarray:
    """Return nDCG@k of each query, (Q,): 1 is the best order there can be.

    Jarvelin and Kekalainen 2002: the grades of the k best, each divided by the
    logarithm of its rank, as a share of what the ideal order gets.

    Args:
        grades: (Q, N), what is right.
        scores: (Q, N), what a method says.
        top_k: how many of the best count.
    """
    return np.array(
        [
            ndcg_score(right[None], said[None], k=top_k)
            for right, said in zip(grades, scores, strict=True)
        ]
    )


def mean_with_interval(values: np.ndarray, seed: int) -> tuple[float, ...]:
    """Return the mean over the queries, and the ends of its 95 % interval.

    Bootstrap: the queries are drawn again and again, with replacement.
    """
    generator = np.random.default_rng(seed)
    rows = generator.integers(len(values), size=(RESAMPLES, len(values)))
    ends = np.quantile(
        values[rows].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    )
    return float(values.mean()), float(ends[0]), float(ends[1])


def near_duplicates(
    vectors: np.ndarray, texts: Sequence[str], least: float = 0.9
) -> pd.DataFrame:
    """Return pairs of different texts that are nearly the same to a model.

    Args:
        vectors: (N, H), of length 1.
        texts: N; equal ones are no pair, since exact matching finds them.
        least: cosine of a pair.

    Returns:
        Columns `first`, `second` and `cosine`, the nearest first.
    """
    cosines = np.triu(vectors @ vectors.T, k=1)
    pairs = np.argwhere(cosines >= least)
    rows = [
        (texts[i], texts[j], float(cosines[i, j]))
        for i, j in pairs
        if texts[i] != texts[j]
    ]
    table = pd.DataFrame(rows, columns=["first", "second", "cosine"])
    table = table.sort_values("cosine", ascending=False, kind="stable")
    return table.reset_index(drop=True)


def neighbour_agreement(
    vectors: np.ndarray, labels: Sequence[str], top_k: int = 5
) -> float:
    """Return how many of the k nearest other texts have the same label.

    Args:
        vectors: (N, H), of length 1.
        labels: N.
        top_k: neighbours of each text.
    """
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argpartition(-cosines, top_k, axis=1)[:, :top_k]
    named = np.asarray(labels)
    return float((named[nearest] == named[:, None]).mean())
