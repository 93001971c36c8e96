"""Execute one notebook with papermill."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from nlp_helpers import paths
from nlp_helpers.batch.record import Record
from nlp_helpers.errors import UserError

# Runner and kernel talk through socket files, which no other user can open.
# Windows has none; there they talk over the loopback interface.
TRANSPORT = "tcp" if sys.platform == "win32" else "ipc"
KERNEL_SETTINGS = Config(KernelManager={"transport": TRANSPORT})
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailed(UserError):
    """A notebook stopped with an error; the text says in which cell."""


def execute(
    source: Path, output: Path, profile: str, parameters: dict[str, Any]
) -> float:
    """Run `source` with `parameters`, write `output`, return the seconds.

    The output is written to a hidden file and renamed when the notebook ends,
    in whatever way; run.json in the folder of the same name says how. An old
    metrics.json goes first, so a run that failed leaves none.

    Raises:
        NotebookFailed: a cell raised, or the kernel died.
    """
    folder = output.with_suffix("")
    (folder / "metrics.json").unlink(missing_ok=True)
    record = Record(folder / "run.json", profile, parameters)
    hidden = output.with_name(f".{output.name}")
    status, problem = "interrupted", None
    try:
        with _headless():
            papermill.execute_notebook(
                source,
                hidden,
                parameters,
                kernel_name="python3",
                cwd=source.parent,
                progress_bar=_bar(source.stem),
                config=KERNEL_SETTINGS,
            )
        status = "finished"
    except PapermillExecutionError as error:
        status = "failed"
        message = ANSI_COLOUR.sub("", f"{error.ename}: {error.evalue}")
        # Papermill puts a cell of its own on top, hence no cell number here.
        cell = error.source.strip().splitlines()[0]
        problem = f"{source.name}, cell `{cell}`: {message}"
    except DeadKernelError as error:
        status = "failed"
        problem = f"{source.name}: {error}; it may have run out of memory"
    finally:
        if hidden.exists():
            _make_repeatable(hidden)
            hidden.replace(output)
        seconds = record.finish(status, problem)
    if problem:
        raise NotebookFailed(problem)
    return seconds


@contextmanager
def _headless() -> Iterator[None]:
    """Tell the kernel, which inherits the environment, to print no bars.

    It also fixes the project root: the kernel works in notebooks/.
    """
    settings = {
        paths.HEADLESS_VARIABLE: "1",
        paths.ROOT_VARIABLE: str(paths.project_root()),
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _bar(description: str) -> dict[str, Any] | bool:
    """Return papermill's bar settings; no bar where nobody watches."""
    if not sys.stderr.isatty():
        return False
    return {"desc": description, "leave": False, "unit": "cell"}


def _make_repeatable(path: Path) -> None:
    """Remove clock times and random ids, so that equal runs are equal files.

    run.json has the seconds.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
    nbformat.write(notebook, path)
