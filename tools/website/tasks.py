"""The tasks of the course on one page: what is asked, and its solution folded.

The student's notebook has the starter code, the solution notebook the same
cells solved and executed. A cell keeps its id in both.
"""

import copy
from typing import Any

PROMPTS = {
    "code_prompt_show": "Show the solution",
    "code_prompt_hide": "Hide the solution",
}


def fold_solutions(solved: dict[str, Any], student: dict[str, Any]) -> None:
    """Put the starter code before each solution, and fold the solution.

    What `check` says stands for itself in the student's notebook alone: here
    it would call the dots right.

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
        elif "".join(cell["source"]).startswith("check("):
            cell["outputs"] = []
        cells.append(cell)
    solved["cells"] = cells
