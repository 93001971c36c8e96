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
USUAL = "02_fill_mask"
NAMES = [path.stem for path in sorted(course.COURSE.glob("*.ipynb"))]


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


@pytest.fixture(
    scope="module",
    params=[
        # Each takes a minute or more; the others are made in the same way.
        name
        if name == USUAL
        else pytest.param(name, marks=pytest.mark.further)
        for name in NAMES
    ],
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def solved(name):
    """Which tasks each of three students has solved."""
    tasks = [*checking.notebook_tasks(name[:2])]
    half = tasks[: len(tasks) // 2]  # a task may use what one before it made
    return {"solved": tasks, "empty": [], "half": half}


@pytest.fixture(scope="module")
def folder(activated, tmp_path_factory, name, solved):
    """A course's folder with an assignment, and what three students sent."""
    folder = tmp_path_factory.mktemp("nbgrader")
    path = course.COURSE / f"{name}.ipynb"
    course.write_assignments([path], folder)
    nbgrader(folder, "generate_assignment", name)
    released = nbformat.read(folder / "release" / name / path.name, 4)
    source = course.read(path)
    for student, numbers in solved.items():
        target = folder / "submitted" / student / name
        target.mkdir(parents=True)
        notebook = solve(released, source, numbers)
        nbformat.write(notebook, target / path.name)
    nbgrader(folder, "autograde", name)
    return folder


def scores(folder, name, student):
    """Return the points of each task that nbgrader's gradebook has."""
    with api.Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as gradebook:
        submission = gradebook.find_submission(name, student)
        [notebook] = submission.notebooks
        return {
            f"{name[:2]}.{grade.name.rpartition('-')[2]}": grade.score
            for grade in notebook.grades
        }


def test_the_release_is_the_students_notebook(folder, name):
    released = nbformat.read(folder / "release" / name / f"{name}.ipynb", 4)
    ours = nbformat.read(course.COURSE / "student" / f"{name}.ipynb", 4)
    assert [c.source for c in released.cells] == [c.source for c in ours.cells]


@pytest.mark.parametrize("student", ["solved", "empty", "half"])
def test_a_student_gets_the_points_of_what_is_solved(
    folder, name, solved, student
):
    tasks = checking.notebook_tasks(name[:2])
    assert scores(folder, name, student) == {
        number: task.points * (number in solved[student])
        for number, task in tasks.items()
    }


def test_the_half_is_a_part(folder, name):
    tasks = checking.notebook_tasks(name[:2])
    total = sum(scores(folder, name, "solved").values())
    assert total == sum(task.points for task in tasks.values())
    assert 0 < sum(scores(folder, name, "half").values()) < total
