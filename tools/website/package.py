"""The package's wheel among the site's downloads, for Colab and the like.

While the project has no address, a hosted machine has the package from its
reader alone, who gets it here.
"""

import os
import subprocess
import sys
from pathlib import Path

from tools import badges

LONG_AGO = "946684800"  # of all files in the wheel: equal code, equal bytes


def build(folder: Path, root: Path = badges.ROOT) -> Path:
    """Build the wheel into a folder, and return its path."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "wheel", *options, "-w", str(folder), str(root)],
        env=os.environ | {"SOURCE_DATE_EPOCH": LONG_AGO},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"pip could not build the wheel: {done.stderr}")
    [wheel] = folder.glob("nlp_helpers-*.whl")
    return wheel
