"""Kernels forked from the process of `forkserver`, for whoever asks Jupyter.

jupyter_client finds the provisioner by its name (an entry point in
pyproject.toml), so that papermill, nbclient and nbval all can use it:

    JUPYTER_DEFAULT_PROVISIONER_NAME=forkserver-provisioner pytest
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

from nlp_helpers.runner import forkserver

LAUNCHER = ["-m", "ipykernel_launcher"]
SHUTDOWN_POLLS, SECONDS_BETWEEN = 40, 0.005


class ForkServerProvisioner(LocalProvisioner):
    """Starts Python kernels by forking; any other in the ordinary way."""

    process: Any  # a Popen, or a ForkedKernel

    async def launch_kernel(
        self, cmd: list[str], **kwargs: Any
    ) -> KernelConnectionInfo:
        """Launch a kernel."""
        python, *rest = cmd
        while rest and rest[0].startswith("-X"):
            rest = rest[1:]  # `ipykernel install` writes -Xfrozen_modules=off
        ours = python == sys.executable and rest[:2] == LAUNCHER
        if not ours or not forkserver.available():
            return await super().launch_kernel(cmd, **kwargs)
        folder = str(kwargs.get("cwd") or os.getcwd())
        arguments = (rest[2:], dict(kwargs["env"]), folder)
        process = forkserver.fork(_run_kernel, arguments)
        self.process, self.pid = ForkedKernel(process), process.pid
        self.cwd = folder
        return self.connection_info

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Wait a moment for the end: Jupyter looks every tenth of a second."""
        for _ in range(SHUTDOWN_POLLS):
            if await self.poll() is not None:
                return
            await asyncio.sleep(SECONDS_BETWEEN)


class ForkedKernel:
    """A forked process with the methods that a provisioner asks for."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess) -> None:
        """Take a started process."""
        assert process.pid is not None  # it was started
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
    threading.Thread(target=_end_with_starter, daemon=True).start()
    # The kernel also ends when its parent, the fork server, is gone.
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    IPKernelApp.launch_instance(argv=[*arguments, parent])


def _end_with_starter() -> None:
    """Kill this kernel, and what it started, when its starter is gone.

    The fork server does not go then: it stays while it has children.
    """
    starter = multiprocessing.parent_process()
    assert starter is not None  # this process was forked
    starter.join()
    os.killpg(0, signal.SIGKILL)
