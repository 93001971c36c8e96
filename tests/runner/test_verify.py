import json
import shutil

import nbformat
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from runs import command

from nlp_helpers.core.errors import UserError
from nlp_helpers.parameters import SCHEMAS
from nlp_helpers.runner import record, stages, tasks, verify

NAME = "01_next_token"


@pytest.fixture
def outputs(root, project, monkeypatch):
    """Return outputs/ with the reference as the last run, all finished."""
    monkeypatch.setenv("COLUMNS", "200")
    for folder in ("params", "notebooks", "outputs/reference"):
        shutil.copytree(project / folder, root / folder)
    shutil.copytree(root / "outputs/reference", root / "outputs/offline")
    for name in SCHEMAS:
        path = root / "outputs" / "offline" / name / "run.json"
        path.write_text('{"status": "finished"}')
    return root / "outputs"


def change_metric(outputs, notebook, name, change):
    path = outputs / "offline" / notebook / "metrics.json"
    content = json.loads(path.read_text())
    content[name] = change(content[name])
    path.write_text(json.dumps(content))


def change_cells(outputs, notebook, old, new):
    path = outputs / "offline" / f"{notebook}.ipynb"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def verdicts(outputs, notebook):
    found = verify.compare(
        outputs / "offline", outputs / "reference", notebook
    )
    return {
        one.name: one.verdict for one in found if one.verdict != verify.SAME
    }


def test_a_failed_run_is_not_compared(outputs):
    path = outputs / "offline" / NAME / "run.json"
    path.write_text('{"status": "failed"}')
    done = command("verify", "--no-run", "01")
    assert done.returncode == 1 and "has no finished run" in done.stderr


def test_the_reference_is_the_same_as_itself(outputs):
    for name in SCHEMAS:
        found = verify.compare(
            outputs / "offline", outputs / "reference", name
        )
        assert len(found) > 15
        assert {one.verdict for one in found} == {verify.SAME}
    done = command("verify", "--no-run")
    assert done.returncode == 0, done.stderr
    assert "0 within tolerance, 0 different" in done.stdout


@pytest.mark.parametrize(
    ("name", "change", "verdict"),
    [
        ("best_probability", lambda v: v * 1.005, verify.CLOSE),
        ("best_probability", lambda v: v * 1.02, verify.DIFFERENT),
        ("best_token", lambda v: "nobody", verify.DIFFERENT),
        ("tokens_in_nucleus", lambda v: v + 3, verify.CLOSE),
        ("tokens_in_nucleus", lambda v: v + 4, verify.DIFFERENT),
        ("best_probability", lambda v: "none", verify.DIFFERENT),
    ],
)
def test_a_metric_is_judged_by_its_tolerance(outputs, name, change, verdict):
    change_metric(outputs, NAME, name, change)
    assert verdicts(outputs, NAME) == {name: verdict}
    done = command("verify", "--no-run", "01")
    assert done.returncode == (3 if verdict == verify.DIFFERENT else 0)
    assert name in done.stdout and verdict in done.stdout


def test_a_missing_or_a_new_metric_is_different(outputs):
    path = outputs / "offline" / NAME / "metrics.json"
    content = json.loads(path.read_text())
    content["new"] = content.pop("best_token")
    path.write_text(json.dumps(content))
    assert verdicts(outputs, NAME) == {
        "best_token": verify.DIFFERENT,
        "new": verify.DIFFERENT,
    }


def test_text_and_numbers_of_a_cell_are_compared(outputs):
    name = "04_amazon_preprocessing"
    change_cells(outputs, name, "wrote records, rows", "wrote rows")
    [(place, verdict)] = verdicts(outputs, name).items()
    assert place.startswith("cell ") and verdict == verify.DIFFERENT


def test_other_code_is_different(outputs):
    change_cells(outputs, NAME, "session.start(", "session.start( ")
    assert verdicts(outputs, NAME) == {"cells": verify.DIFFERENT}


