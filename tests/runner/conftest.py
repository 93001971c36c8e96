"""Where the tests of the runner run notebooks."""

import shutil
import subprocess

import pytest
from runs import NAME, SLOW, WRITE_METRICS, write_notebook


@pytest.fixture
def place(root, project):
    shutil.copytree(project / "params", root / "params")
    (root / "notebooks").mkdir()
    write_notebook(root / "notebooks" / f"{NAME}.ipynb", SLOW, WRITE_METRICS)
    return root


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder of 1 MB; skip where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount).returncode:
        pytest.skip("this user cannot mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
