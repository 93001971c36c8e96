"""The tasks of the course on one page: what is asked, and its solution folded.

The student's notebook has the starter code, the solution notebook the same
cells solved and executed. A cell keeps its id in both.
"""

import copy
from importlib import import_module
from typing import Any

from tools import badges

QUIZZES = badges.ROOT / "nlp_helpers" / "course" / "quizzes"
DOWNLOAD = (
    "Solve them in a copy of your own: {{download}}`{name} <student/{name}>`."
    " The solutions are here, folded, for when you have tried."
)
QUIZ = (
    "Open the answer that you think is right: it says whether it is, and why."
)
PROMPTS = {
    "code_prompt_show": "Show the solution",
    "code_prompt_hide": "Hide the solution",
}


def fold_solutions(solved: dict[str, Any], student: dict[str, Any]) -> None:
    """Put the starter code before each solution, and fold the solution.

    Args:
        solved: the solution notebook; it is changed.
        student: the student's notebook, with nbgrader's marks.
    """
    starters = {
        cell["id"]: cell
        for cell in student["cells"]
        if cell["metadata"].get("nbgrader", {}).get("solution")
    }
    cells = []
    for cell in solved["cells"]:
        if starter := starters.get(cell["id"]):
            shown = copy.deepcopy(starter)
            shown["id"] = f"{cell['id']}-task"
            cells.append(shown)
            cell["metadata"].setdefault("tags", []).append("hide-cell")
            cell["metadata"]["mystnb"] = PROMPTS
        cells.append(cell)
    solved["cells"] = cells


def say_where(solved: dict[str, Any], name: str) -> None:
    """Say below the title where the student's notebook can be had."""
    text = DOWNLOAD.format(name=name)
    solved["cells"].insert(1, make_text("site-download", text))


def add_quiz(solved: dict[str, Any], name: str) -> None:
    """Put the questions on a notebook, if there are any, after its tasks."""
    if (QUIZZES / f"{name}.yaml").is_file():
        quiz = import_module("nlp_helpers.course.quiz").read_quiz(name)
        text = f"## Quiz\n\n{QUIZ}\n\n{quiz._repr_html_()}"
        solved["cells"].append(make_text("site-quiz", text))


def make_text(name: str, text: str) -> dict[str, Any]:
    """Return a cell of Markdown."""
    cell = {"cell_type": "markdown", "id": name, "metadata": {}}
    return {**cell, "source": text}
