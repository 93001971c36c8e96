"""The five notebooks on a machine like Google Colab: `make test-colab`.

An environment with the versions of requirements/colab-freeze.txt, a stand-in
for Colab's own package, and for each notebook an empty folder with it and the
wheel alone. Its set-up cell really installs what is missing.

What differs from Colab: this machine's Python; the torch that COLAB_TORCH
names, where that is set.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from nlp_helpers import hosted, parameters

FREEZE = "requirements/colab-freeze.txt"
ADDED = ["nlp-helpers", *hosted.PINS]
pytestmark = pytest.mark.skipif(
    "TEST_COLAB" not in os.environ, reason="make test-colab runs it"
)
# In the environment's own Python: its nbclient and ipykernel are Colab's.
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
client = NotebookClient(notebook, timeout=900, kernel_name="python3")
try:
    client.execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""


def run(*command, cwd=None, **variables):
    """Run a command outside the tests' own guard against the network."""
    guarded = {"PYTHONPATH", "NETWORK_LOG"}
    free = {
        name: value
        for name, value in os.environ.items()
        if name not in guarded and not name.startswith("NLP_HELPERS_")
    }
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**free, **variables},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def colab(tmp_path_factory, pytestconfig):
    """Return the Python of such an environment, and its variables."""
    project = pytestconfig.rootpath
    folder = tmp_path_factory.mktemp("colab")
    run(sys.executable, "-m", "venv", folder / "env")
    python = folder / "env" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q"]
    pins = freeze(project)
    [torch] = [pin for pin in pins if pin.startswith("torch==")]
    run(*pip, os.environ.get("COLAB_TORCH") or torch)
    run(*pip, "--no-deps", *(pin for pin in pins if pin != torch))
    package = folder / "stand_in" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "colab.py").write_text("import google.colab\n")
    run(*pip[:3], "wheel", "-q", "--no-deps", "-w", folder, project)
    variables = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "stand_in"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PIP_CONFIG_FILE": os.devnull,  # the package index alone
        "NLP_HELPERS_CACHE": str(folder / "cache"),
    }
    return python, folder, variables


@pytest.mark.parametrize("notebook", list(parameters.SCHEMAS))
def test_a_notebook_runs_alone_on_colab(project, colab, notebook):
    python, folder, variables = colab
    # Each has a machine of its own: nothing of the one before is there.
    added = [*ADDED, *(pin.split("==")[0] for pin in all_packages())]
    run(python, "-m", "pip", "uninstall", "-q", "-y", *added)
    torchao = [pin for pin in freeze(project) if pin.startswith("torchao")]
    run(python, "-m", "pip", "install", "-q", "--no-deps", *torchao)
    before = versions(python)
    content = folder / notebook
    content.mkdir()
    source = project / "notebooks" / f"{notebook}.ipynb"
    target = content / source.name
    target.write_bytes(source.read_bytes())
    [wheel] = folder.glob("*.whl")
    # As a browser names what it has downloaded twice.
    uploaded = content / f"{wheel.stem} (1).whl"
    uploaded.write_bytes(wheel.read_bytes())
    started = time.perf_counter()
    run(python, "-c", EXECUTE, target, cwd=content, **variables)
    seconds = time.perf_counter() - started
    executed = nbformat.read(target, 4)
    said = [
        f"{cell.source[:60]}: {output.text}"
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.get("name") == "stderr"
    ]
    assert not said
    # What was there has stayed as it was, so nothing had to be restarted.
    after = versions(python)
    gone = {name for name in before if after.get(name) != before[name]}
    assert gone <= {"torchao"}
    [line] = executed.cells[2].outputs
    print(f"\n{notebook}: {seconds:.0f} s; {line.text.strip()}")
    assert (content / "outputs" / "offline" / notebook).is_dir()


def freeze(project: Path) -> list[str]:
    """Return Colab's versions."""
    lines = (project / FREEZE).read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def all_packages():
    """Return the pins of all notebooks' models and texts."""
    return {pin for pins in hosted.PACKAGES.values() for pin in pins}


def versions(python: Path) -> dict[str, str]:
    """Return the version of each installed package."""
    lines = run(python, "-m", "pip", "freeze").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name: version for name, version in pairs}
