"""Notebooks of a few lines, and the command line that runs them."""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from nlp_helpers.cli import commands
from nlp_helpers.core.errors import run_command
from nlp_helpers.runner import pipeline, record, tasks

NAME = "01_next_token"
WRITE_METRICS = """\
from nlp_helpers.core import files, paths
print("prompt:", prompt)
folder = paths.resolve(output_dir)
figures = "tokens", "next_token", "greedy_steps", "probability_mass"
for name in (*figures, "trailing_spaces"):
    files.write_text(folder / "figures" / f"{name}.png", "a figure")
metrics = {"best_probability": 0.25, "tokens_in_nucleus": 7}
files.write_json(folder / "metrics.json", metrics)
"""


def command(*arguments):
    """Run `python -m nlp_helpers` in this process: an import takes longer."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            run_command(lambda: commands(arguments, prog_name="nlp_helpers"))
        except SystemExit as error:
            code = error.code or 0
    return SimpleNamespace(
        returncode=code, stdout=out.getvalue(), stderr=err.getvalue()
    )


def write_notebook(path, *cells):
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
    nbformat.write(notebook, path)


SLOW = "import time\nfor _ in range(12): time.sleep(0.05)"


def run_once(root, force=False):
    """Run the notebook; the root is given, since processes are forked."""
    os.environ["NLP_HELPERS_ROOT"] = str(root)
    planned = tasks.plan("offline", ("01",))
    runner = pipeline.Runner(force=force, use_forkserver=False)
    [result] = runner.run(planned)
    return result


def results(root):
    """Return the bytes of all results, and nothing of an attempt."""
    folder = root / "outputs" / "offline"
    found = [folder / f"{NAME}.ipynb", *(folder / NAME).rglob("*")]
    names = {path.relative_to(folder): path for path in found}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in names.items()
        if path.is_file() and path.name != "run.json"
        if not any(part.startswith(".") for part in name.parts)
    }


def check_nothing_is_half_written(root):
    """A finished record goes with all it names; any other with no result."""
    output = root / "outputs" / "offline" / f"{NAME}.ipynb"
    folder = output.with_suffix("")
    found = record.read_record(folder / "run.json")
    for path in root.rglob("*.json"):
        json.loads(path.read_text())
    if output.exists():
        json.loads(output.read_text())
    if found and found["status"] == "finished":
        assert record.artifacts(output) == found["artifacts"]
    else:
        description = {"profile": "offline", **(found or {"key": ""})}
        assert not pipeline.is_current(output, description)
    return found["status"] if found else None
