"""The command line: `python -m nlp_helpers --help`."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from tqdm import tqdm

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
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "table"]),
    default="json",
    show_default=True,
    help="JSON lines as they come, or one table of all.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
)
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
def predict(checkpoint: str, kind: str, device: str, file: TextIO) -> None:
    """Label the lines of FILE (default: standard input).

    Each line is a text; empty lines are passed over. Answers come in the
    order of the lines, while more are read: text, label, and the probability
    of each label.
    """
    from nlp_helpers import classifier, session

    # Standard output is for the answers alone.
    with redirect_stdout(sys.stderr):
        session.quieten()
        folder = str(paths.resolve(checkpoint))
        place = session.choose_device(device)
        loaded = classifier.load(folder, place)
    lines = classifier.read_lines(file)
    answers = _with_bar(classifier.classify(lines, *loaded))
    if kind == "table":
        return Console().print(_answer_table(answers))
    for answer in answers:
        click.echo(json.dumps(answer, ensure_ascii=False))


def _with_bar(answers: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Count answers on standard error; say at the end how many, how fast.

    Raises:
        UserError: there are none.
    """
    bar = tqdm(answers, unit=" texts", disable=not sys.stderr.isatty())
    count, started = 0, time.perf_counter()
    for answer in bar:
        count += 1
        yield answer
    if not count:
        raise UserError("the input has no text; give one text a line")
    rate = count / (time.perf_counter() - started)
    click.echo(f"{count:,} texts, {rate:,.0f} a second", err=True)


def _answer_table(answers: Iterable[dict[str, Any]]) -> Table:
    """Tabulate text, label and probabilities."""
    rows = list(answers)
    names = [name for name in rows[0] if name not in ("text", "label")]
    columns = (Column(name, justify="right") for name in names)
    table = Table(Column("text", overflow="fold"), "label", *columns)
    for row in rows:
        shares = (f"{row[name]:.3f}" for name in names)
        table.add_row(Text(row["text"]), row["label"], *shares)
    return table


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