def test_the_machine_is_not_compared(outputs):
    change_cells(outputs, NAME, "seed 2018 | cpu", "seed 2018 | cuda")
    assert verdicts(outputs, NAME) == {}


def finish(outputs):
    """Write the record of a finished run of what is there."""
    [task] = tasks.plan("offline", ("01",))
    found = record.describe(task, stages.read_stages()[NAME])
    found |= {"status": "finished", "artifacts": record.artifacts(task.output)}
    path = outputs / "offline" / NAME / "run.json"
    path.write_text(json.dumps(found))


def test_accept_takes_over_what_was_run_and_nothing_else(outputs, project):
    finish(outputs)
    change_metric(outputs, NAME, "best_token", lambda value: "nobody")
    done = command("accept", "01")
    assert done.returncode == 1
    assert "run.json does not match the results beside it" in done.stderr
    finish(outputs)
    notebook = outputs.parent / "notebooks" / f"{NAME}.ipynb"
    notebook.write_text(notebook.read_text() + "\n")
    done = command("accept", "01")
    assert done.returncode == 1
    assert (
        "run.json was made with other code, parameters or inputs"
        in done.stderr
    )
    assert verdicts(outputs, NAME) == {"best_token": verify.DIFFERENT}
    path = outputs / "offline" / NAME / "run.json"
    path.write_text('{"status": "failed"}')
    with pytest.raises(UserError, match="does not record a finished run; run"):
        verify.accept([NAME])


def test_accept_shows_the_difference_and_replaces(outputs):
    change_metric(outputs, NAME, "best_token", lambda value: "nobody")
    finish(outputs)
    done = command("accept", "01")
    assert done.returncode == 0, done.stderr
    assert "nobody" in done.stdout and "different" in done.stdout
    assert f"wrote outputs/reference/{NAME}/metrics.json" in done.stdout
    assert verdicts(outputs, NAME) == {}


def inject(outputs, **changes):
    """Let papermill put the offline profile's parameters into the run."""
    path = outputs / "offline" / f"{NAME}.ipynb"
    notebook = load_notebook_node(str(path))
    notebook.cells = [
        cell
        for cell in notebook.cells
        if verify.INJECTED_TAG not in cell.metadata.get("tags", [])
    ]
    [task] = tasks.plan("offline", ("01",))
    notebook = parameterize_notebook(notebook, {**task.values, **changes})
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
    nbformat.write(notebook, path)


def parameter_cells(outputs):
    path = outputs / "reference" / f"{NAME}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == [*range(1, len(code) + 1)]
    return [c for c in code if 'model_name = "smollm2-135m"' in c.source]


def test_the_reference_shows_the_parameters_once(outputs):
    inject(outputs)
    finish(outputs)
    verify.accept([NAME])
    assert len(parameter_cells(outputs)) == 1
    assert verdicts(outputs, NAME) == {}


def test_the_reference_shows_parameters_that_are_not_the_notebooks(outputs):
    inject(outputs, num_steps=9)
    finish(outputs)
    verify.accept([NAME])
    assert len(parameter_cells(outputs)) == 2


def test_what_is_not_there_is_one_line(outputs):
    (outputs / "offline" / f"{NAME}.ipynb").unlink()
    with pytest.raises(UserError, match="nlp_helpers run 01` first"):
        verify.compare(outputs / "offline", outputs / "reference", NAME)


def test_every_tolerance_is_of_a_metric(project):
    names = set()
    for name in SCHEMAS:
        path = project / "outputs" / "reference" / name / "metrics.json"
        names |= json.loads(path.read_text()).keys()
    assert set(verify.read_tolerances()["metrics"]) <= names


def test_a_reference_that_lacks_a_file_can_be_made(outputs):
    metrics = outputs / "reference" / NAME / "metrics.json"
    metrics.unlink()
    finish(outputs)
    done = command("verify", "01")  # before anything runs
    assert done.returncode == 1
    assert (
        "there is no outputs/reference" in done.stderr
        and "accept 01" in done.stderr
    )
    assert command("accept", "01").returncode == 0
    assert metrics.exists()
