"""Which runs there are, and what of them can go."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nlp_helpers.core import files, folders, paths
from nlp_helpers.runner import record

ENDED = ("finished", "failed", "interrupted", "stale")


def runs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield folder and record of every run below outputs/.

    A run that says it is running, and whose process is gone, is `stale`.
    """
    outputs = paths.outputs()
    for path in _records():
        content = record.read_record(path)
        folder = path.parent.relative_to(outputs).as_posix()
        yield folder, content or {"status": "unreadable"}


def _records() -> list[Path]:
    """Return the run.json of every run; an attempt has its own in its run."""
    found = paths.outputs().rglob("run.json")
    return sorted(p for p in found if p.parent.name != record.ATTEMPT)


def clean(dry_run: bool = False) -> Iterator[tuple[Path, int]]:
    """Remove what no result needs; yield each path and its bytes.

    Nothing is touched that belongs to a run which is still going on.
    """
    for path in _records():
        content = record.read_record(path)
        if not content or content["status"] not in ENDED:
            continue
        for extra in _superfluous(path.parent, content):
            size = _size(extra)
            if not dry_run:
                shutil.rmtree(extra) if extra.is_dir() else extra.unlink()
            yield extra, size


def _superfluous(folder: Path, content: dict[str, Any]) -> Iterator[Path]:
    """Yield what is not needed of one run."""
    finished = content["status"] == "finished"
    # A training may have been started without a run, and be going on.
    unfinished = {
        training
        for training in folder.glob("training/*")
        if not (training / "history.json").exists()
    }
    # Hidden files are renamed when they are whole; these never were.
    hidden = folder.with_name(f".{folder.name}.ipynb")
    if hidden.exists():
        yield hidden
    for path in sorted(folder.rglob(".*")):
        above = path.relative_to(folder).parts[:-1]
        if path.name.endswith(".lock"):
            continue
        if any(part[0] == "." for part in above) or _is_being_made(path):
            continue
        if not unfinished.isdisjoint(path.parents):
            continue
        # In a hidden folder an unfinished run may find work to go on from.
        if path.is_file() or finished:
            yield path
    if finished:
        # The last checkpoint of a training that notebook 5 has not judged yet
        # saves it from training again.
        judged = content.get("artifacts", {})
        for history in sorted(folder.glob("training/*/history.json")):
            name = history.relative_to(folder.parent).as_posix()
            checkpoints = history.with_name("checkpoints")
            known = judged.get(name) == files.sha256(history)
            if known and checkpoints.is_dir():
                yield checkpoints


def _is_being_made(path: Path) -> bool:
    """Tell whether a process, in JupyterLab perhaps, has the lock of it."""
    half_made = files.HalfMade.of(path)
    return half_made is not None and folders.is_locked(half_made.lock_path)


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
