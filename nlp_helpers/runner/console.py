"""What a person sees of runs: progress, tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from nlp_helpers.core import paths
from nlp_helpers.core.verdicts import CLOSE, DIFFERENT, SAME, Difference
from nlp_helpers.runner.tasks import Result

SHOWN_METRICS = 3
MAX_METRIC_LENGTH = 20  # characters; a longer text would swamp the table
COLOURS = {SAME: "green", CLOSE: "yellow", DIFFERENT: "red"}


def show(table: Table) -> None:
    """Print a table; what looks like rich's markup is text of a user's."""
    Console(markup=False, emoji=False).print(table)


class Display:
    """Bars where a person watches, lines where nobody does."""

    def __init__(self) -> None:
        """Look whether a person watches."""
        self.console = Console(emoji=False)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> "Display":
        """Begin."""
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bars."""
        self.bars.stop()

    def event(self, name: str, event: str) -> None:
        """Show that a notebook has begun, or ended a cell (`3/20`)."""
        if event == "running":
            self.tasks[name] = self.bars.add_task(name, total=None)
            self._say(f"{name}: running")
            return
        number, total = map(int, event.split("/"))
        self.bars.update(self.tasks[name], completed=number, total=total)

    def result(self, result: Result) -> None:
        """Show what became of a notebook."""
        if result.notebook in self.tasks:
            self.bars.remove_task(self.tasks.pop(result.notebook))
        took = f" in {result.seconds:.0f} s" if result.seconds else ""
        self._say(f"{result.notebook}: {result.status}{took}")

    def _say(self, line: str) -> None:
        """Print a line above the bars, whole, whatever the width."""
        self.console.print(line, soft_wrap=True, markup=False, highlight=False)


def summary(results: Iterable[Result]) -> Table:
    """Tabulate notebook, status, seconds, main metrics and path."""
    table = Table(
        "notebook",
        "status",
        Column("seconds", justify="right"),
        Column("main metrics", no_wrap=True),
        Column("path", overflow="fold"),
    )
    for result in sorted(results, key=lambda result: result.notebook):
        metrics = [
            f"{name} {value:.3g}"
            if isinstance(value, float)
            else f"{name} {value}"
            for name, value in result.metrics.items()
            if len(str(value)) <= MAX_METRIC_LENGTH
        ]
        variant, _, name = result.notebook.rpartition(": ")
        table.add_row(
            f"{name[:2]} {variant}".strip(),
            result.status,
            f"{result.seconds:.1f}" if result.seconds else "",
            "\n".join(metrics[:SHOWN_METRICS]),
            paths.shown(result.output),
        )
    return table


def comparison(
    differences: Iterable[Difference], whole: bool = False
) -> Table:
    """Tabulate what is not the same, or the whole; count what is."""
    compared = list(differences)
    counts = {
        verdict: sum(d.verdict == verdict for d in compared)
        for verdict in COLOURS
    }
    table = Table(
        "notebook",
        "value",
        "reference",
        "this run",
        "verdict",
        title=", ".join(f"{n} {verdict}" for verdict, n in counts.items()),
        title_justify="left",
    )
    for difference in compared:
        if whole or difference.verdict != SAME:
            table.add_row(
                difference.notebook[:2],
                difference.name,
                difference.expected,
                difference.actual,
                Text(difference.verdict, COLOURS[difference.verdict]),
            )
    return table


def parameters(
    notebook: str,
    rows: Iterable[Mapping[str, str]],
    values: Mapping[str, Mapping[str, Any]],
) -> Table:
    """Tabulate name, type and range, help, and the value of each profile."""
    columns = (Column(name, overflow="fold") for name in values)
    name = Column("parameter", no_wrap=True)  # it is there to be copied
    table = Table(name, "type", "help", *columns, title=notebook)
    for row in rows:
        cells = (str(profile[row["name"]]) for profile in values.values())
        table.add_row(row["name"], row["type"], row["help"], *cells)
    return table


def runs(records: Iterable[tuple[str, Mapping[str, Any]]]) -> Table:
    """Tabulate the records of runs."""
    table = Table(
        Column("run", overflow="fold"),
        "status",
        "started",
        Column("seconds", justify="right"),
        Column("error", overflow="fold"),
    )
    for folder, content in records:
        table.add_row(
            folder,
            content["status"],
            content.get("started", ""),
            str(content.get("seconds", "")),
            "; ".join(filter(None, [content.get("error"), _kept(content)])),
        )
    return table


def _kept(content: Mapping[str, Any]) -> str:
    """Say of which run the results are, if not of the last one."""
    if "kept" not in content:
        return ""
    return f"kept: the results of {content['kept']['started']}"
