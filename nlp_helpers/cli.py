"""The command line: `python -m nlp_helpers --help`."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from tqdm import tqdm

from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import UserError, run_command

SHOWN_CHARACTERS = 200  # of a text on the screen
# What the extra `runner` brings that some commands import.
RUNNER_MODULES = {
    "jupyter_client",
    "nbclient",
    "nbformat",
    "papermill",
    "psutil",
    "traitlets",
    "zmq",
}

if TYPE_CHECKING:  # `predict` must do without papermill
    from nlp_helpers.runner.pipeline import Runner
    from nlp_helpers.runner.tasks import Result


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Run the notebooks, train, or use what was trained."""


def main() -> None:
    """Run the command that the arguments name."""
    run_command(_run_installed)


def _run_installed() -> None:
    """Run a command; name the extra where a package of the runner lacks.

    Raises:
        UserError: the command needs more than the package brings by itself.
    """
    try:
        commands()
    except ModuleNotFoundError as error:
        package, _, _ = (error.name or "").partition(".")
        if package not in RUNNER_MODULES:
            raise
        raise UserError(
            f"this command needs {package}, which is not installed; run `make"
            " setup`, or `pip install '.[runner]'`, in the project's folder"
        ) from error


PROFILE = click.option(
    "--profile",
    default="offline",
    show_default=True,
    help="Folder in params/ with the parameters to use.",
)
FORCE = click.option(
    "--force", is_flag=True, help="Run even what is up to date."
)
JOBS = click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=0,
    help="Most notebooks to run at once; 0 (default): one for each core.",
)
PLAIN = click.option(
    "--plain-kernels",
    is_flag=True,
    help="Start each kernel as a new process, not by forking; slower.",
)
NOTEBOOKS = click.argument("notebooks", nargs=-1)


@commands.command()
@PROFILE
@FORCE
@JOBS
@PLAIN
@NOTEBOOKS
def run(
    profile: str,
    force: bool,
    jobs: int,
    plain_kernels: bool,
    notebooks: tuple[str, ...],
) -> None:
    """Execute NOTEBOOKS headless: 01 03; by default, the articles' five.

    Executed notebooks, metrics and figures go to outputs/PROFILE/. Finished
    notebooks are skipped unless parameters, code, inputs or packages have
    changed.
    """
    from nlp_helpers.runner import tasks

    planned = tasks.plan(profile, notebooks)
    _run_and_report(
        lambda runner: runner.run(planned), force, jobs, not plain_kernels
    )


def _run_and_report(
    run: "Callable[[Runner], Iterable[Result]]",
    force: bool,
    jobs: int,
    use_forkserver: bool,
) -> None:
    """Show what happens, then a table; end with status 1 if a run failed."""
    from nlp_helpers.runner import forkserver

    if use_forkserver:
        forkserver.start()  # it imports while this process does the same
    from nlp_helpers.runner import console, pipeline

    with console.Display() as display:
        results = []
        runner = pipeline.Runner(
            force, jobs, use_forkserver, on_event=display.event
        )
        for result in run(runner):
            results.append(result)
            display.result(result)
    console.show(console.summary(results))
    problems = [result.problem for result in results if result.problem]
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    if problems:
        sys.exit(1)


@commands.command()
@PLAIN
@JOBS
@click.option(
    "--against",
    type=click.Path(exists=True, path_type=Path),
    help="Folder to compare with, default outputs/reference; with"
    " --published a file of the form of published.yaml.",
)
@click.option("--no-run", is_flag=True, help="Compare what the last run left.")
@click.option(
    "--published",
    is_flag=True,
    help="Run 1 to 3 of the hub profile, and compare with what the articles"
    " print.",
)
@NOTEBOOKS
def verify(
    plain_kernels: bool,
    jobs: int,
    against: Path | None,
    no_run: bool,
    published: bool,
    notebooks: tuple[str, ...],
) -> None:
    """Run NOTEBOOKS (default: the five) and compare with the reference.

    Status 0: all values are the same or within the tolerances of
    nlp_helpers/runner/tolerances.yaml; 1: a run failed; 3: a value differs.
    """
    from nlp_helpers.runner import console, tasks
    from nlp_helpers.runner import verify as comparison

    compare: comparison.Articles | comparison.Reference = (
        comparison.Articles(against)
        if published
        else comparison.Reference(against)
    )
    planned = tasks.plan(compare.profile, notebooks or compare.notebooks)
    for task in planned:
        compare.check(task.notebook)
    if not no_run:
        _run_and_report(
            lambda runner: runner.run(planned), True, jobs, not plain_kernels
        )
    differences = [
        difference for task in planned for difference in compare(task.notebook)
    ]
    for kept in filter(None, map(comparison.describe_kept, planned)):
        click.echo(kept, err=True)
    console.show(console.comparison(differences, whole=published))
    if any(d.verdict == comparison.DIFFERENT for d in differences):
        sys.exit(3)


