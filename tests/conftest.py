"""Where tests write, what kernels may reach, and in which order tests run."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).parent.parent


def pytest_configure(config):
    """Send the notebooks' outputs to a new folder and close the network.

    The kernels that nbval starts inherit these settings. Their outputs must
    not replace those of the user's own runs.
    """
    root = Path(tempfile.mkdtemp(prefix="nlp-notebooks-"))
    config.stash[ROOT_KEY] = root
    os.environ["NLP_HELPERS_ROOT"] = str(root)
    os.environ["NLP_HELPERS_HEADLESS"] = "1"
    os.environ["NLP_HELPERS_FLOAT32"] = "1"
    if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        # Two processes with two threads each would wait for one another.
        threads = max(1, (os.cpu_count() or 1) // int(workers))
        os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["NETWORK_LOG"] = str(root / "network.log")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)  # a proxy on this machine would be a leak
        os.environ.pop(name.upper(), None)
    guard = str(PROJECT / "tests" / "no_network")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [guard, before]))


ROOT_KEY = pytest.StashKey[Path]()


def pytest_unconfigure(config):
    """Remove what the notebooks wrote."""
    shutil.rmtree(config.stash[ROOT_KEY], ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Put the tests that look at what the notebooks left behind last."""
    items.sort(key=lambda item: "after_notebooks" in item.keywords)


@pytest.hookimpl(optionalhook=True)  # plain pytest does without xdist
def pytest_xdist_make_scheduler(config, log):
    """Keep together what belongs together when there are several workers.

    One takes the notebooks, in order, since 05 reads what 04 wrote, and then
    what looks at their outputs; one takes what a Ray cluster would disturb.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, name = nodeid.partition("::")
            if file.endswith((".ipynb", "test_reference.py")):
                return "notebooks"
            return "ray" if name.startswith("test_ray_") else file

    return Scheduler(config, log)


@pytest.fixture(scope="session")
def notebook_root(pytestconfig) -> Path:
    """Return the project root of the notebooks that nbval executed."""
    return pytestconfig.stash[ROOT_KEY]


@pytest.fixture
def project() -> Path:
    """Return the folder of this project."""
    return PROJECT


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Return an empty folder that is the project root during a test."""
    monkeypatch.setenv("NLP_HELPERS_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def python() -> str:
    """Return this Python's path."""
    return sys.executable


@pytest.fixture(scope="session")
def raylet():
    """A Ray cluster on this machine, as `ray start --head` makes one.

    Gives the process that its workers are children of.
    """
    ray = str(Path(sys.executable).with_name("ray"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-")
    start = [ray, "start", "--head", "--num-cpus=2", f"--port={port}"]
    start += ["--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    start += ["--disable-usage-stats", f"--temp-dir={folder}", "--block"]
    # Without the network guard, which would stop Ray.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = psutil.Popen(start, env=env, **quiet)
    deadline = time.monotonic() + 90
    try:
        while not (found := children_called("raylet", process)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield found[0], f"127.0.0.1:{port}"
        import ray as library

        library.shutdown()
    finally:  # this cluster alone: `ray stop` ends those of others too
        with suppress(psutil.NoSuchProcess):
            for member in [*process.children(recursive=True), process]:
                member.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def children_called(name, process):
    return [
        child
        for child in process.children(recursive=True)
        if child.name() == name
    ]


@pytest.fixture
def cluster(raylet, monkeypatch):
    """The cluster of the session, for a test that connects to it."""
    process, address = raylet
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.delenv("PYTHONPATH")  # as the workers have it
    return process
