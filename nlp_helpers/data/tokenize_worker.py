"""Tokenise one row group of reviews into one token shard.

Worker processes run this module: it imports neither torch nor transformers,
so that they start in a fraction of a second.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from nlp_helpers.core.files import HalfMade
from nlp_helpers.data.word_pieces import Ragged, WordPieces, is_by_word

MAX_SMALL_VOCABULARY = 1 << 16  # ids below it fit into two bytes


@lru_cache(maxsize=4)
def open_tokenizer(
    tokenizer_file: str, max_length: int
) -> Callable[[pa.LargeStringArray], Ragged]:
    """Open a tokenizer: a function from texts to (ids, lengths)."""
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.no_padding()
    if is_by_word(tokenizer):
        return WordPieces(tokenizer, max_length).encode
    tokenizer.enable_truncation(max_length)

    def encode(texts: pa.LargeStringArray) -> Ragged:
        rows = [
            row.ids for row in tokenizer.encode_batch_fast(texts.to_pylist())
        ]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ids = chain.from_iterable(rows)
        return np.fromiter(ids, np.uint32, lengths.sum()), lengths

    return encode


def tokenise_group(
    split_file: Path,
    group: int,
    target: Path,
    tokenizer_file: str,
    max_length: int,
    vocab_size: int,
    labels: Sequence[str],
) -> list[int]:
    """Tokenise one row group of a split file; a finished shard stays.

    Returns:
        How many texts have 0, 1, 2, ... `max_length` tokens.
    """
    if not target.exists():
        encode = open_tokenizer(tokenizer_file, max_length)
        rows = pq.ParquetFile(split_file).read_row_group(
            group, columns=["text", "label"]
        )
        texts = rows["text"].cast(pa.large_string()).combine_chunks()
        ids, lengths = encode(texts)
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
