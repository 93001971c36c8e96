"""What a training costs: one in a process of its own, measured from outside.

Time and memory of a training inside a process that has done other work
before would count that work too.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlp_helpers.core import files
from nlp_helpers.core.errors import UserError

SHOWN = 300  # characters of what a failed training said
# Between the caller and the training stands a small process: Linux counts in
# the peak of a process what its parent held when it was started.
LAUNCHER = """
import json, subprocess, sys, time
started = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
costs = dict.fromkeys(("processor_seconds", "peak_memory"), float("nan"))
costs["seconds"] = time.perf_counter() - started
if sys.platform != "win32":
    import resource
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    costs["processor_seconds"] = usage.ru_utime + usage.ru_stime
    costs["peak_memory"] = float(unit * usage.ru_maxrss)
print(json.dumps([status, costs]))
"""


def measure_training(
    values: Mapping[str, Any], folder: Path
) -> dict[str, float]:
    """Train as `python -m nlp_helpers train` does; return what it took.

    Args:
        values: all parameters of notebook 05; `output_dir` is replaced.
        folder: gets parameters.yaml and training/, of one training alone.

    Returns:
        `seconds` of the clock and `processor_seconds` of all cores, from the
        start of the process to its end, its import of the libraries included;
        `peak_memory`, the most that it held, in bytes, and them too. Windows
        tells the first alone, the others are not a number.

    Raises:
        UserError: the training failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "training", ignore_errors=True)  # it would go on
    path = folder / "parameters.yaml"
    files.write_json(path, {**values, "output_dir": str(folder)})
    command = [sys.executable, "-m", "nlp_helpers", "train", "--params"]
    log = folder / "training.log"
    with log.open("w", encoding="utf-8") as stream:
        measured = subprocess.run(
            [sys.executable, "-c", LAUNCHER, *command, path],
            stdout=subprocess.PIPE,
            stderr=stream,
            check=True,
        )
    status, costs = json.loads(measured.stdout)
    if status:
        said = log.read_text("utf-8", errors="replace")[-SHOWN:]
        raise UserError(f"the training into {folder} failed: {said.strip()}")
    return costs


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    every = [path] if path.is_file() else path.rglob("*")
    return sum(each.stat().st_size for each in every if each.is_file())
