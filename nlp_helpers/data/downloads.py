"""Download a large file: resumed, checked, recorded."""

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import requests
import urllib3
from tqdm.auto import tqdm

from nlp_helpers.core import files, folders
from nlp_helpers.core.errors import UserError
from nlp_helpers.core.paths import HEADLESS_VARIABLE

TIMEOUT = 20  # seconds without an answer
CHUNK = 1 << 16  # bytes; read at once


def download(url: str, target: Path, rows: int = 0) -> Path:
    """Return `target`, downloaded if it is not there.

    What a broken connection left stays in `target`.part, and the next call
    goes on from there. The first complete download records its sha256 beside
    the file; every later one must have the same. A second process waits.

    Args:
        url: where the file is.
        target: where it goes; a file that is there already is not fetched.
        rows: lines the gzipped file must have; 0 takes any number.

    Raises:
        UserError: nothing answers, the file is not the expected one, or the
            disk is full or cannot be written.
    """
    if target.exists():  # in a folder that only its owner can write, perhaps
        return _download(url, target, rows)
    with files.writing(target), folders.lock(target):
        return _download(url, target, rows)


def _download(url: str, target: Path, rows: int) -> Path:
    """Do what `download` says, alone."""
    record = target.with_name(f"{target.name}.sha256")
    if target.exists():
        if record.exists() and files.sha256(target) != _recorded(record):
            raise UserError(
                f"{target} has changed since it was downloaded; delete it to"
                " download it again"
            )
        return target
    partial = target.with_name(f"{target.name}.part")
    try:
        complete = _fetch(url, partial)
        problem = _check(complete, record, rows)
    except requests.RequestException as error:
        problem = f"({_cause(error)})"
    else:
        if problem:
            complete.unlink()
    if problem:
        raise UserError(
            f"{url} {problem}, so {target.name} cannot be downloaded; try"
            " again later (the part that arrived is kept), or set"
            " review_source to amazon-snippets, which needs no network"
        )
    complete.replace(target)
    partial.unlink(missing_ok=True)
    _whole(partial).unlink(missing_ok=True)
    return target


def _whole(partial: Path) -> Path:
    """Return where an answer goes that does not go on with `partial`."""
    return partial.with_name(f"{partial.name}-whole")


def _cause(error: requests.RequestException) -> str:
    """Say in a word or two what went wrong."""
    if error.response is not None:
        return f"status {error.response.status_code}"
    return type(error).__name__


def _fetch(url: str, partial: Path) -> Path:
    """Fetch what is missing of `partial`, with a bar; return what is whole.

    A server that cannot go on where `partial` ends sends everything. That
    goes to a file beside it: it may be the page of a proxy.
    """
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(
        url, headers=headers, stream=True, timeout=TIMEOUT
    ) as answer:
        status = answer.status_code
        if have and status == requests.codes.requested_range_not_satisfiable:
            size = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if size == str(have):
                return partial  # it was complete
            partial.unlink()  # longer than the file: of something else
            return _fetch(url, partial)
        answer.raise_for_status()
        resumed = status == requests.codes.partial_content
        if have and not resumed:
            have, partial = 0, _whole(partial)
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
            for chunk in _raw_chunks(answer):
                file.write(chunk)
                bar.update(len(chunk))
    if expected is not None and partial.stat().st_size != expected:
        raise requests.ConnectionError(f"{url} broke off")
    return partial


def _raw_chunks(answer: requests.Response) -> Iterator[bytes]:
    """Yield the bytes as they are on the server.

    Some servers call a .gz file an encoding, and requests would unpack it.
    """
    try:
        yield from answer.raw.stream(CHUNK, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


def _recorded(record: Path) -> str:
    """Read the sha256 of the first download."""
    return record.read_text(encoding="utf-8").strip()


def _check(complete: Path, record: Path, rows: int) -> str:
    """Say what is wrong with a complete download; record a first hash."""
    digest = files.sha256(complete)
    num_rows = _count_lines(complete)
    if num_rows < 0:
        return "is not a complete gzip file"
    if record.exists() and _recorded(record) != digest:
        return (
            f"has sha256 {digest[:12]}..., and {record} says"
            f" {_recorded(record)[:12]}... (remove that record only if you"
            " trust the new file)"
        )
    if rows and num_rows != rows:
        return f"has {num_rows} rows instead of the {rows} published"
    files.write_text(record, digest + "\n")
    return ""


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
