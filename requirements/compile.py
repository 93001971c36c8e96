"""Resolve the dependencies again.

This writes lock.txt, cuda.txt, uv.txt and the pins of environment.yml.

Run it with `make lock`.  It needs uv (`pip install uv`) and a package index,
and takes the newest releases that the ranges in pyproject.toml allow, for
every Python from 3.10 on and for every platform: a package whose version
depends on the Python stands in the result once for each version, with a
marker that tells pip which line is meant.

The CUDA packages go to a file of their own.  Only the Linux build of torch
on PyPI asks for them; whoever installs a CPU build saves their gigabytes.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
OLDEST_PYTHON = "3.10"

# environment.yml is made for this Python (and for Linux on x86-64, though no
# direct dependency differs by platform).
CONDA_PYTHON = {
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}

# Extras that not everyone needs; they have a list by hand.
APART = ("course", "vectors", "docs")

CUDA_STACK = re.compile(r"(nvidia|cuda)-[\w.-]+|triton")

HEADER = """\
# Made by requirements/compile.py (`make lock`) from pyproject.toml.
# {what}
# Install with: pip install --require-hashes --no-deps -r requirements/{name}
"""
LOCK = "Every package but the CUDA stack, for Python 3.10 to 3.13."
CUDA = "The CUDA stack, which only a CUDA build of torch on Linux needs."
UV = "uv, with which install.py fills the environment."
TORCH_NOTE = """\
# The last hash is that of the CPU build in requirements/torch-cpu.txt, which
# is accepted as well: it does without the gigabytes of requirements/cuda.txt.
"""


def extras() -> list[str]:
    """Return the names of the extras in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    [table] = re.findall(
        r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, re.M | re.S
    )
    return re.findall(r"^([\w-]+) = \[", table, re.M)


def resolve(*source: str, requirements: str | None = None) -> str:
    """Return uv's universal resolution of a source, with hashes.

    Args:
        source: Arguments that tell uv what to read.
        requirements: What uv reads as its standard input.
    """
    uv = os.environ.get("UV") or "uv"
    if shutil.which(uv) is None:
        sys.exit(f"error: {uv} not found; `pip install uv`, or set UV=path")
    command = [uv, "pip", "compile", *source]
    command += ["--universal", "--python-version", OLDEST_PYTHON]
    command += ["--generate-hashes", "--no-header", "--quiet"]
    # Resolving needs no interpreter of the oldest Python; fetch none.
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        input=requirements,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def split(resolution: str) -> tuple[list[str], list[str]]:
    """Split a resolution into the entries without and with the CUDA stack.

    An entry is a requirement's line, its hash lines, and the comment that
    says which packages asked for it.
    """
    lock, cuda = [], []
    for entry in re.split(r"^(?=[A-Za-z0-9])", resolution, flags=re.M):
        if not entry.strip():
            continue
        name = entry.split("==")[0]
        if not CUDA_STACK.fullmatch(name):
            lock.append(entry)
            continue
        cuda.append(entry)
        # cuda.txt can be left out only while nothing else wants its packages.
        for parent in re.findall(r"^    # +(?:via +)?(\S+)$", entry, re.M):
            if parent not in ("torch", "via"):
                if not CUDA_STACK.fullmatch(parent):
                    sys.exit(f"error: {parent} needs {name} of the CUDA stack")
    return lock, cuda


def accept_cpu_build(entry: str) -> str:
    """Add the CPU build's hash to torch's entry, and say why."""
    text = (FOLDER / "torch-cpu.txt").read_text("utf-8")
    version = re.search(r"^torch==(\S+)\+cpu ", text, re.M)[1]
    digest = re.search(r"--hash=\S+", text)[0]
    if not entry.startswith(f"torch=={version} "):
        sys.exit("error: put the new torch's CPU wheel in torch-cpu.txt")
    *_, last = re.findall(r"^    --hash=\S+", entry, re.M)
    return TORCH_NOTE + entry.replace(last, f"{last} \\\n    {digest}")


def pin_environment(lock: list[str]) -> None:
    """Set the versions in environment.yml to the lock's on Python 3.11."""
    versions = {}
    where = {**default_environment(), **CONDA_PYTHON}
    for entry in lock:
        found = Requirement(entry.splitlines()[0].rstrip(" \\"))
        if found.marker is None or found.marker.evaluate(where):
            versions[found.name] = str(found.specifier)
    path = ROOT / "environment.yml"
    path.write_text(
        re.sub(
            r"^( +- )([a-z0-9-]+)==\S+",
            lambda pin: pin[1] + pin[2] + versions.get(pin[2], "==missing"),
            path.read_text(encoding="utf-8"),
            flags=re.M,
        ),
        encoding="utf-8",
    )


def main() -> None:
    """Write the four files."""
    chosen = [f"--extra={name}" for name in extras() if name not in APART]
    lock, cuda = split(resolve("pyproject.toml", *chosen))
    uv = resolve("-", "--no-annotate", requirements="uv")
    pin_environment(lock)
    lock = [
        accept_cpu_build(entry) if entry.startswith("torch==") else entry
        for entry in lock
    ]
    for name, what, entries in (
        ("lock.txt", LOCK, lock),
        ("cuda.txt", CUDA, cuda),
        ("uv.txt", UV, [uv]),
    ):
        header = HEADER.format(what=what, name=name)
        (FOLDER / name).write_text(header + "".join(entries), "utf-8")
        print(f"requirements/{name}: {len(entries)} entries")


if __name__ == "__main__":
    main()
