"""Student's notebooks and solutions are what their sources make of them."""

import contextlib
import io

import nbformat
import pytest

from nlp_helpers.course import checking

pytest.importorskip("nbgrader", reason="needs requirements/docs.txt")
pytestmark = pytest.mark.slow  # make test-all installs what it needs

from tools import course  # noqa: E402

PATHS = course.sources()


def ids(path):
    return path.stem


def checks(notebook):
    return [c for c in notebook.cells if c.source.startswith('check("')]


def run(notebook):
    """Run a notebook's code here; return what its checks printed."""
    namespace, said = {}, {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(cell.source, cell.id, "exec"), namespace)
            if cell in checks(notebook):
                said[cell.id] = out.getvalue()
    return said


def test_every_notebook_with_tasks_has_a_source():
    assert [path.name[:2] for path in PATHS] == list(checking.NOTEBOOKS)


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_a_source_is_complete(path):
    source = course.read(path)
    expected = course.text_of(course.complete(source, path.stem))
    assert path.read_text("utf-8") == expected, "run python -m tools.course"


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_the_first_cell_says_where_to_write(path):
    """Students' cells have both dots and, where a solution was, `pass`."""
    intro = course.read(path).cells[0].source
    assert "`pass`" in intro and course.STUB.startswith("pass")
    assert "dots" in intro


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_a_source_asks_every_task_in_order(path):
    source = course.read(path)
    tasks = checking.notebook_tasks(path.name[:2]).values()
    asked = [course.CHECK.match(c.source)[1] for c in checks(source)]
    assert asked == [task.number for task in tasks]
    headings = [c.source for c in source.cells if c.cell_type == "markdown"]
    for task in tasks:
        assert any(t.startswith(f"## {task.number} ") for t in headings)
    for cell in source.cells:
        assert len(cell.source.splitlines()) <= 20
        if cell.cell_type == "code":
            assert max(map(len, cell.source.splitlines())) <= 79


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_a_students_notebook_is_what_the_source_makes(path):
    committed = course.COURSE / "student" / path.name
    expected = course.text_of(course.student(course.read(path)))
    assert committed.read_text("utf-8") == expected


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_a_students_notebook_has_no_solution(path):
    text = (course.COURSE / "student" / path.name).read_text("utf-8")
    assert "SOLUTION" not in text and "HIDDEN" not in text
    assert "require(" not in text
    given, hidden = set(), []
    for cell in course.read(path).cells:
        inside = False
        for line in cell.source.splitlines():
            if "### BEGIN SOLUTION" in line or "### END SOLUTION" in line:
                inside = "BEGIN" in line
            elif inside and len(line.split()) > 2:
                hidden.append(line.strip())
            else:
                given.add(line.strip())
    notebook = nbformat.reads(text, 4)
    lines = {
        line.strip()
        for cell in notebook.cells
        for line in cell.source.splitlines()
    }
    assert hidden
    assert not [x for x in hidden if x in lines and x not in given]
    for cell in notebook.cells:
        assert cell.cell_type != "code" or not cell.outputs


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_the_solutions_are_what_the_source_makes_executed(path):
    committed = nbformat.read(course.COURSE / "solutions" / path.name, 4)
    expected = course.solution(course.read(path), run=False)
    assert [c.source for c in committed.cells] == [
        c.source for c in expected.cells
    ]
    said = [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in checks(committed)
    ]
    tasks = checking.notebook_tasks(path.name[:2])
    assert said == [f"{number}: right\n" for number in tasks]
    for cell in committed.cells:
        assert cell.cell_type != "code" or cell.execution_count


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_every_solution_passes_its_check(path):
    """The source's cells, with the hidden tests, which raise errors."""
    said = run(course.read(path))
    tasks = checking.notebook_tasks(path.name[:2])
    assert list(said.values()) == [f"{number}: right\n" for number in tasks]


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_no_untouched_starter_passes_its_check(path):
    said = run(course.student(course.read(path)))
    assert len(said) == len(checking.notebook_tasks(path.name[:2]))
    assert all(": not yet. " in line for line in said.values())


def test_a_notebook_that_is_not_there_is_named():
    with pytest.raises(course.UserError, match="no source for 77"):
        course.sources(["77"])
