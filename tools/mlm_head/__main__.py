"""Make the masked-language-model head: `python -m tools.mlm_head`."""

from pathlib import Path
from typing import Any

import click

from nlp_helpers.core.errors import run_command
from tools.mlm_head import generated, texts, training

DEFAULTS = training.Settings()
COUNT = click.IntRange(min=1)
FRACTION = click.FloatRange(0, 1)
FOLDER_PATH = click.Path(file_okay=False, path_type=Path)
FOLDER = click.option(
    "--folder",
    type=FOLDER_PATH,
    default="build/mlm",
    help="Where the Debian packages are unpacked and the texts are kept.",
)
HELD_OUT = click.option(
    "--held-out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="build/mlm/held_out.jsonl",
    help="The text that is never trained on.",
)


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Train the head: fetch, generate, collect, train (make train-mlm)."""


@main.command()
@FOLDER
def fetch(folder: Path) -> None:
    """Download the Debian packages and unpack them into FOLDER."""
    texts.fetch_packages(folder)


@main.command()
@FOLDER
@click.option("--batches", default=16, type=COUNT, help="Batches of 64 texts.")
@click.option("--seed", default=2018, help="Seeds the sampling.")
def generate(folder: Path, batches: int, seed: int) -> None:
    """Have SmolLM2 write texts into FOLDER/generated."""
    generated.generate(folder / "generated", batches, seed)


@main.command()
@FOLDER
@HELD_OUT
def collect(folder: Path, held_out: Path) -> None:
    """Read all sources; write FOLDER/train.jsonl and the held-out text."""
    texts.collect(folder, held_out)


@main.command()
@FOLDER
@HELD_OUT
@click.option(
    "--output",
    type=FOLDER_PATH,
    default="build/minilm-l6-mlm",
    help="Folder for weights/ and checkpoints/; a run found there is resumed.",
)
@click.option("--num-steps", default=8000, type=COUNT, help="Optimizer steps.")
@click.option(
    "--evaluate-every",
    default=500,
    type=COUNT,
    help="Steps between evaluations.",
)
@click.option(
    "--train",
    type=click.Choice(["head", "adapters", "encoder"]),
    default="adapters",
    help="What is trained; the head always is.",
)
@click.option(
    "--start-from",
    default="",
    metavar="FOLDER",
    help="Adapters and head of an earlier run, instead of new ones.",
)
@click.option(
    "--rank", default=DEFAULTS.rank, type=COUNT, help="Rank of the adapters."
)
@click.option(
    "--batch-rows",
    default=DEFAULTS.batch_rows,
    type=COUNT,
    help="Rows in each step.",
)
@click.option(
    "--max-length",
    default=DEFAULTS.max_length,
    type=click.IntRange(8, 512),
    help="Tokens in each row.",
)
@click.option(
    "--learning-rate",
    default=DEFAULTS.learning_rate,
    help="Highest learning rate.",
)
@click.option(
    "--warmup-steps",
    default=DEFAULTS.warmup_steps,
    type=click.IntRange(min=0),
    help="Steps until the rate is reached.",
)
@click.option(
    "--decay-fraction",
    "--decay-share",
    default=DEFAULTS.decay_fraction,
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the steps in which the rate goes down to zero.",
)
@click.option(
    "--mask-fraction",
    "--mask-share",
    default=DEFAULTS.mask_fraction,
    type=FRACTION,
    help="Share of the tokens to mask.",
)
@click.option(
    "--whole-word-fraction",
    "--whole-word-share",
    default=DEFAULTS.whole_word_fraction,
    type=FRACTION,
    help="Share of the examples in which whole words are masked.",
)
@click.option(
    "--seed", default=DEFAULTS.seed, help="Seeds every random choice."
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"
)
def train(
    folder: Path,
    held_out: Path,
    output: Path,
    num_steps: int,
    evaluate_every: int,
    device: str,
    **settings: Any,
) -> None:
    """Train; the defaults, with --start-from, are those of the last run."""
    training.train(
        folder,
        held_out,
        output,
        num_steps,
        evaluate_every,
        training.Settings(**settings),
        device,
    )


@main.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER_PATH)
@click.option(
    "--output", required=True, type=FOLDER_PATH, help="Folder for the mean."
)
def average(folders: tuple[Path, ...], output: Path) -> None:
    """Write the mean of FOLDERS; a folder named twice counts twice."""
    training.average(folders, output)


if __name__ == "__main__":
    run_command(main)
