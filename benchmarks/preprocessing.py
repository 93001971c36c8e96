"""Preparing reviews: the article's code, `datasets`, and this project.

    python benchmarks/preprocessing.py [--json PATH] [--megabytes 144] ...

All candidates take turns in one run, three rounds; the minimum counts. The
file is made here, with the fields and lengths of the 2014 Amazon files and
words of the packaged reviews. Whole pipelines run in processes of their own,
timed without their imports, so that their peak memory is known.

- read: `kept` is `reading.read_file`, which notebook 4 uses: it checks and
  repairs every field, counts what it drops, and writes Parquet. `json_loads`
  parses each line and counts the labels; `duckdb_copy` is one statement of
  DuckDB without any check, COPY (SELECT fields, label) TO Parquet, not
  compressed, as ours is not. The text is that of the real reviews in
  `../shared/data`, repeated, or the made file where there are none; `hex` is
  the same with hashes as identifiers, `gz` the same packed.
- tokenise: texts in memory to token ids; `datasets.map` in batches. `real` is
  the same with the real reviews, without their repetition.
- end to end: .json.gz to labelled, split token ids on disk.

This project tokenises each distinct word once, so it matters how many words
are new. Of the 325,264 words of the 2,776 real reviews 28,004 are distinct,
and their number grows with the 0.7th power of the number of reviews: of
200,000 one word in 40 would be new. So one in 40 is made up in the made ones.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TextIO

import click
import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

ROUNDS = 3
SEED = 2018
MODEL = "minilm-l6"
MAX_LENGTH = 512
POOLED_DOCUMENTS = 30_000
GROUP = 4096  # texts of a shard
STARS = (1.0, 2.0, 3.0, 4.0, 5.0)
STAR_FRACTIONS = (0.10, 0.07, 0.10, 0.20, 0.53)
CHUNK_ROWS = 10_000
NEW_WORDS = 1 / 40
NEW_WORD_LETTERS = 6
AVERAGE_BYTES = 740  # of a record, roughly
COPIED, KEPT = ".copy", ".parquet"  # suffixes of what reading writes


# The synthetic file


def vocabulary() -> tuple[np.ndarray, np.ndarray]:
    """Return the words of the packaged reviews and their cumulative shares."""
    from nlp_helpers.data import sources

    counts: Counter[str] = Counter()
    for [path] in sources.fetch_reviews("amazon-snippets", []).values():
        for line in path.read_text(encoding="utf-8").splitlines():
            counts.update(json.loads(line)["reviewText"].split())
    words, numbers = zip(*counts.most_common(), strict=True)
    return np.array(words, object), np.cumsum(numbers) / sum(numbers)


def make_reviews(path: Path, rows: int) -> None:
    """Write `rows` records; the median text has 67 words."""
    generator = np.random.default_rng(SEED)
    words, shares = vocabulary()
    zipped = path.suffix == ".gz"
    with gzip.open(path, "wt", 1) if zipped else path.open("w") as file:
        for start in range(0, rows, CHUNK_ROWS):
            size = min(CHUNK_ROWS, rows - start)
            lengths = generator.lognormal(4.2, 0.85, size)
            lengths = np.clip(lengths, 5, 1500).astype(int)
            drawn = np.searchsorted(shares, generator.random(lengths.sum()))
            drawn = words[drawn]
            new = np.flatnonzero(generator.random(len(drawn)) < NEW_WORDS)
            letters = generator.integers(97, 123, (len(new), NEW_WORD_LETTERS))
            drawn[new] = [bytes(row.tolist()).decode() for row in letters]
            texts = np.split(drawn, np.cumsum(lengths)[:-1])
            stars = generator.choice(STARS, size, p=STAR_FRACTIONS)
            reviewers = generator.integers(10**9, size=size)
            products = generator.integers(10**5, size=size)
            for row in range(size):
                record = {
                    "reviewerID": f"A{reviewers[row]:010d}",
                    "asin": f"B{products[row]:09d}",
                    "reviewerName": "Some Name",
                    "helpful": [0, 0],
                    "reviewText": " ".join(texts[row]),
                    "overall": float(stars[row]),
                    "summary": " ".join(texts[row][:4]),
                    "unixReviewTime": 1400000000 + start + row,
                    "reviewTime": "05 13, 2014",
                }
                file.write(json.dumps(record) + "\n")


# Read and label


def repeat_reviews(path: Path, size: int, hashes: bool) -> None:
    """Write real reviews again and again until there are `size` bytes."""
    records = [
        json.loads(line)
        for source in real_files()
        for line in source.read_text(encoding="utf-8").splitlines()
    ]
    with path.open("w", encoding="utf-8") as file:
        repeat = 0
        while file.tell() < size:
            for number, record in enumerate(records):
                if hashes:
                    reviewer = f"{repeat} {number}".encode()
                    product = record["asin"].encode()
                    record = record | {
                        "reviewerID": hashlib.md5(reviewer).hexdigest(),
                        "asin": hashlib.md5(product).hexdigest(),
                    }
                file.write(json.dumps(record) + "\n")
            repeat += 1


def open_text(path: Path) -> TextIO:
    zipped = path.suffix == ".gz"
    return gzip.open(path, "rt") if zipped else path.open(encoding="utf-8")


def read_with_json(path: Path) -> Counter:
    counts: Counter[str] = Counter()
    with open_text(path) as file:
        for line in file:
            stars = json.loads(line)["overall"]
            if stars >= 4:
                counts["positive"] += 1
            else:
                counts["negative" if stars < 3 else "neutral"] += 1
    return counts


def copy_with_duckdb(path: Path) -> None:
    import duckdb

    columns = "{reviewText: 'VARCHAR', overall: 'DOUBLE', asin: 'VARCHAR',"
    query = f"""COPY (
        SELECT reviewText, overall, asin, reviewerID,
            CASE WHEN overall >= 4 THEN 'positive'
            WHEN overall < 3 THEN 'negative' ELSE 'neutral' END AS label
        FROM read_json('{path}', format='newline_delimited',
            columns={columns} reviewerID: 'VARCHAR'}})
        ) TO '{path.with_suffix(COPIED)}'
        (FORMAT parquet, COMPRESSION uncompressed)"""
    with duckdb.connect() as connection:
        connection.execute(query)


def read_kept(path: Path) -> Counter:
    from nlp_helpers.data import reading

    report = reading.read_file(path, "reviews", path.with_suffix(KEPT))
    return report.labels


def remove_written(path: Path) -> None:
    """Remove what was written of a file, so that all write new files."""
    for suffix in (COPIED, KEPT):
        path.with_suffix(suffix).unlink(missing_ok=True)


# Tokenise


def tokenise_with_datasets(texts: list[str], tokenizer) -> None:
    import datasets

    datasets.disable_caching()
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict({"text": texts})
    table.map(
        lambda rows: tokenizer(
            rows["text"], truncation=True, max_length=MAX_LENGTH
        ),
        batched=True,
    )


# Whole pipelines: a .json.gz to split token ids in a folder


def pipeline_article(path: Path, folder: Path) -> Callable[[], None]:
    """The article's way: pandas, loops, one text at a time, padded to 512."""
    os.environ["KERAS_BACKEND"] = "torch"
    import pandas as pd
    from keras.utils import pad_sequences
    from sklearn.model_selection import train_test_split

    from nlp_helpers.models import loading

    tokenizer = loading.load_tokenizer(MODEL)

    def work() -> None:
        table = pd.read_json(path, lines=True)
        labels = []
        for stars in table["overall"]:
            labels.append(1 if stars >= 4 else 2 if stars < 3 else 0)
        texts = ["[CLS] " + text + " [SEP]" for text in table["reviewText"]]
        tokens = [tokenizer.tokenize(text) for text in texts]
        ids = [tokenizer.convert_tokens_to_ids(row) for row in tokens]
        padded = pad_sequences(
            ids,
            maxlen=MAX_LENGTH,
            dtype="int64",
            truncating="post",
            padding="post",
        )
        masks = [[float(i > 0) for i in row] for row in padded]
        sides = train_test_split(
            padded, masks, labels, test_size=0.2, random_state=SEED
        )
        for number, side in enumerate(sides):
            np.save(folder / f"{number}.npy", np.array(side))

    return work


