"""Tokenise, store ragged token shards, load them.

A shard is a Parquet file with the columns `input_ids` (a list of unsigned
integers, as long as the text is) and `label`. Nothing is padded on disk.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from nlp_helpers import session
from nlp_helpers.core import files, folders
from nlp_helpers.core.engine import processors, run
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import splitting, tokenize_worker
from nlp_helpers.data.labels import STARS
from nlp_helpers.models import loading, registry

MAX_THREADS = 4  # that make shards here; more would wait for Python
MIN_SHOWN = 10  # shards; fewer are done before anyone looks


@dataclass(frozen=True)
class TokenSet:
    """The token ids of N texts, each as long as it is, and their N labels."""

    input_ids: list[np.ndarray]
    labels: np.ndarray  # numbers
    names: tuple[str, ...] = STARS  # of the classes, in their numbers' order

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)


def encode(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[list[int]]:
    """Tokenise with [CLS] and [SEP], cut to `max_length` tokens, unpadded.

    Raises:
        UserError: the model of this tokenizer reads fewer tokens.
    """
    check_max_length(max_length, tokenizer)
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    return encoded["input_ids"]


def check_max_length(
    max_length: int, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse to make texts that are longer than the model reads.

    Raises:
        UserError: names both lengths.
    """
    limit = tokenizer.model_max_length  # set by `loading`
    if max_length > limit:
        raise UserError(
            f"max_length is {max_length}, and the model reads {limit} tokens"
            f" at most; set max_length to {limit} or less"
        )


def write_shards(
    splits: Path,
    target: Path,
    tokenizer_name: str,
    max_length: int,
    engine: str = "local",
    num_workers: int = 0,
) -> dict[str, Any]:
    """Tokenise the files of `splits`, one shard for each of their row groups.

    The shards are the same bytes whatever the engine and the number of
    workers. Interrupted, the call goes on with the shards that are
    missing; finished, it does nothing until its input changes.

    Args:
        splits: the folder that `splitting.split` wrote.
        target: replaced if it exists; it appears whole or not at all.
        tokenizer_name: recorded, so that a model with another vocabulary is
            refused later.
        max_length: tokens of a text, [CLS] and [SEP] included.
        engine: see `engine.run`.
        num_workers: see `engine.run`.

    Returns:
        What shards.json says: `tokenizer`, `max_length`, `labels`, the names
        of the classes in the order of their numbers, `rows` of each split
        and `lengths`, how many texts of it have 0, 1, 2, ... tokens.

    Raises:
        UserError: the model cannot be trained or reads fewer tokens, an
            engine is unknown or cannot be used, or the disk is full or cannot
            be written.
    """
    registry.check_trainable(tokenizer_name)
    tokenizer = loading.load_tokenizer(tokenizer_name)
    check_max_length(max_length, tokenizer)
    sources = sorted(splits.glob("*.parquet"))
    description = {
        "tokenizer": tokenizer_name,
        "tokenizer_sha256": _hash_rules(tokenizer),
        "max_length": max_length,
        "labels": splitting.read_labels(splits),
        "sha256": {path.name: files.sha256(path) for path in sources},
    }
    with files.writing(target), folders.lock(target):
        done = _finished(target, description)
        return done or _make_shards(
            sources,
            target,
            description,
            tokenizer,
            engine,
            num_workers,
        )


def _make_shards(
    sources: Sequence[Path],
    target: Path,
    description: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    engine: str,
    num_workers: int,
) -> dict[str, Any]:
    """Make the shards that `description` is of, those that are missing."""
    max_length = description["max_length"]
    work = _work_folder(target, description)
    tokenizer_file = str(work / "tokenizer.json")
    tokenizer.backend_tokenizer.save(tokenizer_file)
    tasks = [
        (
            path,
            group,
            work / f"{path.stem}-{group:05d}.parquet",
            tokenizer_file,
            max_length,
            len(tokenizer),
            description["labels"],
        )
        for path in sources
        for group in range(pq.ParquetFile(path).num_row_groups)
    ]
    lengths = {path.stem: np.zeros(max_length + 1, int) for path in sources}
    results = run(
        tokenize_worker.tokenise_group,
        tasks,
        engine,
        num_workers,
        num_threads=min(MAX_THREADS, processors()),
    )
    if len(tasks) >= MIN_SHOWN:
        results = session.progress(results, len(tasks), "shards")
    for number, num_texts in results:
        lengths[tasks[number][0].stem] += num_texts
    description |= {
        "rows": {name: int(counts.sum()) for name, counts in lengths.items()},
        "lengths": {name: c.tolist() for name, c in lengths.items()},
    }
    for half_written in work.glob(".*"):
        half_written.unlink()  # by a worker that was killed
    files.write_json(work / "shards.json", description)
    folders.replace_folder(work, target)
    return description


