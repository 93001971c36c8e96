"""run.json beside every executed notebook: what ran, and how it ended."""

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import nlp_helpers
from nlp_helpers.core import engine, files, folders, paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import registry
from nlp_helpers.runner.stages import Stage, read_stages
from nlp_helpers.runner.tasks import Task

PACKAGE = Path(nlp_helpers.__file__).parent
ATTEMPT = ".attempt"  # in a run's folder: a new run, while an old one is kept
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
# The entries that decide what a run writes, on whatever machine.
INPUT_KEYS = (
    "parameters",
    "notebook_sha256",
    "code_sha256",
    "inputs",
    "model",
    "reviews",
)


class Record:
    """The record of one notebook, on disk from the first moment.

    It says `running` until `finish` is called, so a run that was killed can
    be told from one that ended.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write the record as `running`."""
        self.path = path
        self.started = time.perf_counter()
        self.content: dict[str, Any] = {
            "status": "running",
            **content,
            **_this_process(),
        }
        files.write_json(path, self.content)

    def finish(self, status: str, **results: Any) -> float:
        """Write `finished`, `failed` or `interrupted`; return the seconds.

        The record of an attempt that finished goes beside its results, which
        then take the place of those that were kept.
        """
        seconds = round(time.perf_counter() - self.started, 2)
        self.content |= {"status": status, "seconds": seconds, **results}
        if status == "finished" and self.content.pop("kept", None):
            files.write_json(
                self.path.parent / ATTEMPT / "run.json", self.content
            )
            take_over(self.path.parent)
        else:
            files.write_json(self.path, self.content)
        return seconds


def read_record(path: Path) -> dict[str, Any] | None:
    """Return what a run.json says, or None if there is none to be read.

    A record that says `running` is returned as `stale` when the process that
    wrote it is gone, and with it its lock. What it was killed at, when all
    was whole and only renames were left, is done first.
    """
    lock_path = folders.exclusive_path(path.parent)
    if is_whole(path.parent) and not folders.is_locked(lock_path):
        with folders.exclusive(path.parent):
            take_over(path.parent)
    try:
        content = files.read_json(path)
        if content["status"] == "running" and not folders.is_locked(lock_path):
            # Unless it ended between the two.
            content = files.read_json(path)
            if content["status"] == "running":
                content["status"] = "stale"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content