def pipeline_datasets(path: Path, folder: Path) -> Callable[[], None]:
    """`datasets`: load, label, split, tokenise in batches, save."""
    import datasets

    from nlp_helpers.models import loading

    datasets.disable_progress_bars()
    tokenizer = loading.load_tokenizer(MODEL)

    def prepare(rows: dict) -> dict:
        stars = rows["overall"]
        encoded = tokenizer(
            rows["reviewText"], truncation=True, max_length=MAX_LENGTH
        )
        labels = [1 if s >= 4 else 2 if s < 3 else 0 for s in stars]
        return {"input_ids": encoded["input_ids"], "label": labels}

    def work() -> None:
        table = datasets.load_dataset(
            "json",
            data_files=str(path),
            split="train",
            cache_dir=str(folder / "cache"),
        )
        table = table.map(
            prepare, batched=True, remove_columns=table.column_names
        )
        splits = table.train_test_split(test_size=0.2, seed=SEED)
        splits.save_to_disk(str(folder / "saved"))

    return work


def pipeline_ours(path: Path, folder: Path) -> Callable[[], None]:
    """This project: check, deduplicate, split by group, write shards."""
    from nlp_helpers.data import reading, shards, splitting

    def work() -> None:
        reading.read_reviews({"reviews": [path]}, folder / "parts")
        splitting.split(folder / "parts", folder / "splits", seed=SEED)
        shards.write_shards(
            folder / "splits", folder / "shards", MODEL, MAX_LENGTH
        )

    return work


