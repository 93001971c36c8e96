"""Mark a folder of handed-in notebooks, each in a process of its own."""

import csv
import io
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.course import checking, marking, watching
from nlp_helpers.course.limits import Limits
from nlp_helpers.course.task import Task

HEADER = ("file", "task", "points", "of", "message")
RIGHT = "right"
PRELOADED = (
    "IPython.core.interactiveshell",
    "nlp_helpers.models.loading",
    "sklearn.metrics",
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
    "nlp_helpers.course.marking",
)


@dataclass(frozen=True)
class Mark:
    """The mark of one task: a row of the table."""

    file: str
    task: str
    points: int
    of: int
    message: str


def find_notebooks(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and those below it, by name.

    Raises:
        UserError: there are none.
    """
    found = [
        path
        for path in sorted(folder.rglob("*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts and path.is_file()
    ]
    if not found:
        raise UserError(
            f"there is no notebook in {folder}; name the folder that holds the"
            " handed-in .ipynb files"
        )
    return found


def grade(folder: Path, limits: Limits) -> Iterator[list[Mark]]:
    """Mark the notebooks of a folder, one after the other.

    Args:
        folder: with handed-in notebooks, in folders of their own or not.
        limits: of each notebook.

    Yields:
        The marks of one notebook.

    Raises:
        UserError: there are no notebooks; or a package is missing.
    """
    if sys.platform == "win32":
        raise UserError(
            "Windows cannot limit memory and time of notebooks; grade on Linux"
            " or macOS, or in WSL"
        )
    try:
        import psutil  # noqa: F401 - of the extra `course`
    except ModuleNotFoundError as error:
        raise UserError(
            "grading needs psutil, which is not installed; run `pip install"
            " '.[course]'` in the project's folder"
        ) from error
    with watching.adopting():
        for path in find_notebooks(folder):
            yield grade_notebook(path, str(path.relative_to(folder)), limits)


def grade_notebook(path: Path, name: str, limits: Limits) -> list[Mark]:
    """Mark one notebook; a task that could not be marked has no points.

    Args:
        path: of the notebook.
        name: of its file in the table.
        limits: what it may take.
    """
    try:
        cells = marking.code_cells(path)
        number = marking.find_notebook(path, cells)
        tasks = checking.notebook_tasks(number)
    except (ValueError, UserError) as error:
        reason = " ".join(str(error).split())
        return [Mark(name, "", 0, 0, f"cannot be marked: {reason}")]
    problems, reason = run(path, number, limits)
    return [
        _mark(name, task, problems.get(task.number, reason))
        for task in tasks.values()
    ]


def _mark(name: str, task: Task, problem: str) -> Mark:
    """Return the mark of a task with this problem, or none."""
    points = 0 if problem else task.points
    return Mark(name, task.number, points, task.points, problem or RIGHT)


def run(path: Path, number: str, limits: Limits) -> tuple[dict[str, str], str]:
    """Run and mark a notebook in a process of its own.

    Args:
        path: of the notebook.
        number: of the course notebook that it answers.
        limits: what it may take.

    Returns:
        What is wrong with each task that was marked, and why others were not.
    """
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        results = Path(folder) / "results.jsonl"
        work = Path(folder) / "work"
        work.mkdir()
        process = context().Process(
            target=marking.main,
            args=(path.resolve(), number, results, environment(work)),
            kwargs={
                "allowed": limits,
                "taken": watching.count_processes(),
            },
            daemon=True,  # ends with this process
        )
        process.start()
        reason = watching.watch(process, limits)
        problems = {}
        if results.exists():
            for line in results.read_text("utf-8").splitlines():
                task, problem = json.loads(line)
                problems[task] = problem
    ended = f"the notebook ended its process (status {process.exitcode})"
    return problems, reason or ended


def context() -> ForkServerContext:
    """Return what forks processes from one that has imported the libraries.

    Importing them anew would take longer than most notebooks.
    """
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(list(PRELOADED))
    return forking


def environment(work: Path) -> dict[str, str]:
    """Return what a notebook's environment has besides this process's.

    What it writes, it writes into a folder of its own.

    Args:
        work: a folder that is removed afterwards.
    """
    return {
        "IPYTHONDIR": str(work / ".ipython"),
        "MPLBACKEND": "agg",
        "HF_HUB_OFFLINE": "1",
        paths.ROOT_VARIABLE: str(work),
        paths.CACHE_VARIABLE: str(paths.cache_folder()),
        paths.HEADLESS_VARIABLE: "1",
        paths.FLOAT32_VARIABLE: "1",
    }


def as_csv(marks: list[Mark]) -> str:
    """Return marks as a table, with a header."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADER)
    for mark in marks:
        table.writerow([getattr(mark, name) for name in HEADER])
    return text.getvalue()
