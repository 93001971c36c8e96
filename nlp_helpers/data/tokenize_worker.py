"""Tokenise one row group of reviews into one token shard.

Worker processes run this module: it imports neither torch nor transformers,
so that they start in a fraction of a second. Two back ends give the same ids:
`tokenizers`, the reference, and `tokie`, many times faster and younger, which
is trusted only after it has given the same ids on a sample.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from nlp_helpers.core.errors import UserError
from nlp_helpers.core.files import HalfMade

BACKENDS = ("tokenizers", "tokie")
MAX_SMALL_VOCABULARY = 1 << 16  # ids below it fit into two bytes
PROVED_TEXTS = 1000

Ragged = tuple[np.ndarray, np.ndarray]  # all ids in a row; length of each text


@lru_cache(maxsize=4)
def open_backend(
    backend: str, tokenizer_file: str, max_length: int
) -> Callable[[Sequence[str]], Ragged]:
    """Open a back end: a function from texts to (ids, lengths).

    Raises:
        UserError: the back end is unknown or not installed.
    """
    if backend == "tokenizers":
        tokenizer = Tokenizer.from_file(tokenizer_file)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)

        def encode(texts: Sequence[str]) -> Ragged:
            rows = [row.ids for row in tokenizer.encode_batch_fast(texts)]
            lengths = np.fromiter(map(len, rows), np.int64, len(rows))
            ids = chain.from_iterable(rows)
            return np.fromiter(ids, np.uint32, lengths.sum()), lengths

        return encode
    if backend != "tokie":
        raise UserError(
            f"tokenizer_backend is {backend!r}; it can be"
            f" {' or '.join(BACKENDS)}"
        )
    try:
        import tokie
    except ImportError as error:
        raise UserError(
            "tokenizer_backend is tokie, and tokie is not installed;"
            " run `pip install tokie`, or set tokenizer_backend: tokenizers"
        ) from error
    # Its own types leave out encode_batch_flat.
    fast: Any = tokie.Tokenizer.from_json(tokenizer_file)
    fast.no_padding()
    fast.enable_truncation(max_length)

    def encode_fast(texts: Sequence[str]) -> Ragged:
        ids, lengths = fast.encode_batch_flat(list(texts))
        return ids, lengths.astype(np.int64)

    return encode_fast


def prove(
    backend: str, tokenizer_file: str, max_length: int, texts: Sequence[str]
) -> None:
    """Compare a back end with `tokenizers` on `texts`.

    Raises:
        UserError: they give different ids for a text, which is named.
    """
    rows = [
        np.split(ids, np.cumsum(lengths)[:-1])
        for ids, lengths in (
            open_backend(name, tokenizer_file, max_length)(texts)
            for name in ("tokenizers", backend)
        )
    ]
    for text, expected, actual in zip(texts, *rows, strict=True):
        if not np.array_equal(expected, actual):
            raise UserError(
                f"tokenizer_backend {backend} gives other ids than tokenizers"
                f" for {text[:60]!r}; set tokenizer_backend to tokenizers"
            )


def tokenise_group(
    split_file: Path,
    group: int,
    target: Path,
    tokenizer_file: str,
    max_length: int,
    backend: str,
    vocab_size: int,
    labels: Sequence[str],
) -> list[int]:
    """Tokenise one row group of a split file; a finished shard stays.

    Returns:
        How many texts have 0, 1, 2, ... `max_length` tokens.
    """
    if not target.exists():
        encode = open_backend(backend, tokenizer_file, max_length)
        rows = pq.ParquetFile(split_file).read_row_group(
            group, columns=["text", "label"]
        )
        ids, lengths = encode(rows["text"].to_pylist())
        small = vocab_size <= MAX_SMALL_VOCABULARY
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        column = pa.ListArray.from_arrays(
            offsets, ids.astype(np.uint16 if small else np.uint32)
        )
        numbers = pc.index_in(rows["label"], pa.array(labels, pa.string()))
        kind = pa.uint8() if len(labels) <= 256 else pa.uint16()
        table = pa.table({"input_ids": column, "label": numbers.cast(kind)})
        # Under another name until it is whole: a worker may be killed.
        staging = HalfMade(target).path()
        pq.write_table(table, staging, compression="lz4", use_dictionary=False)
        staging.replace(target)
    else:
        column = pq.read_table(target, columns=["input_ids"])["input_ids"]
        lengths = column.combine_chunks().value_lengths().to_numpy()
    return np.bincount(lengths, minlength=max_length + 1).tolist()
