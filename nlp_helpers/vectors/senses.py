"""The same word in two senses: do its vectors tell them apart?

`senses.yaml` has twenty words, each with two senses in five sentences each. A
word vector is the same in all of them; the hidden states of an encoder are
not, and each of its layers has its own.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics.pairwise import cosine_distances
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers.core import yaml_files
from nlp_helpers.core.errors import UserError

SENSES = Path(__file__).with_suffix(".yaml")
BATCH_SIZE = 32  # sentences of one forward pass
ROUNDING = 1e-12  # of a cosine in float64; which way, the processor decides


def read_senses() -> pd.DataFrame:
    """Read senses.yaml: columns `word`, `sense` (its gloss), `sentence`."""
    rows = [
        (entry["word"], sense["gloss"], sentence)
        for entry in yaml_files.read_yaml(SENSES)
        for sense in entry["senses"]
        for sentence in sense["sentences"]
    ]
    return pd.DataFrame(rows, columns=["word", "sense", "sentence"])


def find(word: str, sentence: str) -> tuple[int, int]:
    """Return where a word stands in a sentence: first character, and after.

    Raises:
        UserError: it stands there not at all or more than once.
    """
    spans = [m.span() for m in re.finditer(rf"\b{word}\b", sentence, re.I)]
    if len(spans) != 1:
        raise UserError(
            f"{word!r} must stand once in the sentence {sentence!r}, and"
            f" stands there {len(spans)} times; change the sentence"
        )
    return spans[0]


@torch.no_grad()
def layer_vectors(
    words: Sequence[str],
    sentences: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
) -> np.ndarray:
    """Return the vector of one word of each sentence, in every layer.

    The mean over the word's pieces, if the tokenizer cuts it into several.

    Args:
        words: N of them, each stands once in its sentence.
        sentences: N.
        tokenizer: of the encoder; it must know the offsets of its tokens.
        model: the encoder.

    Returns:
        (L + 1, N, H): the embeddings, then the L layers.
    """
    parts = []
    for start in range(0, len(sentences), BATCH_SIZE):
        cut = slice(start, start + BATCH_SIZE)
        encoded = tokenizer(
            list(sentences[cut]),
            padding=True,
            return_tensors="pt",
            return_offsets_mapping=True,
        ).to(model.device)
        offsets = encoded.pop("offset_mapping")  # (B, T, 2)
        spans = [
            find(*pair)
            for pair in zip(words[cut], sentences[cut], strict=True)
        ]
        first, after = torch.tensor(spans, device=model.device).T[..., None]
        begins, ends = offsets.unbind(dim=-1)
        inside = (begins < after) & (ends > first)  # (B, T)
        hidden = model(**encoded, output_hidden_states=True).hidden_states
        states = torch.stack(hidden)  # (L + 1, B, T, H)
        weights = inside / inside.sum(dim=1, keepdim=True)
        parts.append(torch.einsum("lbth,bt->lbh", states, weights).cpu())
    return torch.cat(parts, dim=1).numpy()


def separation(vectors: np.ndarray, table: pd.DataFrame) -> dict[str, float]:
    """Measure how well vectors of one kind separate the senses of each word.

    Args:
        vectors: (N, D), one for each row of the table.
        table: columns `word` and `sense`.

    Returns:
        `within` and `between`: mean cosine distance of two sentences of one
        sense, and of the two senses, averaged over the words. `accuracy`:
        how many of the N find, among the other sentences of their word, a
        sentence of their own sense as the nearest; equally near ones share
        the point. Chance is 4 of 9.
    """
    within, between, right = [], [], []
    for _, rows in table.groupby("word", sort=False):
        senses = rows["sense"].to_numpy()
        distances = cosine_distances(vectors[rows.index].astype(np.float64))
        distances[distances < ROUNDING] = 0
        same = senses[:, None] == senses
        apart = ~np.eye(len(rows), dtype=bool)
        within.append(distances[same & apart].mean())
        between.append(distances[~same].mean())
        others = np.where(apart, distances, np.inf)
        nearest = np.isclose(others, others.min(axis=1, keepdims=True))
        right += list((nearest & same).sum(axis=1) / nearest.sum(axis=1))
    return {
        "within": float(np.mean(within)),
        "between": float(np.mean(between)),
        "accuracy": float(np.mean(right)),
    }
