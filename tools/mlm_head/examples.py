"""From text to masked batches: tokenise, pack without padding, mask.

Every place that is to be predicted becomes [MASK]. BERT (Devlin et al. 2019)
lets a fifth of them stay or puts random tokens there, for the sake of
fine-tuning. Wettig et al. (2023) found that [MASK] alone serves as well, and
nothing but filling masks is asked of this model. The places are drawn anew at
every step (RoBERTa's dynamic masking, Liu et al. 2019).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that is not to be predicted
MAX_WAITING = 12  # examples that found no room before a batch is closed
MIN_EXAMPLE_LENGTH = 6  # tokens, [CLS] and [SEP] among them


@dataclass
class Example:
    """A piece of text, [CLS] a [SEP], or a pair, [CLS] a [SEP] b [SEP]."""

    input_ids: np.ndarray  # (T,)
    second_start: int  # where the second segment begins; T if there is none


def encode_documents(
    tokenizer: PreTrainedTokenizerBase, documents: list[str], max_length: int
) -> list[Example]:
    """Tokenise documents; a long one becomes several examples in a row.

    A piece of unknown tokens alone is left out: nothing in it can be asked.
    """
    room = max_length - 2  # for [CLS] and [SEP]
    encoded = tokenizer(documents, add_special_tokens=False, verbose=False)
    examples = []
    for ids in encoded["input_ids"]:
        for start in range(0, len(ids), room):
            piece = ids[start : start + room]
            whole = [tokenizer.cls_token_id, *piece, tokenizer.sep_token_id]
            if len(whole) >= MIN_EXAMPLE_LENGTH and _has_words(
                piece, tokenizer
            ):
                examples.append(Example(np.array(whole), len(whole)))
    return examples


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[tuple[str, str]],
    max_length: int,
) -> list[Example]:
    """Tokenise pairs of segments; only the second will be masked.

    A pair whose second segment is of unknown tokens alone is left out.
    """
    encoded = tokenizer(pairs, truncation=True, max_length=max_length)
    examples = [
        Example(np.array(ids), types.index(1))
        for ids, types in zip(
            encoded["input_ids"], encoded["token_type_ids"], strict=True
        )
    ]
    return [
        example
        for example in examples
        if _has_words(example.input_ids[example.second_start :], tokenizer)
    ]


def _has_words(ids: Iterable[int], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether some of the ids are not special, as unknown ones are."""
    return not set(ids) <= set(tokenizer.all_special_ids)


def number_words(
    ids: np.ndarray, is_continuation: np.ndarray, is_special: np.ndarray
) -> np.ndarray:
    """Number the words of a token sequence (T,); special tokens get -1.

    Args:
        ids: token ids, shape (T,).
        is_continuation: for every id of the vocabulary, whether it goes on
            with the word before it, as WordPiece's `##` tokens do.
        is_special: likewise, whether it is [CLS], [SEP] or the like.
    """
    numbers = np.cumsum(~is_continuation[ids])
    return np.where(is_special[ids], -1, numbers)


class Masker:
    """Chooses what to mask: whole words here, single tokens there.

    Whole words are the harder lesson: nothing of them is left to copy. But
    a question may also hide a part of a word, which such a model never saw.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        mask_fraction: float,
        whole_word_fraction: float,
    ):
        """Look up which ids go on with a word, and which are special.

        Args:
            tokenizer: of the model.
            mask_fraction: share of an example's words (or tokens) to mask.
            whole_word_fraction: share of the examples that hide whole words.
        """
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.is_continuation = np.array([t.startswith("##") for t in tokens])
        self.is_special = np.zeros(len(tokens), bool)
        self.is_special[tokenizer.all_special_ids] = True
        self.mask_token_id = tokenizer.mask_token_id
        self.mask_fraction = mask_fraction
        self.whole_word_fraction = whole_word_fraction

    def mask(
        self, example: Example, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (input_ids, labels), both of shape (T,)."""
        ids = example.input_ids
        units = number_words(ids, self.is_continuation, self.is_special)
        if generator.random() >= self.whole_word_fraction:
            units = np.where(units >= 0, np.arange(len(ids)), -1)
        if example.second_start < len(ids):
            units[: example.second_start] = -1
        candidates = np.unique(units[units >= 0])
        number = max(1, round(self.mask_fraction * len(candidates)))
        chosen = np.isin(
            units, generator.choice(candidates, number, replace=False)
        )
        labels = np.where(chosen, ids, IGNORED)
        return np.where(chosen, self.mask_token_id, ids), labels


def plan_batches(
    lengths: np.ndarray, num_rows: int, row_length: int, seed: int
) -> Iterator[list[list[int]]]:
    """Yield batches for ever: which examples share which row.

    Each epoch goes through all examples in a new order. An example goes into
    the fullest row that has room for it, else it waits for the next batch.
    The plan depends on the arguments alone, so a run can be taken up again
    at any step.
    """
    epochs = (
        np.random.default_rng([seed, epoch]).permutation(len(lengths))
        for epoch in count()
    )
    order = chain.from_iterable(epochs)
    waiting: list[int] = []
    while True:
        rows: list[list[int]] = [[] for _ in range(num_rows)]
        room = np.full(num_rows, row_length)
        first, waiting = waiting, []
        for index in chain(first, order):
            size = lengths[index]
            fitting = np.where(room >= size, room, row_length + 1)
            row = int(fitting.argmin())
            if room[row] < size:
                waiting.append(int(index))
            else:
                rows[row].append(int(index))
                room[row] -= size
            if len(waiting) == MAX_WAITING:
                break
        # A full list would end the next batch at once: the longest go first.
        waiting.sort(key=lambda index: -lengths[index])
        yield rows


def make_batch(
    rows: list[list[Example]],
    row_length: int,
    masker: Masker,
    generator: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """Mask the examples and lay them side by side in rows.

    Returns input_ids, token_type_ids, position_ids and labels of shape
    (R, T), and an attention_mask of shape (R, 1, T, T) that is true within an
    example: neighbours in a row do not see each other.
    """
    shape = (len(rows), row_length)
    batch = {
        name: np.full(shape, fill, dtype=np.int64)
        for name, fill in (
            ("input_ids", 0),
            ("token_type_ids", 0),
            ("position_ids", 0),
            ("labels", IGNORED),
        )
    }
    owner = np.full(shape, -1)  # which example a place belongs to
    for row, examples in enumerate(rows):
        start = 0
        for number, example in enumerate(examples):
            ids, labels = masker.mask(example, generator)
            span = np.s_[row, start : start + len(ids)]
            batch["input_ids"][span] = ids
            batch["labels"][span] = labels
            batch["position_ids"][span] = np.arange(len(ids))
            second = np.arange(len(ids)) >= example.second_start
            batch["token_type_ids"][span] = second
            owner[span] = number
            start += len(ids)
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    owners = torch.from_numpy(owner)
    tensors["attention_mask"] = (owners[:, :, None] == owners[:, None, :])[
        :, None
    ]
    return tensors
