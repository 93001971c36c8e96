"""nbgrader's own commands generate an assignment, and grade it."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from nlp_helpers.course import checking

api = pytest.importorskip("nbgrader.api", reason="extra `course` not there")

from tools import course  # noqa: E402

pytestmark = pytest.mark.slow  # each command takes half a minute or more
NAME = "02_fill_mask"
TASKS = checking.notebook_tasks("02")
HALF = [*TASKS][::2]


def nbgrader(folder, *arguments):
    """Run a command of nbgrader in a course's folder."""
    command = [sys.executable, "-m", "nbgrader", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def solve(released, source, numbers):
    """Return a released notebook in which some tasks are solved."""
    solved = nbformat.from_dict(released)
    solutions = {c.metadata.nbgrader.grade_id: c.source for c in source.cells}
    answer = None
    for cell in solved.cells:
        if cell.metadata.nbgrader.solution:
            answer = cell
        elif check := course.CHECK.match(cell.source):
            if check[1] in numbers:
                answer.source = solutions[answer.metadata.nbgrader.grade_id]
    return solved


@pytest.fixture(scope="module", autouse=True)
def activated():
    """nbgrader calls alembic by its name: the environment is activated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PATH", str(Path(sys.executable).parent), prepend=os.pathsep
        )
        yield


@pytest.fixture(scope="module")
def folder(activated, tmp_path_factory):
    """A course's folder with an assignment, and what three students sent."""
    folder = tmp_path_factory.mktemp("nbgrader")
    path = course.COURSE / f"{NAME}.ipynb"
    course.write_assignments([path], folder)
    nbgrader(folder, "generate_assignment", NAME)
    released = nbformat.read(folder / "release" / NAME / path.name, 4)
    source = course.read(path)
    numbers = {"solved": [*TASKS], "empty": [], "half": HALF}
    for student, solved in numbers.items():
        target = folder / "submitted" / student / NAME
        target.mkdir(parents=True)
        notebook = solve(released, source, solved)
        nbformat.write(notebook, target / path.name)
    nbgrader(folder, "autograde", NAME)
    return folder


def scores(folder, student):
    """Return the points of each task that nbgrader's gradebook has."""
    with api.Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as gradebook:
        submission = gradebook.find_submission(NAME, student)
        [notebook] = submission.notebooks
        return {
            f"02.{grade.name.rpartition('-')[2]}": grade.score
            for grade in notebook.grades
        }


def test_the_release_is_the_students_notebook(folder):
    released = nbformat.read(folder / "release" / NAME / f"{NAME}.ipynb", 4)
    ours = nbformat.read(course.COURSE / "student" / f"{NAME}.ipynb", 4)
    assert [c.source for c in released.cells] == [c.source for c in ours.cells]


@pytest.mark.parametrize(
    ("student", "solved"),
    [("solved", [*TASKS]), ("empty", []), ("half", HALF)],
)
def test_a_student_gets_the_points_of_what_is_solved(folder, student, solved):
    assert scores(folder, student) == {
        number: task.points * (number in solved)
        for number, task in TASKS.items()
    }


def test_the_half_is_a_part(folder):
    total = sum(scores(folder, "solved").values())
    assert total == sum(task.points for task in TASKS.values())
    assert 0 < sum(scores(folder, "half").values()) < total
