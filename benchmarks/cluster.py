"""Preparing reviews on a Ray cluster of 1, 2 and 4 workers.

    python benchmarks/cluster.py [--json PATH] [--rows 1000000]

A cluster of this machine alone, started anew for each number of workers, each
worker with one processor. The made reviews of `preprocessing.py` stand in
eight files. Timed by stages, as notebook 4 has them: reading (a task a file),
splitting (one process, DuckDB on all processors) and tokenising into shards (a
task a piece). The least of three rounds, the first of which starts the
workers and lets them import what they need: some seconds more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import click
import numpy as np
import preprocessing
import ray

from nlp_helpers.core import files
from nlp_helpers.core.errors import run_command
from nlp_helpers.data import reading, shards, splitting

FILES = 8
WORKERS = (1, 2, 4)
STAGES = ("read", "split", "tokenise")


@contextmanager
def cluster(workers: int) -> Iterator[None]:
    """Start a cluster with a number of processors, and stop it."""
    command = [str(Path(sys.executable).with_name("ray"))]
    start = ["start", "--head", f"--num-cpus={workers}", "--port=0"]
    start += ["--include-dashboard=false", "--disable-usage-stats"]
    subprocess.run([*command, *start], check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        ray.shutdown()
        stop = [*command, "stop", "--force"]
        subprocess.run(stop, check=True, stdout=subprocess.DEVNULL)


def prepare(review_files: list[Path], folder: Path) -> list[float]:
    """Prepare the files; return the seconds of each stage."""
    ends = [time.perf_counter()]
    reading.read_reviews(
        {"reviews": review_files}, folder / "parts", engine="ray"
    )
    ends.append(time.perf_counter())
    splitting.split(folder / "parts", folder / "splits")
    ends.append(time.perf_counter())
    shards.write_shards(
        folder / "splits",
        folder / "shards",
        preprocessing.MODEL,
        preprocessing.MAX_LENGTH,
        engine="ray",
    )
    ends.append(time.perf_counter())
    return list(np.diff(ends))


@click.command()
@click.option("--rows", default=1_000_000)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(rows: int, json_path: Path | None) -> None:
    """Measure and print; write the metrics as JSON if asked."""
    os.environ["NLP_HELPERS_HEADLESS"] = "1"
    best = dict.fromkeys(WORKERS, np.full(len(STAGES), np.inf))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number}.json" for number in range(FILES)]
        preprocessing.make_reviews(folder / "all.json", rows)
        with (folder / "all.json").open("rb") as lines:
            for path in paths:
                path.write_bytes(b"".join(islice(lines, -(-rows // FILES))))
        for workers in WORKERS:
            with cluster(workers):
                for _ in range(preprocessing.ROUNDS):
                    seconds = prepare(paths, folder)
                    best[workers] = np.minimum(best[workers], seconds)
                    for stage in ("parts", "splits", "shards"):
                        shutil.rmtree(folder / stage)
    metrics = {
        f"{stage}_seconds_{workers}_workers": value
        for workers, seconds in best.items()
        for stage, value in zip(STAGES, seconds, strict=True)
    }
    for key, value in metrics.items():
        click.echo(f"{key} {value:,.1f}")
    if json_path:
        files.write_json(json_path, {"metrics": metrics})


if __name__ == "__main__":
    run_command(main)
