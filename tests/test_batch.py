import json
import os
import shutil
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from nlp_helpers.batch.pipeline import update_reference
from nlp_helpers.errors import UserError
from nlp_helpers.parameters import SCHEMAS

NAME = "01_next_token"
WRITE_METRICS = """\
from nlp_helpers import files, paths
print("prompt:", prompt)
files.write_json(paths.resolve(output_dir) / "metrics.json", {"length": 4.5})
"""


@pytest.fixture
def run(root, project, python):
    """Return a function that runs a notebook of the given cells."""
    shutil.copytree(project / "params", root / "params")
    (root / "notebooks").mkdir()

    def run(*cells, arguments=("01",)):
        notebook = new_notebook(
            cells=[
                new_code_cell("prompt = output_dir = ''"),
                *map(new_code_cell, cells),
            ],
            metadata={"language_info": {"name": "python"}},
        )
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"
        notebook.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(notebook, root / "notebooks" / f"{NAME}.ipynb")
        return subprocess.run(
            [python, "-m", "nlp_helpers", "run", *arguments],
            cwd=root,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def record(root):
    path = root / "outputs" / "offline" / NAME / "run.json"
    return json.loads(path.read_text())


def output_text(root):
    path = root / "outputs" / "offline" / f"{NAME}.ipynb"
    return path.read_text()


def test_a_run_leaves_notebook_metrics_and_record(run, root):
    done = run(WRITE_METRICS)
    assert done.returncode == 0, done.stderr
    assert "01_next_token: done" in done.stdout
    assert "length 4.5" in done.stdout
    assert f"outputs/offline/{NAME}.ipynb" in done.stdout
    assert "prompt: what is name of the Indian" in output_text(root)
    assert record(root)["status"] == "finished"
    assert record(root)["parameters"]["top_k"] == 10
    names = {path.name for path in (root / "outputs/offline").iterdir()}
    assert names == {NAME, f"{NAME}.ipynb"}


def test_two_runs_write_the_same_bytes(run, root):
    run(WRITE_METRICS)
    first = output_text(root)
    run(WRITE_METRICS)
    assert output_text(root) == first


def test_a_failing_cell_ends_the_run_with_its_error(run, root):
    run(WRITE_METRICS)
    done = run(WRITE_METRICS, "x = 1 / 0", "print('never')")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"error: {NAME}.ipynb, cell `x = 1 / 0`: ZeroDivisionError:"
        " division by zero"
    )
    assert record(root)["status"] == "failed"
    assert "ZeroDivisionError" in output_text(root)


def test_old_metrics_do_not_outlive_a_failed_run(run, root):
    metrics = root / "outputs" / "offline" / NAME / "metrics.json"
    run(WRITE_METRICS)
    assert metrics.exists()
    run("x = 1 / 0", WRITE_METRICS)
    assert not metrics.exists()


def test_a_notebook_without_metrics_is_a_failure(run):
    done = run("print('nothing written')")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"error: {NAME} ended without writing" in last


def test_a_killed_kernel_is_a_failure_with_a_record(run, root):
    done = run("import os, signal", "os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == 1
    assert f"error: {NAME}.ipynb: Kernel died" in done.stderr
    assert record(root)["status"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("07",), "there is no notebook '07'; known: 01_next_token"),
        (("--profile", "ofline"), "no profile 'ofline'; known: hub, offline"),
    ],
)
def test_wrong_words_end_with_one_line(run, root, arguments, message):
    done = run(arguments=arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (root / "outputs").exists()


def test_a_wrong_parameter_ends_the_run_before_any_kernel(run, root):
    path = root / "params" / "offline" / f"{NAME}.yaml"
    path.write_text(path.read_text().replace("prompt:", "promt:"))
    done = run(WRITE_METRICS)
    assert done.returncode == 1
    assert "did you mean prompt?" in done.stderr
    assert not (root / "outputs").exists()


def test_a_closed_hub_ends_the_run_with_one_line(project, root, python):
    for folder in ("params", "notebooks"):
        shutil.copytree(project / folder, root / folder)
    done = subprocess.run(
        [python, "-m", "nlp_helpers", "run", "--profile", "hub", "02"],
        cwd=root,
        env={
            **os.environ,
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HOME": str(root / "home"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "google-bert/bert-base-uncased at 86b5e0934494" in line
    assert "use the offline profile" in line


def test_outside_the_project_the_error_names_the_folder(root, python):
    done = subprocess.run(
        [python, "-m", "nlp_helpers", "run"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"{root} has no folder params" in done.stderr


def test_only_finished_runs_become_the_reference(root, monkeypatch):
    offline = root / "outputs" / "offline"
    for name in SCHEMAS:
        (offline / name).mkdir(parents=True)
        (offline / f"{name}.ipynb").write_text(name)
        (offline / name / "metrics.json").write_text("{}")
        (offline / name / "run.json").write_text('{"status": "finished"}')
    assert len(update_reference()) == 10
    reference = root / "outputs" / "reference"
    assert (reference / f"{NAME}.ipynb").read_text() == NAME
    (offline / f"{NAME}.ipynb").write_text("newer")
    (offline / NAME / "run.json").write_text('{"status": "failed"}')
    with pytest.raises(UserError, match="tells of no finished run"):
        update_reference()
    assert (reference / f"{NAME}.ipynb").read_text() == NAME


def test_predict_refuses_what_is_no_checkpoint(root, python):
    done = subprocess.run(
        [python, "-m", "nlp_helpers", "predict", "--checkpoint", "nothing"],
        input="good\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no model is called" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
