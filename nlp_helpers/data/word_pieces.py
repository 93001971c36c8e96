"""Token ids of many texts, each distinct word tokenised once.

BERT's kind of tokenizer never looks across a space: the ids of a text are
those of its words, one after the other, and most words have been seen before.
So a table keeps the ids of every word met, the tokenizer sees new words alone,
and Arrow and NumPy put the texts together. This gives the same ids as the
tokenizer does for whole texts.
"""

import json
from collections.abc import Sequence
from itertools import chain
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

Ragged = tuple[np.ndarray, np.ndarray]  # all ids in a row; length of each text

SPACE = " "
KINDS = {
    "normalizer": "BertNormalizer",
    "pre_tokenizer": "BertPreTokenizer",
    "model": "WordPiece",
}
# A table that has grown larger is begun anew: texts without spaces are words
# that never come again. Python's dictionary takes some 200 bytes for a word.
MAX_TABLE_BYTES = 1 << 26
BYTES_PER_WORD = 200
WORDS_AT_ONCE = 256  # that the tokenizer gets; it divides them among threads


def is_by_word(tokenizer: Tokenizer) -> bool:
    """Say whether the ids of a text are those of its words in a row."""
    rules = json.loads(tokenizer.to_str())
    names = [(rules[kind] or {}).get("type") for kind in KINDS]
    framed = tokenizer.encode("a").ids
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    return (
        names == list(KINDS.values())
        and not any(
            # A token that takes the spaces behind it ends in the next word.
            SPACE in token["content"] or token["rstrip"]
            for token in rules["added_tokens"]
        )
        and framed[1:-1] == bare
    )


class WordPieces:
    """The ids of every word met so far.

    Args:
        tokenizer: one of which `is_by_word` is true, without padding.
        max_length: tokens of a text, [CLS] and [SEP] included.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """Begin with an empty table."""
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.cls, *_, self.sep = tokenizer.encode("a").ids
        self.room = max_length - 2
        self.lock = Lock()
        self._begin()

    def _begin(self) -> None:
        self.numbers: dict[str, int] = {}
        self.num_bytes = 0
        # The ids of all words in a row; those of word n are [ends[n]:ends[n +
        # 1]]. One assignment replaces both, so an interrupt leaves them whole.
        self.table = np.zeros(0, np.uint32), np.zeros(1, np.int32)

    def encode(self, texts: pa.LargeStringArray) -> Ragged:
        """Tokenise whole texts, cut to `max_length`, framed and unpadded.

        Several threads may call it at once.
        """
        words = pc.split_pattern(texts, SPACE)
        distinct = words.flatten().dictionary_encode()
        with self.lock:
            numbers = self._number(distinct.dictionary.to_pylist())
            table_ids, table_ends = self.table
        numbers = numbers[distinct.indices.to_numpy()]
        lengths = np.diff(table_ends)[numbers]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(table_ends[numbers] - ends[:-1], lengths)
        places += np.arange(len(places))
        return self._frame(table_ids[places], ends[words.offsets.to_numpy()])

    def _number(self, words: Sequence[str]) -> np.ndarray:
        """Return the numbers of distinct words; new ones are tokenised."""
        if self.num_bytes > MAX_TABLE_BYTES:
            self._begin()
        numbers = np.array([self.numbers.get(word, -1) for word in words], int)
        [unknown] = np.nonzero(numbers < 0)
        if len(unknown):
            new = [words[place] for place in unknown.tolist()]
            ids, lengths = self._tokenise(new)
            known_ids, ends = self.table
            new_numbers = range(len(ends) - 1, len(ends) - 1 + len(new))
            numbers[unknown] = new_numbers
            self.table = (
                np.concatenate([known_ids, ids]),
                np.concatenate([ends, ends[-1] + np.cumsum(lengths)]),
            )
            self.numbers.update(zip(new, new_numbers, strict=True))
            self.num_bytes += BYTES_PER_WORD * len(new) + sum(map(len, new))
        return numbers

    def _tokenise(self, words: list[str]) -> Ragged:
        """Return the ids of new words, without [CLS] and [SEP].

        They are joined to longer texts, for which the tokenizer needs less
        time; a token's last letter tells to which word it belongs.
        """
        starts = range(0, len(words), WORDS_AT_ONCE)
        blocks = [words[start : start + WORDS_AT_ONCE] for start in starts]
        rows = self.tokenizer.encode_batch(
            [SPACE.join(block) for block in blocks], add_special_tokens=False
        )
        lengths = [
            np.bincount(
                np.searchsorted(
                    np.cumsum([len(word) + 1 for word in block]),
                    [end - 1 for _, end in row.offsets],
                    side="right",
                ),
                minlength=len(block),
            )
            for block, row in zip(blocks, rows, strict=True)
        ]
        ids = chain.from_iterable(row.ids for row in rows)
        return np.fromiter(ids, np.uint32), np.concatenate(lengths)

    def _frame(self, ids: np.ndarray, ends: np.ndarray) -> Ragged:
        """Cut each text and put it between [CLS] and [SEP]."""
        found = np.diff(ends)
        kept = np.minimum(found, self.room)
        if (found > kept).any():
            places = np.arange(len(ids)) - np.repeat(ends[:-1], found)
            ids = ids[places < self.room]
        last = np.cumsum(kept + 2) - 1
        framed = np.empty(last[-1] + 1 if len(last) else 0, np.uint32)
        inner = np.ones(len(framed), bool)
        for places, token in ((last - kept - 1, self.cls), (last, self.sep)):
            framed[places] = token
            inner[places] = False
        framed[inner] = ids
        return framed, kept + 2
