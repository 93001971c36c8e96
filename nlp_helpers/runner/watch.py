"""Look after one kernel while it works: memory, end, exit status."""

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

SAMPLE_SECONDS = 0.2


class Watch:
    """What is known of a kernel."""

    def __init__(
        self, threads: int, on_cell: Callable[[int, int], None]
    ) -> None:
        """Prepare.

        Args:
            threads: processors that the kernel computes with.
            on_cell: called with number and total when a cell has ended.
        """
        self.threads, self.on_cell = threads, on_cell
        self.process: Any = None  # what the provisioner holds
        self.pid: int | None = None
        self.children: list[psutil.Process] = []  # of the kernel
        self.peak = self.last = 0  # bytes
        self.cause: str | None = None
        self.stopped = False
        self._over = threading.Event()

    def attach(self, provisioner: Any) -> None:
        """Begin to watch the kernel of a provisioner."""
        self.process, self.pid = provisioner.process, provisioner.pid
        if self.stopped:
            self.stop()
        threading.Thread(target=self._sample, daemon=True).start()

    def detach(self) -> None:
        """End the watch.

        When the kernel died, what it started is killed: it would go on for
        nobody, with the memory and the GPU that the next run needs.
        """
        self._over.set()
        if self.process is not None and self.process.poll():
            self._kill_children()

    def stop(self) -> None:
        """Kill the kernel, at once or when it has started."""
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            with suppress(psutil.Error):  # it may end this moment
                self.children = psutil.Process(self.pid).children(True)
            self.process.kill()
            self._kill_children()

    def _sample(self) -> None:
        """Measure the memory of the kernel and its children, again and again.

        The end of the kernel ends this.
        """
        with suppress(psutil.Error):
            kernel = psutil.Process(self.pid)
            while not self._over.wait(SAMPLE_SECONDS):
                children = kernel.children(recursive=True)
                if kernel.status() == psutil.STATUS_ZOMBIE:
                    return  # dead, its children are not its own any more
                self.children = children
                self.last = sum(map(_memory, [kernel, *self.children]))
                self.peak = max(self.peak, self.last)

    def _kill_children(self) -> None:
        """Kill what the kernel had started when it was last looked at."""
        for child in self.children:
            with suppress(psutil.Error):
                child.kill()

    def exit_reason(self) -> str | None:
        """Say how the kernel died; None if it did not."""
        if self.process is None or self.process.poll() is None:
            return None
        return self.describe_exit()

    def describe_exit(self) -> str:
        """Say how the kernel died, how large it was, and what to try."""
        if self.stopped:
            return "the run was interrupted; start it again"
        status = self.process.poll() if self.process is not None else None
        cause = f"with exit status {status}"
        if status is not None and status < 0:
            cause = f"by {signal.Signals(-status).name}"
        advice = {
            "by SIGKILL": "unless someone killed it, memory ran out: lower"
            " batch_size or max_length, or stop other programs",
            "by SIGTERM": "something stopped it: run the notebook again",
        }.get(cause, "run the notebook in JupyterLab to see more")
        return (
            f"the kernel died {cause}, using {self.last / 2**30:.1f} GiB of"
            f" memory; {advice}"
        )


def _memory(process: psutil.Process) -> int:
    """Return the bytes that a process has; 0 when it is gone."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0