def _hash_rules(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the hash of all that decides what the tokenizer answers."""
    rules = tokenizer.backend_tokenizer.to_str()
    return files.hash_text(rules)


def _finished(
    target: Path, description: dict[str, Any]
) -> dict[str, Any] | None:
    """Return what shards.json says, if it is of the same input.

    None if it is not, or if a shard is missing or has lost rows.
    """
    path = target / "shards.json"
    if not path.is_file():
        return None
    content = files.read_json(path)
    same = all(content.get(key) == value for key, value in description.items())
    if not same or _rows(target, content["rows"]) != content["rows"]:
        return None
    return content


def _rows(folder: Path, splits: Iterable[str]) -> dict[str, int]:
    """Count the rows of the shards of each split."""
    return {
        split: sum(
            pq.read_metadata(shard).num_rows
            for shard in folder.glob(f"{split}-*.parquet")
        )
        for split in splits
    }


def _work_folder(target: Path, description: dict[str, Any]) -> Path:
    """Return the folder where these shards, and no others, are made."""
    key = files.hash_text(json.dumps(description))[: files.SHORT]
    work = files.HalfMade(target).path(key)
    folders.recover(target, keep=work)  # others are of an input that is gone
    work.mkdir(parents=True, exist_ok=True)
    return work


def read_shards(folder: Path, split: str, tokenizer_name: str) -> TokenSet:
    """Read all shards of a split, in order.

    Raises:
        UserError: there are none, rows are missing, or they were made with
            another tokenizer or of other texts than lie beside them.
    """
    description_file = folder / "shards.json"
    if not description_file.is_file():
        raise UserError(
            f"no token shards in {folder}; run notebook 04 first, for example"
            " `python -m nlp_helpers run 04`"
        )
    description = files.read_json(description_file)
    if "labels" not in description:
        raise UserError(
            f"{folder} was made by an older version; run notebook 04 again"
        )
    if description["tokenizer"] != tokenizer_name:
        raise UserError(
            f"{folder} was made with the tokenizer of"
            f" {description['tokenizer']}, not of {tokenizer_name}; run"
            f" notebook 04 with model_name {tokenizer_name}"
        )
    rules = _hash_rules(loading.load_tokenizer(tokenizer_name))
    if description.get("tokenizer_sha256") != rules:
        raise UserError(
            f"the tokenizer of {tokenizer_name} has changed since {folder} was"
            " made; run notebook 04 again"
        )
    texts = folder.parent / "splits" / f"{split}.parquet"
    recorded = description["sha256"].get(texts.name)
    if texts.is_file() and files.sha256(texts) != recorded:
        raise UserError(
            f"{folder} was made of another {texts.name} than there is now; run"
            " notebook 04 again"
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
    # Not combined: Arrow counts the tokens of one list array in 31 bits.
    chunks = table.column("input_ids").chunks
    return TokenSet(
        input_ids=[ids for chunk in chunks for ids in _split(chunk)],
        labels=table.column("label").to_numpy().astype(np.int64),
        names=tuple(description["labels"]),
    )


def _split(lists: pa.ListArray) -> list[np.ndarray]:
    """Return each list as an array."""
    if not len(lists):
        return []
    ends = lists.offsets.to_numpy() - lists.offsets[0].as_py()
    return np.split(lists.flatten().to_numpy(), ends[1:-1])