PIPELINES = {
    "article": pipeline_article,
    "datasets": pipeline_datasets,
    "ours": pipeline_ours,
}


def run_pipeline(name: str, path: Path) -> tuple[float, float]:
    """Run a pipeline in a new process; return seconds and peak MiB."""
    done = subprocess.run(
        [sys.executable, __file__, "--pipeline", name, "--file", path],
        env={**os.environ, "NLP_HELPERS_HEADLESS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, mebibytes = done.stdout.splitlines()[-1].split()
    return float(seconds), float(mebibytes)


def pipeline_process(name: str, path: Path) -> None:
    """Be the new process."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        work = PIPELINES[name](path, Path(folder))
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
    # Not getrusage: its figure goes on counting what the parent had.
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    print(f"{seconds:.3f} {peak:.0f}")


# Measuring


def take_turns(
    candidates: dict[str, Callable[[], object]],
    clear: Callable[[], None] = lambda: None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the least seconds of each candidate over ROUNDS rounds.

    By the clock, and of processor: all threads of this process. `clear` is
    called before each, and not timed.
    """
    best = dict.fromkeys(candidates, np.inf)
    processor = dict.fromkeys(candidates, np.inf)
    for _ in range(ROUNDS):
        for name, work in candidates.items():
            clear()
            started, used = time.perf_counter(), time.process_time()
            work()
            best[name] = min(best[name], time.perf_counter() - started)
            used = time.process_time() - used
            processor[name] = min(processor[name], used)
    return best, processor


def measure_reading(folder: Path, size: int, metrics: dict) -> None:
    """Real text and the same with hashes, each plain and packed."""
    for kind in ("", "_hex"):
        plain = folder / f"read{kind}.json"
        if real_files():
            repeat_reviews(plain, size, bool(kind))
        elif kind:
            continue
        else:
            make_reviews(plain, size // AVERAGE_BYTES)
        zipped = plain.with_suffix(".json.gz")
        with plain.open("rb") as file, gzip.open(zipped, "wb", 6) as packed:
            shutil.copyfileobj(file, packed)
        size_read = plain.stat().st_size / 1e6
        for path in (plain, zipped):
            name = kind + "_gz" * (path == zipped)
            measure_file(path, size_read, name, metrics)
            path.unlink()


def measure_file(path: Path, size: float, name: str, metrics: dict) -> None:
    """Read one file in three ways; its size, unpacked, is in megabytes."""
    labels, kept = read_with_json(path), read_kept(path)
    # A few of the real reviews have no text, and are dropped.
    assert kept <= labels and kept.total() > 0.999 * labels.total()
    seconds, processor = take_turns(
        {
            "json_loads": lambda: read_with_json(path),
            "duckdb_copy": lambda: copy_with_duckdb(path),
            "kept": lambda: read_kept(path),
        },
        clear=lambda: remove_written(path),
    )
    for candidate, value in seconds.items():
        metrics[f"read_{candidate}_mb_per_s{name}"] = size / value
        used = processor[candidate]
        metrics[f"read_{candidate}_processor_seconds{name}"] = used
    for peer in ("json_loads", "duckdb_copy"):
        ratio = seconds[peer] / seconds["kept"]
        metrics[f"read_kept_vs_{peer}{name}"] = ratio


def measure_tokenising(
    texts: list[str], name: str, folder: Path, metrics: dict
) -> None:
    """Texts in memory to ids: `datasets`, tokenizers, and this project."""
    from nlp_helpers.data import tokenize_worker
    from nlp_helpers.models import loading

    tokenizer = loading.load_tokenizer(MODEL)
    file = str(folder / "tokenizer.json")
    tokenizer.backend_tokenizer.save(file)
    whole = Tokenizer.from_file(file)
    whole.no_padding()
    whole.enable_truncation(MAX_LENGTH)
    arrays = [
        pa.array(texts[start : start + GROUP], pa.large_string())
        for start in range(0, len(texts), GROUP)
    ]

    def tokenise_by_word() -> list[np.ndarray]:
        tokenize_worker.open_tokenizer.cache_clear()  # of words seen before
        encode = tokenize_worker.open_tokenizer(file, MAX_LENGTH)
        return [encode(array)[0] for array in arrays]

    ids = [row.ids for row in whole.encode_batch_fast(texts)]
    expected = np.fromiter(chain.from_iterable(ids), np.uint32)
    assert np.array_equal(np.concatenate(tokenise_by_word()), expected)
    seconds, _ = take_turns(
        {
            "datasets_map": lambda: tokenise_with_datasets(texts, tokenizer),
            "batch_fast": lambda: whole.encode_batch_fast(texts),
            "ours": tokenise_by_word,
        }
    )
    for candidate, value in seconds.items():
        metrics[f"{name}_{candidate}_documents_per_s"] = len(texts) / value
    for peer in ("datasets_map", "batch_fast"):
        metrics[f"{name}_vs_{peer}"] = seconds[peer] / seconds["ours"]


def measure_workers(path: Path, folder: Path, metrics: dict) -> None:
    """Shards with 1 and 2 worker processes of one thread each."""
    from nlp_helpers.data import reading, shards, splitting

    reading.read_reviews({"reviews": [path]}, folder / "parts")
    splitting.split(folder / "parts", folder / "splits", seed=SEED)

    def work(num_workers: int) -> None:
        target = folder / "shards"
        shutil.rmtree(target, ignore_errors=True)
        shards.write_shards(
            folder / "splits",
            target,
            MODEL,
            MAX_LENGTH,
            num_workers=num_workers,
        )

    seconds, _ = take_turns({"one": lambda: work(1), "two": lambda: work(2)})
    metrics["two_workers_over_one"] = seconds["one"] / seconds["two"]


def measure_pipelines(path: Path, rows: int, metrics: dict) -> None:
    best = dict.fromkeys(PIPELINES, np.inf)
    for _ in range(ROUNDS):
        for name in PIPELINES:
            seconds, peak = run_pipeline(name, path)
            best[name] = min(best[name], seconds)
            key = f"end_to_end_{name}_peak_mib"
            metrics[key] = max(peak, metrics.get(key, 0))
    for name, value in best.items():
        metrics[f"end_to_end_{name}_documents_per_s"] = rows / value
    for peer in ("article", "datasets"):
        metrics[f"end_to_end_vs_{peer}"] = best[peer] / best["ours"]


def measure_memory(folder: Path, rows: int, metrics: dict) -> None:
    """Peak memory of our pipeline at `rows` and a tenth of them."""
    peaks = []
    for size in (rows // 10, rows):
        path = folder / f"{size}.json"
        make_reviews(path, size)
        seconds, peak = run_pipeline("ours", path)
        click.echo(f"{size:,} rows: {seconds:.1f} s, peak {peak:.0f} MiB")
        metrics[f"peak_mib_{size}_rows"] = peak
        peaks.append(peak)
        path.unlink()
    metrics["rss_2m_over_200k"] = peaks[1] / peaks[0]


def measure_made_reviews(folder: Path, documents: int, metrics: dict) -> None:
    """Tokenise, share the work, and prepare from the file to token ids."""
    zipped = folder / "reviews.json.gz"
    make_reviews(zipped, documents)
    with open_text(zipped) as lines:
        texts = [json.loads(line)["reviewText"] for line in lines]
    texts = texts[:POOLED_DOCUMENTS]
    measure_tokenising(texts, "tokenize", folder, metrics)
    real = [
        json.loads(line)["reviewText"]
        for path in real_files()
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    if real:
        measure_tokenising(real, "tokenize_real", folder, metrics)
    measure_workers(zipped, folder, metrics)
    measure_pipelines(zipped, documents, metrics)


def real_files() -> list[Path]:
    """Return the files of real reviews beside the project, if any."""
    from nlp_helpers.core import paths

    folder = paths.project_root().parent / "shared" / "data"
    return sorted(folder.glob("*.jsonl"))


@click.command()
@click.option("--json", "json_path", type=click.Path(), default=None)
@click.option(
    "--megabytes", default=144, help="Size of the files to read; 0: none."
)
@click.option(
    "--documents", default=200_000, help="Of the rest; 0 leaves it out."
)
@click.option("--memory-rows", default=2_000_000, help="0 leaves it out.")
@click.option("--pipeline", type=click.Choice(PIPELINES), hidden=True)
@click.option("--file", type=click.Path(path_type=Path), hidden=True)
def main(
    json_path: str | None,
    megabytes: int,
    documents: int,
    memory_rows: int,
    pipeline: str | None,
    file: Path | None,
) -> None:
    """Measure and print; write the metrics as JSON if asked."""
    if pipeline:
        return pipeline_process(pipeline, file)
    from nlp_helpers.core import files

    metrics: dict[str, float] = {}
    os.environ["NLP_HELPERS_HEADLESS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if megabytes:
            measure_reading(folder, megabytes * 1_000_000, metrics)
        if documents:
            measure_made_reviews(folder, documents, metrics)
        if memory_rows:
            measure_memory(folder, memory_rows, metrics)
    for key, value in metrics.items():
        click.echo(f"{key} {value:,.2f}")
    if json_path:
        files.write_json(Path(json_path), {"metrics": metrics})


if __name__ == "__main__":
    from nlp_helpers.core.errors import run_command

    run_command(main)
