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
from jupyter_client.provisioning import KernelProvisionerFactory

from nlp_helpers import parameters
from nlp_helpers.runner import forkserver, stages

PROJECT = Path(__file__).parent.parent
# What takes longest is begun first, so that the workers end together.
LONGEST_FIRST = (
    "test_shards.py",
    "test_loading.py",
    "test_mlm_head.py",
    "test_forkserver.py",
    "test_runs.py",
    "test_sweep.py",
    "test_pipeline.py",
    "test_predicting.py",
    "test_training.py",
    "test_reading.py",
)


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
    config.pluginmanager.register(ForkedKernels())


ROOT_KEY = pytest.StashKey[Path]()


def pytest_unconfigure(config):
    """Remove what the notebooks wrote."""
    shutil.rmtree(config.stash[ROOT_KEY], ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Put the tests that look at what the notebooks left behind last.

    With several workers, the notebooks come first: they take longest. Those
    that go further than the articles are slow tests, with what looks at
    their outputs.
    """
    for item in items:
        file, _, _ = item.nodeid.partition("::")
        if file.endswith((".ipynb", "test_reference.py")) and any(
            notebook in item.nodeid for notebook in parameters.FURTHER
        ):
            item.add_marker("slow")
            item.add_marker("further")
    items.sort(key=lambda item: "after_notebooks" in item.keywords)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: rank(scope_of(item.nodeid)))


def scope_of(nodeid: str) -> str:
    """Return what a test belongs to: one worker takes all of it, in order.

    A notebook goes with those whose outputs it reads, and with the tests of
    its own outputs; what needs a Ray cluster goes together.
    """
    file, _, name = nodeid.partition("::")
    if file.endswith((".ipynb", "test_reference.py")):
        [notebook] = [
            known for known in stages.read_stages() if known in nodeid
        ]
        while inputs := stages.read_stages()[notebook].inputs:
            notebook = next(iter(inputs.values()))
        return notebook
    return "ray" if name.startswith("test_ray_") else file


def rank(scope: str) -> tuple[bool, int]:
    """Return what decides how early a scope is begun."""
    known = stages.read_stages()
    if scope in known:  # first those that others wait for
        readers = [scope in stage.inputs.values() for stage in known.values()]
        return False, -sum(readers)
    name = scope.rpartition("/")[2]
    if name in LONGEST_FIRST:
        return True, LONGEST_FIRST.index(name)
    return True, len(LONGEST_FIRST)


@pytest.hookimpl(optionalhook=True)  # plain pytest does without xdist
def pytest_xdist_make_scheduler(config, log):
    """Keep together what belongs together when there are several workers."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return scope_of(nodeid)

    config.option.loadscopereorder = False  # the order is ours
    return Scheduler(config, log)


class ForkedKernels:
    """Fork the kernels of the notebooks, so that torch is imported once.

    Only theirs: the tests of the runner choose for themselves. A plugin, since
    the hooks of this file are for the tests below its folder alone.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        factory = KernelProvisionerFactory.instance()
        before = factory.default_provisioner_name
        if item.path.suffix == ".ipynb" and forkserver.available():
            factory.default_provisioner_name = forkserver.NAME
        try:
            return (yield)
        finally:
            factory.default_provisioner_name = before


@pytest.fixture(scope="module")
def browser():
    """Return a real browser; without Chromium the test is skipped."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        yield opened
        opened.close()


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
