"""Notebooks of a few lines, and the command line that runs them."""

import io
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from nlp_helpers.cli import commands
from nlp_helpers.core.errors import run_command

NAME = "01_next_token"
WRITE_METRICS = """\
from nlp_helpers.core import files, paths
print("prompt:", prompt)
folder = paths.resolve(output_dir)
for name in ("next_token", "trailing_spaces"):
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
