"""Execute one notebook with papermill, and record how it went."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from nlp_helpers.core import files, folders, paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.runner import client, forkserver, record, secrets, watch
from nlp_helpers.runner.stages import Stage

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")  # of an object's repr
ATTEMPT_PATH = re.compile(rf"(/|\\\\){re.escape(record.ATTEMPT)}\b")
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
WIDGET = "application/vnd.jupyter.widget-view+json"
SESSION_FILE = "session.json"
MAX_SOCKET_BYTES = 100  # bytes of a path; systems take 104 or more


class NotebookFailed(UserError):
    """A notebook stopped with an error; the text says in which cell."""


class Execution:
    """One notebook on its way from `source` to `output`.

    The output is written to a hidden file and renamed when the notebook ends:
    to `output` if it finished, else to `record.failed_notebook`; run.json in
    the folder of the same name says how it ended. Results of a finished run
    stay until the new ones are whole, which are written to a folder of their
    own meanwhile. What is left of other runs goes first, so that nothing
    passes as a result of this one.
    """

    def __init__(
        self,
        source: Path,
        output: Path,
        stage: Stage,
        description: Mapping[str, Any],
        threads: int,
        on_cell: Callable[[int, int], None],
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            source: the notebook.
            output: where the executed one goes.
            stage: what it must leave behind.
            description: what `record.describe` says of it.
            threads: processors that the kernel computes with.
            on_cell: called with number and total when a cell has ended.
        """
        self.source, self.output, self.stage = source, output, stage
        self.description = description
        self.folder = self.results = output.with_suffix("")
        self.hidden = record.hidden_notebook(output)
        self.watch = watch.Watch(threads, on_cell)
        self.session: dict[str, Any] = {}  # see `session.start`

    def stop(self) -> None:
        """Kill the kernel; the run ends as interrupted."""
        self.watch.stop()

    def run(self) -> float:
        """Execute; return the seconds.

        Raises:
            NotebookFailed: a cell raised, the kernel died, something it must
                leave is missing or out of bounds, or a secret was printed.
            UserError: another run writes to the same place.
        """
        with folders.exclusive(self.folder):
            return self._run_locked()

    def _run_locked(self) -> float:
        """Execute, with the folder to ourselves."""
        if record.is_whole(self.folder):  # of a runner that was killed
            record.take_over(self.folder)
        kept = record.kept(self.output)
        self.results = self.folder / record.ATTEMPT if kept else self.folder
        self._remove_old()
        content = {**self.description, **record.environment()}
        if kept:
            content["kept"] = kept
        run_record = record.Record(self.folder / "run.json", content)
        problem: str | None = " was interrupted"
        results: dict[str, Any] = {}
        try:
            problem = self._execute()
            problem = self._check(problem, results)
            if not problem and not kept:
                self.hidden.replace(self.output)
                results["artifacts"] = record.artifacts(self.output)
        except Exception as error:
            problem, _ = secrets.remove(f": {type(error).__name__}: {error}")
            raise
        finally:
            failed = record.failed_notebook(self.output)
            if problem and self.hidden.exists():
                self.hidden.replace(failed)
            elif not problem:
                failed.unlink(missing_ok=True)
            status = "failed" if problem else "finished"
            if self.watch.stopped:
                status = "interrupted"
            seconds = run_record.finish(
                status,
                error=problem and f"{self.source.name}{problem}",
                peak_memory=self.watch.peak,
                **self.session,
                **results,
            )
        if problem:
            raise NotebookFailed(f"{self.source.name}{problem}")
        return seconds

    def _remove_old(self) -> None:
        """Remove what could pass as a result of this run."""
        paths_of_old = [self.hidden, self.results / "metrics.json"]
        if self.results == self.folder:
            paths_of_old.append(self.output)
        for path in paths_of_old:
            path.unlink(missing_ok=True)
        if (figures := self.results / "figures").is_dir():
            shutil.rmtree(figures)

    def _check(
        self, problem: str | None, results: dict[str, Any]
    ) -> str | None:
        """Look at what the cells left; return what went wrong, or None.

        Args:
            problem: what went wrong before.
            results: the seconds of the cells are added to it.
        """
        metrics = self.results / "metrics.json"
        leaked = _remove_secrets(metrics)
        missing = self.stage.missing(self.results)
        if self.hidden.exists():
            notebook = nbformat.read(self.hidden, as_version=4)
            results["cells"] = client.cell_seconds(notebook)
            saved = _save(notebook, self.hidden)
            problem = problem or saved
        problem = problem or leaked or (f": {missing}" if missing else None)
        if problem:
            return secrets.remove(problem)[0]
        if self.results != self.folder:  # where they are until now
            text = self.hidden.read_text(encoding="utf-8")
            text = ATTEMPT_PATH.sub("", text)
            self.hidden.write_text(text, encoding="utf-8")
        return None

    @contextmanager
    def _private_folder(self) -> Iterator[Path]:
        """Give a folder for sockets, and for what the session writes down."""
        with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
            try:
                yield Path(folder)
            finally:
                path = Path(folder) / SESSION_FILE
                if path.exists():
                    self.session = files.read_json(path)

    def _execute(self) -> str | None:
        """Run the cells; return what went wrong, after the file's name.

        Raises:
            UserError: there is no kernel to run them.
        """
        client.register()
        values = dict(self.description["parameters"])
        if self.results != self.folder:
            place = Path(values["output_dir"]) / record.ATTEMPT
            values["output_dir"] = place.as_posix()
        try:
            with self._private_folder() as folder:
                papermill.execute_notebook(
                    _as_template(self.source),
                    _as_template(self.hidden),
                    values,
                    kernel_name="python3",
                    engine_name=client.ENGINE,
                    # Twice a cell, which takes longer than most cells.
                    request_save_on_cell_execute=False,
                    progress_bar=False,
                    config=_kernel_settings(folder),
                    watch=self.watch,
                    session_file=folder / SESSION_FILE,
                    folder=str(self.source.parent),
                    hidden=self.hidden,
                )
        except PapermillExecutionError as error:
            message = ANSI_COLOUR.sub("", f"{error.ename}: {error.evalue}")
            # Papermill puts a cell of its own on top, hence no cell number.
            cell = error.source.strip().splitlines()[0]
            return f", cell `{cell}`: {message}"
        except DeadKernelError as error:
            return f": {self.watch.cause or self.watch.exit_reason() or error}"
        except CellTimeoutError:
            return (
                ": a cell printed faster than could be read, and messages of"
                " the kernel were lost; print less often"
            )
        except RuntimeError as error:  # of a kernel that does not come up
            return f": {self.watch.exit_reason() or error}"
        # Of nbformat, for a damaged file.
        except (ValueError, nbformat.ValidationError) as error:
            problem, _, _ = str(error).partition("\n")
            return f": papermill cannot run it: {problem}; restore the file"
        except NoSuchKernel as error:
            raise UserError(
                "Jupyter has no kernel python3 here; make one with `python -m"
                " ipykernel install --sys-prefix`"
            ) from error
        return None


