"""The command line: `python -m nlp_helpers --help`."""

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, TextIO

import click
from rich.console import Console
from rich.table import Column, Table

from nlp_helpers import paths
from nlp_helpers.errors import UserError, run_command

if TYPE_CHECKING:  # `predict` must do without papermill
    from nlp_helpers.batch.pipeline import Result

SHOWN_METRICS = 3
LONGEST_METRIC = 20  # characters; a longer text would swamp the table


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Run the notebooks, or use what they trained."""


def main() -> None:
    """Run the command that the arguments name."""
    run_command(commands)


@commands.command()
@click.option("--profile", default="offline", show_default=True)
@click.argument("notebooks", nargs=-1)
def run(profile: str, notebooks: tuple[str, ...]) -> None:
    """Execute NOTEBOOKS (for example 01 03; default all) headless.

    Executed notebooks, metrics and figures go to outputs/PROFILE/.
    """
    from nlp_helpers.batch import pipeline

    results = []
    for item in pipeline.run(profile, notebooks):
        if isinstance(item, pipeline.Result):
            results.append(item)
            click.echo(f"{item.notebook}: done in {item.seconds:.0f} s")
        else:
            click.echo(f"{item}: running")
    Console().print(_summary(results))


@commands.command()
def reference() -> None:
    """Take the offline profile's last run over as outputs/reference/."""
    from nlp_helpers.batch import pipeline

    for path in pipeline.update_reference():
        click.echo(f"wrote {paths.shown(path)}")


@commands.command()
@click.option(
    "--checkpoint",
    required=True,
    help="Folder of a fine-tuned classifier, from notebook 05 for example.",
)
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
def predict(checkpoint: str, file: TextIO) -> None:
    """Label the lines of FILE (default: standard input), as JSON lines."""
    import transformers

    from nlp_helpers import fine_tuning, models

    transformers.logging.disable_progress_bar()

    texts = [line.strip() for line in file if line.strip()]
    if not texts:
        raise UserError(f"{file.name} has no text; give one text a line")
    folder = paths.resolve(checkpoint)
    # Standard output is for the answers alone.
    with redirect_stdout(sys.stderr):
        tokenizer, model = models.load(
            str(folder), transformers.BertForSequenceClassification
        )
    for answer in fine_tuning.classify(texts, tokenizer, model):
        click.echo(json.dumps(answer, ensure_ascii=False))


def _summary(results: "list[Result]") -> Table:
    """Tabulate notebook, seconds, main figures and path."""
    table = Table(
        "notebook",
        Column("seconds", justify="right"),
        Column("main figures", no_wrap=True),
        Column("path", overflow="fold"),
    )
    for result in results:
        figures = [
            f"{name} {value:.3g}"
            if isinstance(value, float)
            else f"{name} {value}"
            for name, value in result.metrics.items()
            if len(str(value)) <= LONGEST_METRIC
        ]
        path = paths.shown(result.output)
        table.add_row(
            result.notebook[:2],
            f"{result.seconds:.1f}",
            "\n".join(figures[:SHOWN_METRICS]),
            path,
        )
    return table