@commands.command()
@NOTEBOOKS
def accept(notebooks: tuple[str, ...]) -> None:
    """Show how the last run differs, then make it the new reference.

    NOTEBOOKS of outputs/offline (default: the five) replace outputs/reference.
    """
    from nlp_helpers.runner import console, tasks
    from nlp_helpers.runner import verify as comparison

    outputs = paths.outputs()
    names = tasks.select(notebooks)
    known = comparison.reference_notebooks(outputs / "reference")
    differences = [
        difference
        for name in names
        if name in known
        for difference in comparison.compare(
            outputs / "offline", outputs / "reference", name
        )
    ]
    console.show(console.comparison(differences))
    for path in comparison.accept(names):
        click.echo(f"wrote {paths.shown(path)}")


@commands.command()
@click.argument("notebook")
def params(notebook: str) -> None:
    """Print type, range, help and values of NOTEBOOK's parameters.

    The values are those of every profile, the folders in params/.
    """
    from nlp_helpers import parameters
    from nlp_helpers.runner import console, tasks

    [name] = tasks.select((notebook,))
    rows = parameters.describe(name)
    values = tasks.read_profiles(name)
    console.show(console.parameters(name, rows, values))


@commands.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@FORCE
@JOBS
@PLAIN
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="local: this machine; ray: the cluster that RAY_ADDRESS names.",
)
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="With ray: processors for each combination.",
)
@click.option(
    "--gpus",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="With ray: GPUs for each combination.",
)
def sweep(
    file: Path,
    force: bool,
    jobs: int,
    plain_kernels: bool,
    engine: str,
    cores: int,
    gpus: float,
) -> None:
    """Run every combination of the parameters in FILE; compare them.

    Each combination has a folder below outputs/sweeps/; sweep.csv, sweep.md
    and sweep.png there compare them. Started again, only what is missing is
    run.
    """
    from nlp_helpers.runner import sweep as sweeps

    content = sweeps.read_sweep(file)
    folder = sweeps.folder_of(file)
    try:
        combinations = sweeps.plan(content, folder)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error

    def run(runner: "Runner") -> "Iterable[Result]":
        if engine == "ray":
            return sweeps.run_on_ray(combinations, force, cores, gpus)
        return runner.run([task for tasks in combinations for task in tasks])

    try:
        here = engine == "local" and not plain_kernels
        _run_and_report(run, force, jobs, here)
    finally:
        table = sweeps.tabulate(content, combinations)
        for path in sweeps.write(content, table, folder, combinations):
            click.echo(f"wrote {paths.shown(path)}")


@commands.command()
def status() -> None:
    """List the runs below outputs/: when, how they ended, how long."""
    from nlp_helpers.runner import cleanup, console

    console.show(console.runs(cleanup.runs()))


@commands.command()
@click.option("--dry-run", is_flag=True, help="List only; remove nothing.")
def clean(dry_run: bool) -> None:
    """Remove leftovers of runs; keep all results.

    Leftovers are half-written files of killed runs, and checkpoints that a
    finished notebook 05 no longer needs. What an interrupted run resumes from
    is kept.
    """
    from nlp_helpers.runner import cleanup

    total = 0
    for path, size in cleanup.clean(dry_run):
        total += size
        click.echo(f"{paths.shown(path)}: {size / 1e6:.1f} MB")
    verb = "would be" if dry_run else "were"
    click.echo(f"{total / 1e6:.1f} MB {verb} removed")


