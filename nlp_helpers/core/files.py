"""Safe writing and checking of files: whole or not at all."""

import glob
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from nlp_helpers.core.errors import REMEDIES, UserError, explain

PATIENCE = 60  # seconds before waiting for others is worth a line


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `target` when the block succeeds.

    An older `target` is replaced. If the block raises, nothing of it stays
    and `target` is as it was.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    staging = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    with writing(target):
        staging.mkdir(parents=True)
    try:
        with writing(target):
            yield staging
        # safetensors lets nobody but the owner read what it writes; here the
        # user's umask decides.
        mode = staging.stat().st_mode & 0o777
        for path in staging.rglob("*"):
            if not path.is_symlink():
                path.chmod(mode if path.is_dir() else mode & 0o666)
        replace_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def lock_of(target: Path) -> FileLock:
    """Return the lock of what is made at `target`."""
    return FileLock(target.with_name(f".{target.name}.lock"))


@contextmanager
def lock(target: Path) -> Iterator[None]:
    """Wait until nobody else makes `target`; say so if it takes long."""
    target.parent.mkdir(parents=True, exist_ok=True)
    waiting = lock_of(target)
    try:
        waiting.acquire(timeout=PATIENCE)
    except Timeout:
        print(
            f"{target} is being made by another process; waiting for it. If"
            f" there is none, remove {waiting.lock_file}",
            file=sys.stderr,
        )
        waiting.acquire()
    try:
        yield
    finally:
        waiting.release()


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """Give an empty folder as `staged_folder` does, under the lock of it.

    So nobody takes it for what a killed process left; what one did leave is
    removed.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    with writing(target), lock(target):
        remove_half_made(target)
        with staged_folder(target) as staging:
            yield staging


def make_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Have `make` fill the folder `target`, unless it is there already.

    Of several processes one makes it, and the others wait.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    with writing(target):
        if target.is_dir():
            return target
        with lock(target):
            if not target.is_dir():
                remove_half_made(target)
                with staged_folder(target) as staging:
                    make(staging)
    return target


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a folder for this process; a second one waits a second at most.

    Raises:
        UserError: another process has it.
    """
    # Not at once: `is_taken` may be looking.
    lock = FileLock(folder / ".lock", timeout=1)
    try:
        with writing(folder / ".lock"):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{folder} is being written by another process; wait for it, or"
            f" stop it; if there is none, remove {lock.lock_file}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_taken(lock: FileLock) -> bool:
    """Tell whether somebody holds a lock, on this machine or another.

    A process that ends lets go of its locks, however it ends.
    """
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except (Timeout, OSError, NotImplementedError):  # or nobody can tell
        return True


def remove_half_made(target: Path) -> None:
    """Remove what killed processes left of `target`.

    No other process may be making it.
    """
    for folder in target.parent.glob(f".{glob.escape(target.name)}-*"):
        shutil.rmtree(folder)


def replace_folder(staging: Path, target: Path) -> None:
    """Rename `staging` to `target`; an older `target` is replaced.

    Two processes that replace one target at a time are to hold a lock.
    """
    old = staging.with_name(f"{staging.name}-old")
    if target.exists():
        target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what is said of a full or closed disk into one line.

    Raises:
        UserError: a file of `target` could not be written.
    """
    what = "the cache (NLP_HELPERS_CACHE) or the project elsewhere"
    try:
        yield
    except SafetensorError as error:  # it has its own, for the disk too
        raise UserError(
            f"{target}: {error}; free some space, or move {what}"
        ) from error
    except OSError as error:
        named = Path(error.filename or target)
        place = target.parent  # or above it, where that cannot be made
        ours = named.is_relative_to(place) or place.is_relative_to(named)
        if error.errno not in REMEDIES or not ours:
            raise
        raise UserError(explain(error, what, target)) from error


def flush(folder: Path) -> None:
    """Have the files of a folder on the disk, should the power fail."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary file beside `path`, then rename it.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    staging = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            staging.write_text(text, encoding="utf-8")
            staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON; NaN and infinity are refused."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder; an older `target` is replaced, whole or not at all.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    with making(target) as staging:
        try:
            shutil.copytree(source, staging, dirs_exist_ok=True)
        except shutil.Error as error:
            [(_, _, cause), *_] = error.args[0]  # one for each file
            raise UserError(f"{target} cannot be written: {cause}") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_sha256(path: Path, expected: str, remedy: str) -> None:
    """Compare a file with its pinned hash.

    Raises:
        UserError: the file is missing, or not the pinned one; ends with the
            remedy.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; {remedy}")
    found = sha256(path)
    if found != expected:
        raise UserError(
            f"{path} has sha256 {found[:12]}..., pinned is {expected[:12]}...;"
            f" {remedy}"
        )