def finished(content: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the record of the run whose results are there, or None.

    After a run that did not finish these are of the one before it, if that one
    was whole: its record is the entry `kept`.
    """
    if content and content["status"] != "finished":
        return content.get("kept")
    return content


def kept(output: Path) -> dict[str, Any] | None:
    """Return the record of the results that a new run must not destroy."""
    content = finished(read_record(output.with_suffix("") / "run.json"))
    if not content or not output.is_file():
        return None
    return content if artifacts(output) == content.get("artifacts") else None


def is_whole(folder: Path) -> bool:
    """Tell whether an attempt has only to be moved to its place."""
    return (folder / ATTEMPT / "run.json").is_file()


def take_over(folder: Path) -> None:
    """Put a whole attempt in the place of the results before it.

    Its run.json goes last. If this is interrupted, it can be called again.
    """
    attempt = folder / ATTEMPT
    record_path = attempt / "run.json"
    for new in sorted(attempt.iterdir()):
        if new != record_path and not new.name.startswith("."):
            old = folder / new.name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            new.rename(old)
    output = folder.with_name(f"{folder.name}.ipynb")
    hidden = hidden_notebook(output)
    if hidden.exists():
        hidden.replace(output)
    failed_notebook(output).unlink(missing_ok=True)
    content = files.read_json(record_path) | {"artifacts": artifacts(output)}
    files.write_json(folder / "run.json", content)
    shutil.rmtree(attempt)


def hidden_notebook(output: Path) -> Path:
    """Return where an executed notebook is until its run has ended."""
    return output.with_name(f".{output.name}")


def failed_notebook(output: Path) -> Path:
    """Return where the notebook of a run goes that did not finish."""
    return output.with_suffix(".failed.ipynb")


def _this_process() -> dict[str, Any]:
    """Return when and by which process a run was started."""
    now = datetime.now(timezone.utc)
    return {
        "started": now.isoformat(timespec="seconds"),
        "host": platform.node(),
        "pid": os.getpid(),
    }


def describe(task: Task, stage: Stage) -> dict[str, Any]:
    """Return all that decides what a run of a notebook writes, hashed.

    `key` is one hash of all of it: two runs with the same key on the same
    machine write the same.

    Raises:
        UserError: there is no such notebook.
    """
    notebook, values = task.notebook, task.values
    source = paths.project_root() / "notebooks" / f"{notebook}.ipynb"
    if not source.is_file():
        raise UserError(f"{source} is missing; restore it (git checkout)")
    decides = {
        "parameters": dict(values),
        "notebook_sha256": files.sha256(source),
        "code_sha256": _hash_code(),
        "inputs": {
            name: hash_outputs(paths.resolve(values[name]), writer)
            for name, writer in stage.inputs.items()
        },
        "model": _describe_folder(values["model_name"])
        or registry.origin(values["model_name"]),
        "reviews": _describe_folder(values.get("review_source", "")),
        "python": platform.python_version(),
        "packages_sha256": files.hash_text(json.dumps(_packages())),
        "platform": platform.platform(),
        "processors": engine.processors(),
        "gpus": uses_gpu(values) and os.environ.get(VISIBLE_GPUS, "all"),
        "float32": bool(os.environ.get(paths.FLOAT32_VARIABLE)),
        "expected_outputs": [stage.artifacts, stage.bounds],
    }
    key = files.hash_text(json.dumps(decides, sort_keys=True))
    named = {"notebook": notebook, "profile": task.profile, "key": key}
    return named | decides


def matches(content: dict[str, Any], description: dict[str, Any]) -> bool:
    """Tell whether a record is of what is description now.

    Runs of a sweep are compared without Python, packages and machine: another
    machine of a cluster may have run it.
    """
    if description["profile"] == "sweep":
        return matches_inputs(content, description)
    return content.get("key") == description["key"]


def matches_inputs(
    content: dict[str, Any], description: dict[str, Any]
) -> bool:
    """Tell whether a record is of the same, on whatever machine."""
    return all(content.get(name) == description[name] for name in INPUT_KEYS)


def uses_gpu(values: Mapping[str, Any]) -> bool:
    """Tell whether a notebook will compute on a GPU."""
    if os.environ.get(VISIBLE_GPUS) in ("", "-1"):
        return False
    # Asked of the driver: torch would take seconds to import.
    driver = shutil.which("nvidia-smi") or Path("/dev/nvidiactl").exists()
    return values["device"] == "cuda" or (
        values["device"] == "auto" and bool(driver)
    )


def environment() -> dict[str, Any]:
    """Return what else a reader wants to know: packages, git commit."""
    return {"packages": _packages(), "git": _git()}


@cache
def _packages() -> dict[str, str]:
    """Return the version of every installed package."""
    versions = {
        name: distribution.version
        for distribution in distributions()
        if (name := distribution.metadata["Name"])  # a broken one has none
    }
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


@cache
def _git() -> dict[str, Any] | None:
    """Return commit and whether files differ from it; None without git."""
    printed = []
    for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"]):
        command = ["git", "-C", str(paths.project_root()), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            return None
        if done.returncode:
            return None
        printed.append(done.stdout.strip())
    return {"commit": printed[0], "dirty": bool(printed[1])}


@cache
def _hash_code() -> str:
    """Hash the helpers, without the runner: it changes no result."""
    sources = [
        path
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".yaml") and path.parent.name != "runner"
    ]
    return files.hash_tree(PACKAGE, sources)


def hash_outputs(folder: Path, notebook: str) -> str:
    """Hash what a notebook left for others in its folder."""
    output_files = [
        path
        for name in read_stages()[notebook].outputs
        for path in (folder / name).rglob("*")
        if path.is_file()
    ]
    return files.hash_tree(folder, output_files)


def _describe_folder(name: str) -> str | None:
    """Return a hash of a folder's names, sizes and times, if it is one.

    Models and reviews may be too large to be read again for each run.
    """
    if not name or name in registry.registry():
        return None
    folder = paths.resolve(name)
    if not folder.is_dir():
        return None
    stats = [
        (str(p), p.stat().st_size, p.stat().st_mtime_ns)
        for p in _files_below(folder)
        if p.is_file()
    ]
    return files.hash_text(json.dumps(stats))


def _files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files of a folder, links followed, but not round in a ring."""
    real = folder.resolve()
    if real in above:
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files_below(path, (*above, real))
        else:
            yield path


def artifacts(output: Path) -> dict[str, str]:
    """Hash an executed notebook and the results in its folder.

    Results are all but run.json and what `cleanup.clean` may remove:
    hidden files and folders, and checkpoints.
    """
    folder = output.with_suffix("")
    all_files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).parts for path in all_files]
    results = [
        path
        for path, parts in zip(all_files, names, strict=True)
        if parts != ("run.json",)
        and "checkpoints" not in parts
        and not any(part.startswith(".") for part in parts)
    ]
    return {
        path.relative_to(output.parent).as_posix(): files.sha256(path)
        for path in [output, *results]
    }