@commands.command()
@click.option(
    "--params",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default="params/offline/05_bert_fine_tuning.yaml",
    show_default=True,
    help="Parameters of notebook 05.",
)
@click.option("--output-dir", help="Replaces output_dir of PARAMS.")
def train(file: Path, output_dir: str | None) -> None:
    """Train as notebook 05 does, all seeds, into OUTPUT_DIR/training.

    Several processes, on one machine or more:

        accelerate launch --num_processes 4 -m nlp_helpers train

    If it is interrupted, start it again: it resumes. The last checkpoints are
    kept, so that notebook 05 can evaluate without training again.
    """
    from nlp_helpers import parameters
    from nlp_helpers.classification import training

    if not file.is_file():  # here; then it is one below the root
        file = paths.resolve(file)
    values = parameters.read_parameters("05_bert_fine_tuning", file)
    output = paths.resolve(output_dir or values["output_dir"]) / "training"
    for settings in training.read_settings(values):
        training.train(
            paths.resolve(values["data_dir"]),
            output / f"seed-{settings.seed}",
            settings,
            values["device"],
            values["checkpoint_every"],
        )


@commands.command()
@click.option(
    "--data",
    default="outputs/offline/04_amazon_preprocessing",
    show_default=True,
    help="What notebook 04 wrote: its output_dir.",
)
@click.option("--seed", default=0, show_default=True, help="Of the folds.")
@click.option(
    "--show", default=20, show_default=True, help="Rows on the screen."
)
def suspects(data: str, seed: int, show: int) -> None:
    """List the texts whose labels look wrong, the most suspect first.

    Each text is judged by a classifier that has not seen it, nor its group.
    All suspects go to DATA/suspects.csv; the labels stay as they are.
    """
    from nlp_helpers.classification import suspect_labels

    folder = paths.resolve(data)
    table = suspect_labels.judge_splits(folder / "splits", seed)
    target = folder / "suspects.csv"
    files.write_text(target, table.to_csv(index=False))
    screen = Table(Column("text", overflow="fold"), "label", "suggested")
    for row in table.head(show).itertuples():
        text = shorten(str(row.text), SHOWN_CHARACTERS, placeholder=" ...")
        screen.add_row(Text(text), str(row.label), str(row.suggested))
    if len(table):
        Console(markup=False, emoji=False).print(screen)
    click.echo(f"{len(table):,} suspect labels: {paths.shown(target)}")


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
    help="json: a line for each text at once; table: all at the end.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--text-field",
    default="",
    help="Column of a table, or field of JSON records, that holds the text;"
    " several together: '{title}. {text}'.",
)
@click.argument("file", type=click.File("rb"), default="-")
def predict(
    checkpoint: str, kind: str, device: str, text_field: str, file: BinaryIO
) -> None:
    """Label the texts of FILE (default: standard input).

    Each line is a text, unless FILE is a table with a header (CSV, TSV,
    Excel, Parquet) or JSON, packed or not; then it is each record's text.
    Empty texts are skipped. Predictions appear in the order of the texts,
    before all are read: text, label, and the probability of each label.
    """
    from nlp_helpers import session
    from nlp_helpers.classification import predicting
    from nlp_helpers.data import texts

    # Standard output is for the predictions alone.
    with redirect_stdout(sys.stderr):
        session.silence_libraries()
        session.limit_threads()
        folder = str(Path(checkpoint).resolve())
        torch_device = session.choose_device(device)
        loaded = predicting.load_classifier(folder, torch_device)
    inputs = texts.read_texts(file, text_field)
    predictions = _with_bar(predicting.classify(inputs, *loaded))
    if kind == "table":
        return Console(markup=False, emoji=False).print(
            _prediction_table(predictions)
        )
    if isinstance(sys.stdout, TextIOWrapper):  # unless a caller replaced it
        sys.stdout.reconfigure(encoding="utf-8")  # JSON is, in any locale
    for prediction in predictions:
        click.echo(json.dumps(prediction, ensure_ascii=False))