def _as_template(path: Path) -> str:
    """Write a path as papermill takes it, which fills in what is in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel_settings(folder: Path) -> Config:
    """Let runner and kernel talk through socket files in a private folder.

    No other user can open them. Windows has none, and paths may be too long
    for them; there they talk over the loopback interface.
    """
    too_long = len(os.fsencode(f"{folder}/socket-1")) > MAX_SOCKET_BYTES
    if sys.platform == "win32" or too_long:
        return Config()
    manager = {"transport": "ipc", "ip": f"{folder}/socket"}
    return Config(KernelManager=manager)


@contextmanager
def settings_for_kernels(use_forkserver: bool) -> Iterator[None]:
    """Set what kernels inherit: no bars, the root, how they are started."""
    factory = KernelProvisionerFactory.instance()
    provisioner = factory.default_provisioner_name
    settings = {
        paths.HEADLESS_VARIABLE: "1",
        paths.ROOT_VARIABLE: str(paths.project_root()),
        # Else a kernel called python3 in the user's home goes first where the
        # environment is somebody else's.
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    if use_forkserver:
        factory.default_provisioner_name = forkserver.NAME
        forkserver.start()
    try:
        yield
    finally:
        factory.default_provisioner_name = provisioner
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _save(notebook: NotebookNode, hidden: Path) -> str | None:
    """Write the executed notebook, repeatable and without secrets.

    Clock times, random ids and addresses are removed, so that equal runs are
    equal files; run.json has the seconds.

    Returns:
        What was wrong with it, or None.
    """
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = _merge_streams(cell.outputs)
            for result in cell.outputs:
                data = result.get("data", {})
                data.pop(WIDGET, None)  # it names a model that is gone
                for texts, name in ((result, "text"), (data, "text/plain")):
                    if name in texts:
                        texts[name] = ADDRESS.sub(">", texts[name])
    kinds = sorted(set(secrets.remove_from(notebook)))
    nbformat.write(notebook, hidden)
    if kinds:
        return f": its outputs held {', '.join(kinds)}; removed from the copy"
    return None


def _remove_secrets(metrics: Path) -> str | None:
    """Rewrite a metrics.json that holds secrets; say so."""
    try:
        content = files.read_json(metrics)
    except (FileNotFoundError, ValueError):
        return None  # `Stage.missing` says which
    kinds = secrets.remove_from([content])
    if not kinds:
        return None
    files.write_json(metrics, content)
    return f": {paths.shown(metrics)} held {', '.join(kinds)}; removed from it"


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join printed texts that follow one another; where one ends is chance.

    Nbclient's own way (`coalesce_streams`) takes a minute for ten lines of
    100,000 characters.
    """
    merged: list[NotebookNode] = []
    for stream, group in groupby(outputs, lambda output: output.get("name")):
        neighbours = list(group)
        if stream:  # other outputs have no name
            text = "".join(output.text for output in neighbours)
            neighbours = [new_output("stream", name=stream, text=text)]
        merged += neighbours
    return merged
