"""Download a large file: from several mirrors, resumed, checked, recorded."""

import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import requests
from filelock import FileLock
from tqdm.auto import tqdm

from nlp_helpers import files
from nlp_helpers.errors import UserError
from nlp_helpers.paths import HEADLESS_VARIABLE

TIMEOUT = 20  # seconds without an answer
CHUNK = 1 << 16  # bytes; what a broken connection can lose


def download(urls: Sequence[str], target: Path, rows: int = 0) -> Path:
    """Return `target`, downloaded from the first mirror that has it.

    What a broken connection left stays in `target`.part, and the next call
    goes on from there. The first complete download records its sha256 beside
    the file; every later one must have the same. A second process waits.

    Args:
        urls: addresses of the same file.
        target: where it goes; a file that is there already is not fetched.
        rows: lines the gzipped file must have; 0 takes any number.

    Raises:
        UserError: no mirror answers, or the file is not the expected one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        return _download(urls, target, rows)


def _download(urls: Sequence[str], target: Path, rows: int) -> Path:
    """Do what `download` says, alone."""
    record = target.with_name(f"{target.name}.sha256")
    if target.exists():
        if record.exists() and files.sha256(target) != _recorded(record):
            raise UserError(
                f"{target} has changed since it was downloaded; delete it,"
                " and it is fetched again"
            )
        return target
    partial = target.with_name(f"{target.name}.part")
    failures = []
    for url in urls:
        try:
            _fetch(url, partial)
        except requests.RequestException as error:
            failures.append(f"{url} ({_cause(error)})")
            continue
        _check(partial, record, url, rows)
        partial.replace(target)
        return target
    raise UserError(
        f"{target.name} cannot be downloaded: {'; '.join(failures)}; try again"
        " later (what has come is kept), or use the offline profile, which"
        " needs no network"
    )


def _cause(error: requests.RequestException) -> str:
    """Say in a word or two what went wrong."""
    if error.response is not None:
        return f"status {error.response.status_code}"
    return type(error).__name__


def _fetch(url: str, partial: Path) -> None:
    """Fetch what is missing of `partial`, with a bar."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
    with requests.get(
        url, headers=headers, stream=True, timeout=TIMEOUT
    ) as answer:
        if (
            answer.status_code
            == requests.codes.requested_range_not_satisfiable
        ):
            size = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if size == str(have):
                return  # it was complete
            partial.unlink()  # longer than the file: of something else
            return _fetch(url, partial)
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        expected = None if length is None else have + int(length)
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm(
                total=expected,
                initial=have,
                desc=url.rpartition("/")[2],
                unit="B",
                unit_scale=True,
                disable=bool(os.environ.get(HEADLESS_VARIABLE)),
            ) as bar,
        ):
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if expected is not None and partial.stat().st_size != expected:
        raise requests.ConnectionError(f"{url} broke off")


def _recorded(record: Path) -> str:
    """Read the sha256 of the first download."""
    return record.read_text(encoding="utf-8").strip()


def _check(partial: Path, record: Path, url: str, rows: int) -> None:
    """Check rows and hash of a complete download; record a first hash.

    Raises:
        UserError: it is not the expected file; it is removed.
    """
    digest = files.sha256(partial)
    found = _count_lines(partial)
    problem = ""
    if found < 0:
        problem = "is no whole gzip file; try again"
    elif record.exists() and _recorded(record) != digest:
        problem = (
            f"has sha256 {digest[:12]}..., {record} says"
            f" {_recorded(record)[:12]}...; remove that record only if you"
            " trust the new file"
        )
    elif rows and found != rows:
        problem = f"has {found} rows, {rows} were published; try again"
    if problem:
        partial.unlink()
        raise UserError(f"{url} {problem}")
    files.write_text(record, digest + "\n")


def _count_lines(path: Path) -> int:
    """Count the lines of a gzipped file; -1 if it is damaged."""
    count, last = 0, b"\n"
    try:
        with gzip.open(path) as stream:
            while block := stream.read(CHUNK):
                count += block.count(b"\n")
                last = block[-1:]
    except (EOFError, OSError, zlib.error):
        return -1
    return count + (last != b"\n")
