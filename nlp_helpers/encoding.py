"""Tokenise, store ragged token shards, load them, pad a batch.

A shard is a Parquet file with the columns `input_ids` (a list of unsigned
integers, as long as the text is) and `label`. Nothing is padded on disk.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedTokenizerBase

from nlp_helpers import files
from nlp_helpers.errors import UserError

ROWS_PER_SHARD = 1000


@dataclass(frozen=True)
class TokenSet:
    """The token ids of N texts, each as long as it is, and their N labels."""

    input_ids: list[np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)


def encode(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[list[int]]:
    """Tokenise with [CLS] and [SEP], cut to `max_length` tokens, unpadded."""
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    return encoded["input_ids"]


def write_shards(
    folder: Path,
    splits: dict[str, tuple[Sequence[Sequence[int]], Sequence[int]]],
    tokenizer_name: str,
    max_length: int,
) -> None:
    """Write all splits into `folder`, which appears whole or not at all.

    Args:
        folder: replaced if it exists.
        splits: name -> (token ids of each text, label of each text).
        tokenizer_name: recorded, so that a model with another vocabulary is
            refused later.
        max_length: recorded as well.
    """
    schema = pa.schema(
        [("input_ids", pa.list_(pa.uint32())), ("label", pa.uint8())]
    )
    with files.staged_folder(folder) as staging:
        for split, (input_ids, labels) in splits.items():
            for start in range(0, len(labels), ROWS_PER_SHARD):
                rows = slice(start, start + ROWS_PER_SHARD)
                columns = {
                    "input_ids": input_ids[rows],
                    "label": list(labels[rows]),
                }
                name = f"{split}-{start // ROWS_PER_SHARD:05d}.parquet"
                pq.write_table(pa.table(columns, schema), staging / name)
        description = {
            "tokenizer": tokenizer_name,
            "max_length": max_length,
            "rows": {
                name: len(labels) for name, (_, labels) in splits.items()
            },
        }
        files.write_json(staging / "shards.json", description)


def read_shards(folder: Path, split: str, tokenizer_name: str) -> TokenSet:
    """Read all shards of a split, in order.

    Raises:
        UserError: there are none, rows are missing, or they were made with
            another tokenizer.
    """
    description_file = folder / "shards.json"
    if not description_file.is_file():
        raise UserError(
            f"no token shards in {folder}; run notebook 04 first, for example"
            " `python -m nlp_helpers run 04`"
        )
    description = json.loads(description_file.read_text(encoding="utf-8"))
    if description["tokenizer"] != tokenizer_name:
        raise UserError(
            f"{folder} was made with the tokenizer of"
            f" {description['tokenizer']}, not of {tokenizer_name}; run"
            f" notebook 04 with model_name {tokenizer_name}"
        )
    shards = sorted(folder.glob(f"{split}-*.parquet"))
    tables = [pq.read_table(shard) for shard in shards]
    rows = sum(table.num_rows for table in tables)
    expected = description["rows"].get(split, 0)
    if rows != expected or not rows:
        raise UserError(
            f"{folder} has {rows} rows of {split}, {expected} were written;"
            " run notebook 04 again"
        )
    table = pa.concat_tables(tables)
    column = table.column("input_ids").combine_chunks()
    offsets = column.offsets.to_numpy()
    values = column.values.to_numpy()
    return TokenSet(
        input_ids=np.split(values, offsets[1:-1]),
        labels=table.column("label").to_numpy().astype(np.int64),
    )


def pad(
    sequences: Sequence[Sequence[int]], pad_token_id: int
) -> dict[str, torch.Tensor]:
    """Pad to the longest: `input_ids` and `attention_mask`, both (B, T)."""
    width = max(len(sequence) for sequence in sequences)
    input_ids = torch.full((len(sequences), width), pad_token_id)
    attention_mask = torch.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        ids = torch.as_tensor(np.asarray(sequence, dtype=np.int64))
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}
