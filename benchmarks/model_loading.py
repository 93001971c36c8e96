"""Opening SmolLM2: from its GGUF file each time, or from the unpacked cache.

    python benchmarks/model_loading.py [--json PATH]

Both ways in turn, three times, in one process; the minimum of each counts.
"""

import time
from pathlib import Path

import click
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import run_command
from nlp_helpers.models import loading

NAME = "smollm2-135m"
ROUNDS = 3


def from_gguf() -> None:
    entry = loading.registry()[NAME]
    folder = paths.package_folder(entry.package, entry.distribution)
    packed = {"gguf_file": entry.gguf_file, "local_files_only": True}
    AutoTokenizer.from_pretrained(folder, **packed)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **packed)


def from_cache() -> None:
    loading.load_model(NAME, AutoModelForCausalLM)


def seconds(load) -> float:
    started = time.perf_counter()
    load()
    return time.perf_counter() - started


@click.command()
@click.option("--json", "json_path", type=click.Path(), default=None)
def main(json_path: str | None) -> None:
    """Print seconds and their ratio; write them as JSON if asked."""
    loading.fetch_model(NAME)  # the one unpacking is not what is compared
    times = [(seconds(from_gguf), seconds(from_cache)) for _ in range(ROUNDS)]
    gguf, cache = (min(column) for column in zip(*times, strict=True))
    metrics = {
        "seconds_from_gguf": gguf,
        "seconds_from_cache": cache,
        "cache_vs_gguf": gguf / cache,
    }
    for name, value in metrics.items():
        click.echo(f"{name} {value:.2f}")
    if json_path:
        files.write_json(Path(json_path), {"metrics": metrics})


if __name__ == "__main__":
    run_command(main)
