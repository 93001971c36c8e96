"""Run a service: as this process, or beside a notebook or a test."""

import logging
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import IO

import uvicorn

from nlp_helpers.core.errors import UserError
from nlp_helpers.serving.app import build_app
from nlp_helpers.serving.service import Service
from nlp_helpers.serving.settings import Settings

LISTENING = "listening on "
PATIENCE = 120.0  # seconds until a model is loaded


class _Server(uvicorn.Server):
    """Says where it listens as soon as it does, and not before."""

    def __init__(self, config: uvicorn.Config, about: str) -> None:
        super().__init__(config)
        self.about = about

    async def startup(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        await super().startup(sockets)
        if sockets and self.started:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"{LISTENING}http://{shown}:{port}")
            print(self.about, flush=True)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight.

    Args:
        settings: what to serve.
        host: an address of this machine; 127.0.0.1 is seen by it alone.
        port: 0 chooses a free one.

    Raises:
        UserError: the address is taken, or a setting does not fit.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    if isinstance(sys.stdout, TextIOWrapper):  # a pipe or a log hears at once
        sys.stdout.reconfigure(line_buffering=True)
    try:
        listening = socket.create_server(
            (host, port), family=_family(host), backlog=2048
        )
    except OSError as error:
        raise UserError(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose"
            " another --port, or 0 for a free one"
        ) from error
    app = build_app(settings)
    config = uvicorn.Config(
        app,
        access_log=False,  # texts stand in bodies, but addresses are private
        log_level="warning",
        timeout_graceful_shutdown=int(settings.deadline) + 1,
        lifespan="on",
    )
    # uvicorn sends the signal again at its end; that is not an error here.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _do_nothing)
    service: Service = app.state.service
    server = _Server(config, service.describe())
    service.on_failure = lambda: setattr(server, "should_exit", True)
    server.run(sockets=[listening])
    if service.failure:
        raise UserError(service.failure)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Take a signal that has had its effect."""


@contextmanager
def start_server(checkpoint: str = "", *options: str) -> Iterator[str]:
    """Run a service as a process of its own, as long as a block lasts.

    Args:
        checkpoint: see `Settings`; empty serves no classifier.
        options: of the command `serve`, for example `--preload fill-mask`.

    Yields:
        The address, once what is preloaded is warm.

    Raises:
        UserError: it ended before that; the message has its last line.
    """
    command = [sys.executable, "-m", "nlp_helpers", "serve", "--port", "0"]
    if checkpoint:
        command += ["--checkpoint", checkpoint]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [*command, *options], stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield _wait_until_warm(process, said)
        finally:
            process.terminate()
            process.wait()


def _wait_until_warm(process: "subprocess.Popen[bytes]", said: IO[str]) -> str:
    """Return a service's address once its /health says that all is well."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        said.seek(0)
        addresses = re.findall(f"^{LISTENING}(.+)$", said.read(), re.M)
        if addresses and _is_warm(addresses[0]):
            return addresses[0]
    said.seek(0)
    *_, last = [LISTENING, *filter(None, said.read().splitlines())]
    if process.poll() is None:
        last = f"not ready after {PATIENCE:.0f} s: {last}"
    raise UserError(f"the service did not start: {last}")


def _is_warm(address: str) -> bool:
    """Say whether all that is preloaded is there."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()  # it says that a model is being loaded
        return False
    except OSError:
        return False  # it has ended since
