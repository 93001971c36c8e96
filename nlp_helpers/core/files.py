"""Files: written whole or not at all, and hashed in one way."""

import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from nlp_helpers.core.errors import UserError, explain

SHORT = 16  # digits of a hash that is part of a name


@dataclass(frozen=True)
class HalfMade:
    """The hidden names beside a file or folder, under which it is made.

    `.name-key` is the target on its way, `.name.lock` the lock of whoever
    makes it. Nothing else knows these names.
    """

    target: Path

    def path(self, key: str = "") -> Path:
        """Return where the target is made; without a key, a new place."""
        key = key or uuid.uuid4().hex[:8]
        return self.target.with_name(f".{self.target.name}-{key}")

    @property
    def lock_path(self) -> Path:
        """Return the lock file of whoever makes the target."""
        return self.target.with_name(f".{self.target.name}.lock")

    @classmethod
    def of(cls, hidden: Path) -> "HalfMade | None":
        """Tell what a hidden path is half of; None if of nothing."""
        name = hidden.name.removeprefix(".").removesuffix("-old")
        name, _, _ = name.rpartition("-")
        return cls(hidden.with_name(name)) if name else None

    def leftovers(self) -> list[Path]:
        """Return what there is of the target under hidden names."""
        pattern = f".{glob.escape(self.target.name)}-*"
        return sorted(self.target.parent.glob(pattern))

    def remove(self, keep: Path | None = None) -> None:
        """Remove what killed processes left; nobody may be making it."""
        for path in self.leftovers():
            if path == keep:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what the system says of a disk or a path into one line.

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
        parent = target.parent  # or above it, where that cannot be made
        ours = named.is_relative_to(parent) or parent.is_relative_to(named)
        # A library's, or of a connection, is no matter of this file.
        if error.errno is None or isinstance(error, ConnectionError):
            raise
        if not ours:
            raise
        raise UserError(explain(error, what, target)) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Have a system error name the file, which it does only at opening."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


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
    staging = HalfMade(path).path()
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
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Once a process for a file that does not change: weights are large.
    """
    stat = path.stat()
    version = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _sha256_of_version(path, version)


@lru_cache(maxsize=1024)
def _sha256_of_version(path: Path, version: tuple[int, ...]) -> str:
    """Hash a file; another version is another entry of the cache."""
    with reading(path), path.open("rb") as file:
        return hash_parts(iter(lambda: file.read(1 << 20), b""))


def hash_parts(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of some bytes, part after part, as 64 digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text as 64 hexadecimal digits."""
    return hash_parts([text.encode()])


def hash_tree(folder: Path, paths: Iterable[Path]) -> str:
    """Hash the names below `folder` and the contents of files."""
    return hash_text(
        "\n".join(
            f"{path.relative_to(folder).as_posix()} {sha256(path)}"
            for path in sorted(paths)
        )
    )


def check_sha256(path: Path, expected: str, remedy: str) -> None:
    """Compare a file with its pinned hash.

    Raises:
        UserError: the file is missing, or not the pinned one; ends with the
            remedy.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; {remedy}")
    digest = sha256(path)
    if digest != expected:
        raise UserError(
            f"{path} has sha256 {digest[:12]}..., pinned is"
            f" {expected[:12]}...; {remedy}"
        )
