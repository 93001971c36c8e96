"""Kernels forked from a process that has imported the libraries already.

Importing torch and transformers takes a kernel several seconds. Here one
process imports them, once, and does nothing else: no tensor operation, no
CUDA. Each kernel is a copy of it, made by `fork` in milliseconds; the
standard library's fork server does the work.

jupyter_client finds the provisioner by its name (an entry point in
pyproject.toml), so that papermill, nbclient and nbval all can use it:

    JUPYTER_DEFAULT_PROVISIONER_NAME=preloaded-provisioner pytest
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import BaseContext
from types import ModuleType
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

NAME = "preloaded-provisioner"
MAIN_MODULE = threading.Lock()
LAUNCHER = ["-m", "ipykernel_launcher"]
# What the notebooks import. A module that starts threads when it is imported
# must not be here: a thread is not copied.
MODULES = [
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "IPython.core.interactiveshell",
    "torch",
    "pandas",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "pyarrow.parquet",
    "sklearn.linear_model",
    "sklearn.feature_extraction.text",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "transformers.models.llama.modeling_llama",
    "transformers.pipelines",
    "nlp_helpers.masked_lm",
    "nlp_helpers.next_token",
    "nlp_helpers.plots",
    "nlp_helpers.splitting",
    "nlp_helpers.baselines",
    "nlp_helpers.classifier",
    "nlp_helpers.fine_tuning.training",
]


def available() -> bool:
    """Tell whether this system can fork."""
    return "forkserver" in multiprocessing.get_all_start_methods()


def start() -> None:
    """Start the process that imports, without waiting for it."""
    from multiprocessing import forkserver

    _context()
    forkserver.ensure_running()


def _context() -> BaseContext:
    """Return the fork server's context."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    return context


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Hide `__main__`, which the new process would import otherwise."""
    with MAIN_MODULE:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class PreloadedProvisioner(LocalProvisioner):
    """Starts Python kernels by forking; any other in the ordinary way."""

    async def launch_kernel(
        self, cmd: list[str], **kwargs: Any
    ) -> KernelConnectionInfo:
        """Launch a kernel."""
        if cmd[1:3] != LAUNCHER or not available():
            return await super().launch_kernel(cmd, **kwargs)
        folder = str(kwargs.get("cwd") or os.getcwd())
        arguments = (cmd[3:], dict(kwargs["env"]), folder)
        process = _context().Process(target=_run_kernel, args=arguments)
        with _without_main_module():
            process.start()
        self.process, self.pid = ForkedKernel(process), process.pid
        self.cwd = folder
        return self.connection_info


class ForkedKernel:
    """A forked process with the methods that a provisioner asks for."""

    stdin = stdout = stderr = None

    def __init__(self, process: multiprocessing.Process) -> None:
        """Take a started process."""
        self.process, self.pid = process, process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None if it runs."""
        return self.process.exitcode

    def wait(self) -> int | None:
        """Wait for the end; return the exit status."""
        self.process.join()
        return self.process.exitcode

    def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel and what it started."""
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            # It has not left our group yet, or it is gone.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


def _run_kernel(
    arguments: list[str], environment: dict[str, str], folder: str
) -> None:
    """Become the kernel that `python -m ipykernel_launcher` would start."""
    # Imported already, by the process that this one is a copy of.
    import pandas as pd
    import torch
    from ipykernel.kernelapp import IPKernelApp
    from threadpoolctl import threadpool_limits

    os.setsid()  # an interrupt is for the kernel, not for its siblings
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if threads := environment.get("OMP_NUM_THREADS"):
        # Read once, when a library is loaded: here that was before the fork.
        threadpool_limits(int(threads))
        torch.set_num_threads(int(threads))
    sys.argv = ["ipykernel_launcher", *arguments]
    # pandas looked for a notebook when it was imported, and saw none.
    pd.set_option("display.max_columns", 20)
    # The kernel ends when its parent, the fork server, is gone.
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    IPKernelApp.launch_instance(argv=[*arguments, parent])
