"""Keep a process, and all that it starts, within its limits, then end them."""

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

from nlp_helpers.course.limits import GIGABYTE, Limits

INTERVAL = 0.05  # seconds between two looks
MAX_KILLS = 200  # rounds, of processes that start others meanwhile
PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Become the parent of processes whose own parents end; on Linux alone.

    Without it, a process that a notebook leaves behind could not be found.
    """
    linux = sys.platform.startswith("linux")
    system = ctypes.CDLL(None) if linux else None
    if system:
        system.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        if system:
            system.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def count_processes() -> int:
    """Return how many processes and threads this user has."""
    import psutil

    user, total = os.getuid(), 0
    for process in psutil.process_iter(["uids", "num_threads"]):
        uids = process.info["uids"]
        if uids and uids.real == user:
            total += process.info["num_threads"] or 1
    return total


def watch(process: BaseProcess, limits: Limits) -> str:
    """Wait for a process; return what it broke, or nothing.

    Afterwards neither it nor any process that it has started is alive.

    Args:
        process: just started by this one or for it, within `adopting`.
        limits: what it may take.
    """
    import psutil

    me = psutil.Process()
    others = {child.pid for child in me.children()} - {process.pid}

    def family() -> list[psutil.Process]:
        """Return the process, its descendants, and those it left behind."""
        roots = [each for each in me.children() if each.pid not in others]
        with contextlib.suppress(psutil.NoSuchProcess):
            roots.append(psutil.Process(process.pid))
        found = {}
        for root in roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                for each in (root, *root.children(recursive=True)):
                    found[each.pid] = each
        return list(found.values())

    deadline = time.monotonic() + limits.timeout
    problem = ""
    try:
        while process.is_alive() and not problem:
            alive = family()
            if time.monotonic() > deadline:
                problem = f"the notebook took longer than {limits.timeout:g} s"
            elif len(alive) > 2 * limits.processes:
                problem = f"the notebook had {len(alive)} processes at once"
            elif memory(alive) > limits.memory * GIGABYTE:
                problem = f"the notebook took over {limits.memory:g} GB"
            else:
                time.sleep(INTERVAL)
    finally:
        for _ in range(MAX_KILLS):
            alive = family()
            if not process.is_alive() and not alive:
                break
            for each in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            psutil.wait_procs(alive, timeout=1)
    return problem


def memory(processes: list) -> int:
    """Return the bytes of memory that processes have, those shared once."""
    import psutil

    total, own = 0, 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    if total < GIGABYTE:
        return total
    for process in processes:
        with contextlib.suppress(psutil.Error):
            own += process.memory_full_info().uss
    return own