def _serve_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of a service's settings."""
    from nlp_helpers.serving.settings import Settings

    for name, field in reversed(Settings.model_fields.items()):
        many = isinstance(field.default, tuple)
        kind = get_args(field.annotation)[0] if many else field.annotation
        texts = [each for each in get_args(kind) if isinstance(each, str)]
        option = click.option(
            f"--{name.replace('_', '-')}",
            type=click.Choice(texts) if texts else type(field.default),
            default=field.default,
            multiple=many,
            show_default=bool(field.default),
            help=field.description,
        )
        command = option(command)
    return command


@commands.command()
@_serve_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 is all of this machine's.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0 chooses a free one.",
)
def serve(host: str, port: int, **values: Any) -> None:
    """Answer requests over HTTP, as Hugging Face's clients send them.

    One address a task: /text-classification, /fill-mask,
    /feature-extraction, /sentence-similarity, /text-generation; /docs lists
    all. A page to try them is at /. If NLP_HELPERS_TOKEN is set, clients must
    show it as a bearer token.
    """
    from pydantic import ValidationError

    from nlp_helpers import session
    from nlp_helpers.serving.settings import Settings

    try:
        settings = Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UserError(
            f"--{name} {first['input']}: {first['msg']}"
        ) from error
    from nlp_helpers.serving import process

    session.silence_libraries()
    session.limit_threads()
    process.serve(settings, host, port)


@commands.group()
def course() -> None:
    """Mark the course's tasks."""


@course.command()
@click.option(
    "--csv",
    "table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the marks go; default FOLDER/marks.csv.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300,
    show_default=True,
    help="Seconds for a notebook.",
)
@click.option(
    "--cell-timeout",
    type=click.FloatRange(min=0.1),
    default=60,
    show_default=True,
    help="Seconds for a cell of it, or a check.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=1),
    default=8,
    show_default=True,
    help="Gigabytes for a notebook.",
)
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
def grade(
    folder: Path,
    table: Path | None,
    timeout: float,
    cell_timeout: float,
    memory: float,
) -> None:
    """Mark all handed-in notebooks in FOLDER, and write a table.

    Each notebook runs in a process of its own, with limits of time, memory
    and processes, and without a network. That limits accidents; it is no
    sandbox against malice: a notebook can do whatever you may do. Mark only
    those of people whom you trust, or on a machine that holds nothing else.
    """
    from nlp_helpers.course import grader
    from nlp_helpers.course.limits import Limits

    table = table or folder / "marks.csv"
    limits = Limits(timeout, cell_timeout, memory)
    marks: list[grader.Mark] = []
    total = len(grader.find_notebooks(folder))
    for number, new in enumerate(grader.grade(folder, limits), start=1):
        marks += new
        files.write_text(table, grader.as_csv(marks))
        points, of = (
            sum(getattr(mark, name) for mark in new)
            for name in ("points", "of")
        )
        click.echo(
            f"{number} of {total}: {new[0].file}: {points} of {of} points"
        )
    click.echo(f"marks of {len(marks)} tasks: {table}")


def _with_bar(
    predictions: Iterable[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Count predictions on standard error; say at the end how many, how fast.

    Raises:
        UserError: there are none.
    """
    bar = tqdm(predictions, unit=" texts", disable=not sys.stderr.isatty())
    count, started = 0, time.perf_counter()
    for prediction in bar:
        count += 1
        yield prediction
    if not count:
        raise UserError("the input has no text; give one text per line")
    rate = count / (time.perf_counter() - started)
    click.echo(f"{count:,} texts, {rate:,.0f} a second", err=True)


def _prediction_table(predictions: Iterable[dict[str, Any]]) -> Table:
    """Tabulate text, label and probabilities."""
    rows = list(predictions)
    names = [name for name in rows[0] if name not in ("text", "label")]
    columns = (Column(name, justify="right") for name in names)
    table = Table(Column("text", overflow="fold"), "label", *columns)
    for row in rows:
        shares = (f"{row[name]:.3f}" for name in names)
        table.add_row(Text(row["text"]), row["label"], *shares)
    return table
