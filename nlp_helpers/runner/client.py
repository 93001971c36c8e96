"""Papermill's way to a kernel, with a watch on it, and without its waits."""

import math
import os
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import zmq
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from traitlets import Instance, Type

from nlp_helpers.core.paths import SESSION_VARIABLE
from nlp_helpers.runner.watch import Watch

ENGINE = "watched"
MAX_STREAM_LENGTH = 1_000_000  # characters that a cell may print
OUTPUT_TIMEOUT = 60  # seconds for what a cell printed to arrive after its end
CUT = "\n[cut: this cell printed more than 1,000,000 characters]\n"


class QuickClient(AsyncKernelClient):
    """Talks to a kernel as soon as it answers, and misses no output."""

    def __init__(self, **kwargs: Any) -> None:
        """Let messages wait without limit; zmq drops them above 1,000."""
        super().__init__(**kwargs)
        self.context.setsockopt(zmq.RCVHWM, 0)

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait for an answer on both channels, shell and output.

        jupyter_client goes on to listen for a fifth of a second, for outputs
        of what it asked. Nbclient passes over what belongs to no cell.

        Raises:
            RuntimeError: the kernel died, or the seconds are over.
        """
        until = time.monotonic() + (timeout or math.inf)
        while time.monotonic() < until:
            self.kernel_info()
            with suppress(Empty):
                await self.get_shell_msg(timeout=1)
                await self.get_iopub_msg(timeout=0.2)
                return
            if not await self.is_alive():
                raise RuntimeError("the kernel died before it answered")
        raise RuntimeError(f"the kernel did not answer in {timeout} seconds")


class QuietKernelManager(AsyncKernelManager):
    """Ends kernels without interrupting them first.

    A kernel that is just done with a cell prints the interrupt as an error.
    One that is not done is killed a moment later.
    """

    client_factory = Type(QuickClient)

    async def _async_interrupt_kernel(self) -> None:
        """Interrupt the kernel, unless it is about to end."""
        if not self.shutting_down:
            await super()._async_interrupt_kernel()


class WatchedClient(PapermillNotebookClient):
    """Papermill's client with a watch."""

    watch = Instance(Watch)
    session_file = Instance(Path)
    printed = 0  # characters of the cell that is being executed

    def start_new_kernel(self, **kwargs: Any) -> None:
        """Start the kernel, with what it is to know, and the watch."""
        settings = {
            "OMP_NUM_THREADS": str(self.watch.threads),
            SESSION_VARIABLE: str(self.session_file),
        }
        super().start_new_kernel(env=os.environ | settings, **kwargs)
        self.watch.attach(self.km.provisioner)

    def execute_cell(
        self, cell: NotebookNode, cell_index: int, **kwargs: Any
    ) -> NotebookNode:
        """Execute a cell; if the kernel dies, say so in the cell."""
        self.printed = 0
        try:
            return super().execute_cell(cell, cell_index, **kwargs)
        except DeadKernelError:
            cause = self.watch.cause = self.watch.describe_exit()
            said = {"ename": "KernelDied", "evalue": cause}
            cell.outputs.append(new_output("error", **said, traceback=[cause]))
            raise
        finally:
            self.watch.on_cell(cell_index + 1, len(self.nb.cells))

    def output(
        self,
        outs: list[NotebookNode],
        msg: dict[str, Any],
        display_id: str | None,
        cell_index: int,
    ) -> NotebookNode | None:
        """Take an output, printed text up to a length."""
        if msg["msg_type"] == "stream":
            room = MAX_STREAM_LENGTH - self.printed
            if room < 0:  # what was too much has been cut
                return None
            text = msg["content"]["text"]
            self.printed += len(text)
            if len(text) > room:
                msg["content"]["text"] = text[:room] + CUT
        return super().output(outs, msg, display_id, cell_index)

    def clear_output(
        self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int
    ) -> None:
        """Forget what the cell has printed, unless a widget shows it."""
        if not self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            self.printed = 0
        super().clear_output(outs, msg, cell_index)


class WatchedEngine(NBClientEngine):
    """Papermill's engine with a watch on its kernel."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        watch: Watch,
        session_file: Path,
        folder: str,
        hidden: Path,
        start_timeout: int = 60,
        **others: Any,
    ) -> None:
        """Execute a notebook in `folder`, watched."""
        client = WatchedClient(
            nb_man,
            kernel_name=kernel_name,
            kernel_manager_class=QuietKernelManager,
            startup_timeout=start_timeout,
            iopub_timeout=OUTPUT_TIMEOUT,
            watch=watch,
            session_file=session_file,
            store_widget_state=False,  # it has random ids
            config=others.get("config"),
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute()
        except (DeadKernelError, CellTimeoutError):
            nbformat.write(nb_man.nb, hidden)  # papermill would leave nothing
            raise
        finally:
            watch.detach()


def register() -> None:
    """Tell papermill about the engine."""
    papermill_engines.register(ENGINE, WatchedEngine)


def cell_seconds(notebook: NotebookNode) -> list[float]:
    """Return the seconds that each code cell took, as papermill timed it."""
    durations = (
        cell.metadata.get("papermill", {}).get("duration")
        for cell in notebook.cells
        if cell.cell_type == "code"
    )
    return [round(seconds or 0.0, 3) for seconds in durations]
