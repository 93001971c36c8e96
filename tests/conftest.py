"""Where tests write, what kernels may reach, and in which order tests run."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

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
    """Put the tests that look at what the notebooks left behind last.

    With several workers (`pytest -n 2 --dist loadgroup`), one of them takes
    the notebooks and these tests: 05 reads what 04 wrote.
    """
    items.sort(key=lambda item: "after_notebooks" in item.keywords)
    # The notebooks first: they take longest, and the rest fills up the time.
    items.sort(key=lambda item: not of_notebooks(item))
    for item in items:
        if of_notebooks(item):
            item.add_marker(pytest.mark.xdist_group("notebooks"))


def of_notebooks(item):
    """Tell whether an item is a notebook's cell, or looks at its outputs."""
    return item.path.suffix == ".ipynb" or "after_notebooks" in item.keywords


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
