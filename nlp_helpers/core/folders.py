"""Folders that appear whole or not at all, and who may write to them."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nlp_helpers.core.errors import UserError
from nlp_helpers.core.files import HalfMade, writing

PATIENCE = 60  # seconds before waiting for others is worth a line


@contextmanager
def atomic_folder(target: Path, locked: bool = True) -> Iterator[Path]:
    """Give an empty folder that becomes `target` when the block succeeds.

    An older `target` is replaced. If the block raises, nothing of it stays
    and `target` is as it was. What a killed process left is removed.

    Args:
        target: the folder.
        locked: keep others from making it meanwhile; False where the caller
            has a lock already.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    if not locked:
        with _staged(target) as staging:
            yield staging
        return
    with writing(target), lock(target):
        recover(target)
        with _staged(target) as staging:
            yield staging


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Do what `atomic_folder` says, without a lock."""
    staging = HalfMade(target).path()
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


def cached_folder(target: Path, make: Callable[[Path], None]) -> Path:
    """Have `make` fill the folder `target`, unless it is there already.

    Of several processes one makes it, and the others wait.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    with writing(target):
        if target.is_dir():
            return target
        with lock(target):
            recover(target)
            if not target.is_dir():
                with atomic_folder(target, locked=False) as staging:
                    make(staging)
    return target


def recover(target: Path, keep: Path | None = None) -> None:
    """Bring back what a killed process had moved away; remove its rest.

    Between the two renames of `replace_folder` the old folder is the only one.
    The caller holds the lock of `target`.

    Args:
        target: the folder.
        keep: half-made work that is gone on with.
    """
    if not target.exists():
        for old in HalfMade(target).leftovers():
            if old.name.endswith("-old"):
                old.rename(target)
                break
    HalfMade(target).remove(keep)


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


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder; an older `target` is replaced, whole or not at all.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    with atomic_folder(target) as staging:
        try:
            shutil.copytree(source, staging, dirs_exist_ok=True)
        except shutil.Error as error:
            [(_, _, cause), *_] = error.args[0]  # one for each file
            raise UserError(f"{target} cannot be written: {cause}") from error


@contextmanager
def lock(target: Path) -> Iterator[None]:
    """Wait until nobody else makes `target`; say so if it takes long."""
    target.parent.mkdir(parents=True, exist_ok=True)
    waiting = FileLock(HalfMade(target).lock_path)
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


def exclusive_path(folder: Path) -> Path:
    """Return the lock file of the process that has a folder for itself."""
    return folder / ".lock"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep a folder for this process; a second one waits a second at most.

    Raises:
        UserError: another process has it.
    """
    # Not at once: `is_locked` may be looking.
    lock = FileLock(exclusive_path(folder), timeout=1)
    try:
        with writing(exclusive_path(folder)):
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


def is_locked(lock_path: Path) -> bool:
    """Tell whether somebody holds a lock, on this machine or another.

    A process that ends lets go of its locks, however it ends.
    """
    if not lock_path.exists():
        return False
    try:
        with FileLock(lock_path).acquire(timeout=0):
            return False
    except (Timeout, OSError, NotImplementedError):  # or nobody can tell
        return True
