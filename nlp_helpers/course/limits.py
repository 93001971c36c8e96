"""What a handed-in notebook may take; it limits accidents, not malice.

A student who wants to can get around the limits on connections and processes,
which Python itself keeps. Those on memory and time are the system's.
"""

import contextlib
import ctypes
import ipaddress
import mmap
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

GIGABYTE = 2**30
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
STARTS_PROCESS = (
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.system",
    "subprocess.Popen",
)


@dataclass(frozen=True)
class Limits:
    """Of one notebook.

    Attributes:
        timeout: seconds for all of it; afterwards it is killed.
        cell_timeout: seconds for a cell or a check; afterwards it is
            interrupted, and the next begins.
        memory: gigabytes of address space of a process, and of memory of all.
        processes: how many it may start; twice as many alive, and it is
            killed.
    """

    timeout: float = 300
    cell_timeout: float = 60
    memory: float = 8
    processes: int = 32


class TimeLimit(BaseException):
    """A cell took too long. No Exception, so that cells do not catch it."""


def apply(limits: Limits, user_processes: int) -> None:
    """Limit this process, for good, and all that it starts.

    Args:
        limits: what it may take.
        user_processes: processes and threads that this user has already; the
            system counts them together.
    """
    cut_off_network()
    watch_events(limits.processes)
    memory = int(limits.memory * GIGABYTE)
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, memory)
    if hasattr(resource, "RLIMIT_NPROC"):  # root has no such limit
        _lower(resource.RLIMIT_NPROC, user_processes + 8 * limits.processes)


def _lower(kind: int, value: int) -> None:
    """Lower a limit, unless it is lower already or the system has none."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS, for memory
        resource.setrlimit(kind, (value, value))


def cut_off_network() -> None:
    """Leave the network, where Linux lets this user do so.

    Where it does not, `watch_events` alone refuses connections.
    """
    if not sys.platform.startswith("linux"):
        return
    user, group = os.getuid(), os.getgid()
    system = ctypes.CDLL(None, use_errno=True)
    if system.unshare(CLONE_NEWNET) == 0:
        return
    if system.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0:
        with contextlib.suppress(OSError):  # who this user is, as before
            _write("/proc/self/uid_map", f"{user} {user} 1")
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/gid_map", f"{group} {group} 1")


def _write(path: str, text: str) -> None:
    """Write a text into a file of the system."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def watch_events(max_processes: int) -> None:
    """Refuse connections, and processes beyond a number, from now on.

    Args:
        max_processes: that this process and those that it forks may start,
            all together.
    """
    count = mmap.mmap(-1, 8)  # shared with forked processes

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS_PROCESS:
            started = int.from_bytes(count[:8], "little") + 1
            count[:8] = started.to_bytes(8, "little")
            if started > max_processes:
                raise RuntimeError(
                    f"a notebook may start {max_processes} processes here"
                )
        elif event == "socket.getaddrinfo":
            _refuse_host(arguments[0])
        elif event in ("socket.connect", "socket.sendto"):
            if isinstance(arguments[1], tuple):
                _refuse_host(arguments[1][0])

    sys.addaudithook(refuse)


def _refuse_host(host: Any) -> None:
    """Refuse a host that is not this machine.

    Raises:
        ConnectionRefusedError: it is another.
    """
    if host in (None, "", "localhost", b"localhost"):
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    raise ConnectionRefusedError("no network while notebooks are marked")


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, and again every second.

    Raises:
        TimeLimit: it took longer.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TimeLimit(f"it takes longer than {seconds:g} s")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
