"""Run one handed-in notebook and mark it: a process that `grader` starts.

The student's cells run first, each with a time limit. Then the checks are
imported anew, so that what the cells did to them is gone, and judge what the
cells left in the variables that the tasks name.
"""

import contextlib
import importlib
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from textwrap import shorten
from typing import Any

from nlp_helpers.course import limits

CHECK = re.compile(r"""check\(\s*["'](\d\d)\.\d+["']""")
NO_ANSWER = "no answer"
MAX_ERROR = 200  # characters of an error in a table


def code_cells(path: Path) -> list[str]:
    """Return the texts of a notebook's code cells.

    Raises:
        ValueError: the file is no notebook.
    """
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        return [
            "".join(cell["source"])
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no notebook: {error}") from error


def find_notebook(path: Path, cells: list[str]) -> str:
    """Return which notebook's tasks these cells answer, as `01`, or nothing.

    The checks say it, or else the name of the file does.
    """
    asked = Counter(n for cell in cells for n in CHECK.findall(cell))
    if asked:
        return asked.most_common(1)[0][0]
    named = re.match(r"\d\d(?=\D)", path.name)
    return named[0] if named else ""


def run_cells(cells: list[str], seconds: float) -> tuple[dict[str, Any], str]:
    """Run cells as a notebook does; errors end the cell that raises them.

    Args:
        cells: their texts.
        seconds: that each of them may take.

    Returns:
        The variables that they leave, and the first error, in a line.
    """
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    here, first = os.getpid(), ""
    for number, cell in enumerate(cells, start=1):
        with contextlib.suppress(limits.TimeLimit, SystemExit):
            with limits.time_limit(seconds):
                done = shell.run_cell(cell, store_history=False)
            error = done.error_before_exec or done.error_in_exec
            if error and not first:
                said = shorten(str(error), MAX_ERROR, placeholder=" ...")
                kind = type(error).__name__
                first = f"code cell {number} raised {kind}: {said}"
        if os.getpid() != here:  # a forked process that came this far
            os._exit(0)
    return dict(shell.user_ns), first


def import_anew() -> Any:
    """Import the checks as they are installed, whatever cells did to them."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "nlp_helpers" and name != __name__:
            del sys.modules[name]
    return importlib.import_module("nlp_helpers.course.checking")


def mark(
    checking: Any, task: Any, names: dict[str, Any], seconds: float
) -> str:
    """Return what is wrong with the answer to a task, or nothing."""
    missing = [name for name in task.names if name not in names]
    if missing:
        return f"{NO_ANSWER}: there is no {', '.join(missing)}"
    try:
        with limits.time_limit(seconds):
            answers = [names[name] for name in task.names]
            return str(checking.judge(task, *answers).problem)
    except limits.TimeLimit as error:
        return str(error)
    except Exception as error:  # of an answer that is like no other
        return f"the answer raises {type(error).__name__}: {error}"


def main(
    path: Path,
    number: str,
    results: Path,
    environment: dict[str, str],
    allowed: limits.Limits,
    taken: int,
) -> None:
    """Mark a notebook, in a process of its own; write a line a task.

    Args:
        path: of the notebook.
        number: of the course notebook that it answers.
        results: the file to write to, in a folder with one called `work`.
        environment: what to add to this process's.
        allowed: what the notebook may take.
        taken: see `limits.apply`.
    """
    cells = code_cells(path)
    os.setsid()
    os.environ.update(environment)
    os.chdir(results.parent / "work")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    limits.apply(allowed, taken)
    search = list(sys.path)
    names, error = run_cells(cells, allowed.cell_timeout)
    sys.path[:] = search
    checking = import_anew()
    with open(results, "w", encoding="utf-8") as file:
        for task in checking.notebook_tasks(number).values():
            problem = mark(checking, task, names, allowed.cell_timeout)
            if problem.startswith(NO_ANSWER) and error:
                problem += f"; {error}"
            file.write(json.dumps([task.number, problem]) + "\n")
            file.flush()
    os._exit(0)  # whatever threads the cells have left
