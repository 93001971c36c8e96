"""Make the course's notebooks from their sources: `python -m tools.course`.

A source, `course/NN_name.ipynb`, is an nbgrader notebook with solutions. From
it come the student's notebook, the solutions, executed, and the folder that
nbgrader's commands work in. course/README.md has the form of a source.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import nbformat
from nbconvert.preprocessors import (
    CoalesceStreamsPreprocessor,
    ExecutePreprocessor,
    Preprocessor,
)
from nbformat import NotebookNode

from nlp_helpers.core import files
from nlp_helpers.core.errors import UserError, run_command
from nlp_helpers.course import checking
from tools import badges

ROOT = Path(__file__).resolve().parent.parent
COURSE = ROOT / "course"
NBGRADER = ROOT / "build" / "course" / "nbgrader"
STUB = "pass  # your code here"  # stands where a solution stood
CHECK = re.compile(r'check\("(\d\d\.\d+)"')
SETTINGS = f"""\
# Settings of nbgrader for this course; written by tools/course.py.
c = get_config()
c.CourseDirectory.course_id = "nlp_helpers"
c.ExecutePreprocessor.timeout = 300  # seconds a cell
c.ClearSolutions.code_stub = {{"python": {STUB!r}}}
"""
# What of a source is no solution, but no use beside one either.
MARKS = re.compile(r"^ *### (BEGIN|END) SOLUTION\n?", re.MULTILINE)
DOTS = re.compile(r"^[\w, ]+ = \.\.\.(, \.\.\.)*\n", re.MULTILINE)


def sources(names: Sequence[str] = ()) -> list[Path]:
    """Return the source notebooks: all, or those with these numbers.

    Raises:
        UserError: there is none for a number.
    """
    found = sorted(COURSE.glob("[0-9][0-9]_*.ipynb"))
    known = {path.name[:2]: path for path in found}
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"there is no source for {', '.join(unknown)} in course/; there"
            f" are {', '.join(known)}"
        )
    return [known[name] for name in names] if names else found


def read(path: Path) -> NotebookNode:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def complete(notebook: NotebookNode, name: str) -> NotebookNode:
    """Return a source with all that follows from its cells' texts.

    Args:
        notebook: the source.
        name: of the notebook, `01_next_token`.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.cells[1].source = badges.set_up_text(name, folder=badges.TASKS)
    notebook.cells[2].source = badges.set_up_code(name)
    for number, cell in enumerate(notebook.cells, start=1):
        _complete_cell(cell)
        task = CHECK.match(cell.source)
        cell.id = (
            f"{'check' if task else 'cell'}-{name[:2]}-"
            f"{task[1].partition('.')[2] if task else f'c{number:02}'}"
        )
        cell.metadata["nbgrader"]["grade_id"] = cell.id
    return notebook


def _complete_cell(cell: NotebookNode) -> None:
    """Write hidden tests and nbgrader's metadata into a cell."""
    solution = "### BEGIN SOLUTION" in cell.source
    check = CHECK.match(cell.source)
    metadata: dict[str, Any] = {
        "grade": bool(check),
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if check:
        task = checking.find_task(check[1])
        arguments = ", ".join([f'"{task.number}"', *task.names])
        cell.source = (
            f"check({arguments})\n"
            "### BEGIN HIDDEN TESTS\n"
            "from nlp_helpers.course import require\n\n"
            f"require({arguments})\n"
            "### END HIDDEN TESTS"
        )
        metadata["points"] = task.points
    cell.metadata["nbgrader"] = metadata
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None


def student(source: NotebookNode) -> NotebookNode:
    """Return the student's notebook: no solutions, no hidden tests."""
    from nbgrader import preprocessors

    return _convert(
        source,
        [
            preprocessors.LockCells(),
            preprocessors.ClearSolutions(code_stub={"python": STUB}),
            preprocessors.ClearOutput(),
            preprocessors.ClearHiddenTests(),
        ],
    )


class ShowSolutions(Preprocessor):
    """Take away what a source has for nbgrader and for the student alone."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: Any, index: int
    ) -> tuple[NotebookNode, Any]:
        """Leave the solution alone, without marks and starter's dots."""
        if "### BEGIN SOLUTION" in cell.source:
            cell.source = DOTS.sub("", MARKS.sub("", cell.source)).rstrip()
        cell.metadata.pop("nbgrader", None)
        return cell, resources


def solution(source: NotebookNode, run: bool = True) -> NotebookNode:
    """Return the notebook with its solutions.

    Args:
        source: the source.
        run: whether to execute it; takes up to a minute.

    Raises:
        CellExecutionError: a cell raises an error.
    """
    from nbgrader import preprocessors

    steps = [preprocessors.ClearHiddenTests(), ShowSolutions()]
    if run:
        steps.append(
            ExecutePreprocessor(
                timeout=600, kernel_name="python3", record_timing=False
            )
        )
        # A line may come from the kernel in two pieces, or in one.
        steps.append(CoalesceStreamsPreprocessor())
    return _convert(source, steps)


def _convert(
    notebook: NotebookNode, steps: Sequence[Preprocessor]
) -> NotebookNode:
    """Pass a copy of a notebook through preprocessors."""
    notebook = nbformat.from_dict(notebook)
    resources: Any = {"metadata": {"path": str(ROOT)}}
    for step in steps:
        step.enabled = True
        notebook, resources = step.preprocess(notebook, resources)
    notebook.metadata = {
        "kernelspec": notebook.metadata.kernelspec,
        "language_info": {"name": "python"},
    }
    return notebook


def text_of(notebook: NotebookNode) -> str:
    """Return a notebook as it is written into its file."""
    return nbformat.writes(notebook, indent=1) + "\n"


def write_assignments(paths: Sequence[Path], folder: Path) -> None:
    """Write what nbgrader's commands work in: an assignment a notebook."""
    files.write_text(folder / "nbgrader_config.py", SETTINGS)
    for path in paths:
        target = folder / "source" / path.stem / path.name
        files.write_text(target, path.read_text("utf-8"))


@click.command()
@click.option("--no-run", is_flag=True, help="Leave the solutions out.")
@click.argument("numbers", nargs=-1)
def build(no_run: bool, numbers: tuple[str, ...]) -> None:
    """Make student's and solution notebooks of NUMBERS (all), and assignments.

    The sources are completed too: set-up cell, hidden tests, metadata.
    """
    os.environ["NLP_HELPERS_HEADLESS"] = "1"
    os.environ["NLP_HELPERS_FLOAT32"] = "1"
    paths = sources(numbers)
    for path in paths:
        source = complete(read(path), path.stem)
        files.write_text(path, text_of(source))
        files.write_text(
            COURSE / "student" / path.name, text_of(student(source))
        )
        click.echo(f"{path.name}: student's notebook")
        if not no_run:
            target = COURSE / "solutions" / path.name
            files.write_text(target, text_of(solution(source)))
            click.echo(f"{path.name}: solutions, executed")
    write_assignments(paths, NBGRADER)
    click.echo(f"nbgrader's folder: {NBGRADER.relative_to(ROOT)}")


if __name__ == "__main__":
    run_command(build)
