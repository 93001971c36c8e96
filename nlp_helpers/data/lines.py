"""Give DuckDB a file of JSON lines, and find single lines of it again.

DuckDB says by their numbers which records it is not sure of. Their bytes are
found here without another pass over the file: of a plain file only the ends
of lines are looked for, and a packed one is unpacked once, by a thread that
hands each block to DuckDB through a pipe and keeps it until DuckDB's rows have
gone past it.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

import numpy as np

from nlp_helpers.data.formats import (
    BYTE_ORDER_MARK,
    DAMAGED,
    detect_packing,
    open_binary,
)
from nlp_helpers.data.records import MAX_RECORD_BYTES, TOO_LONG, Record

BLOCK_BYTES = 1 << 19  # less, and Python has more to do than numpy
BLANK = b" \t\r\n"
OPEN_FILES = Path("/dev/fd")  # where a process sees its own; Windows has none


def blocks_of(stream: BufferedIOBase) -> Iterator[bytes]:
    """Yield whole lines, some `BLOCK_BYTES` at once; the last may lack an end.

    A line that is longer than any record comes in pieces.
    """
    while piece := stream.read(BLOCK_BYTES):
        yield piece + stream.readline(MAX_RECORD_BYTES)


class Finder:
    """Finds lines by the numbers of their records, which may only rise.

    A record is a line that is not blank, counted from 1.
    """

    def __init__(self, blocks: Iterator[bytes]):
        """Take blocks as `blocks_of` yields them."""
        self._blocks = blocks
        self._block = b""
        self._starts = self._ends = self._places = np.empty(0, np.int64)
        self._lines = 0  # of the blocks before this one
        self._records = 0

    def skip(self, record: int) -> None:
        """Let go of all blocks that end before a record."""
        while self._records + len(self._places) < record and self._advance():
            pass

    def find(self, record: int) -> Record | None:
        """Return the number and the bytes of a record's line, or why none.

        None if the file has fewer records.
        """
        self.skip(record)
        if self._records + len(self._places) < record:
            return None
        place = self._places[record - self._records - 1]
        number = self._lines + int(place) + 1
        content = self._block[self._starts[place] : self._ends[place]]
        if number == 1:
            content = content.removeprefix(BYTE_ORDER_MARK)
        return number, (TOO_LONG if is_too_long(content) else content)

    def count(self) -> int:
        """Go to the end of the file; return how many records it has."""
        while self._advance():
            pass
        return self._records + len(self._places)

    def _advance(self) -> bool:
        """Take the next block; say whether there was one."""
        block = next(self._blocks, None)
        if block is None:
            return False
        self._lines += len(self._starts)
        self._records += len(self._places)
        self._block = block
        content = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(content == ord("\n")) + 1
        if not block.endswith(b"\n"):
            ends = np.append(ends, len(block))
        self._ends = ends
        self._starts = np.append(0, ends[:-1])
        filled = content[self._starts] > ord(" ")
        # Lines of one byte that begin so are blank; of the others each is
        # looked at, as records may be indented.
        longer = ~filled & (ends - self._starts > 1)
        for place in np.flatnonzero(longer):
            line = block[self._starts[place] : ends[place]]
            filled[place] = bool(line.strip(BLANK))
        self._places = np.flatnonzero(filled)
        return True


def is_too_long(line: bytes) -> bool:
    """Say whether the lenient reader refuses to hold such a line."""
    return len(line) >= MAX_RECORD_BYTES


class Source:
    """A file of JSON lines as DuckDB reads it.

    Attributes:
        path: what DuckDB opens.
        packing: how that is packed; `plain` where a thread unpacks it.
        finder: of its lines.
        fed: whether a thread unpacks it; then `Finder.skip` lets go of blocks.
        damaged: whether the file breaks off or goes wrong; known at the end.
        over: whether nobody wants the rest.
    """

    def __init__(self, path: Path, packing: str, finder: Finder):
        """Take what DuckDB opens, which no thread has begun to unpack."""
        self.path = path
        self.packing = packing
        self.finder = finder
        self.fed = False
        self.damaged = False
        self.over = False


@contextmanager
def open_lines(path: Path) -> Iterator[Source]:
    """Open a plain or packed file of JSON lines for DuckDB.

    Raises:
        UserError: it is an archive of several files.
    """
    packing = detect_packing(path)
    if packing == "plain" or not OPEN_FILES.is_dir():
        with open_binary(path) as stream:
            yield Source(path, packing, Finder(blocks_of(stream)))
        return
    reading, writing = os.pipe()
    queue: SimpleQueue[bytes | None] = SimpleQueue()
    source = Source(
        OPEN_FILES / str(reading), "plain", Finder(iter(queue.get, None))
    )
    source.fed = True
    thread = threading.Thread(
        target=_feed,
        args=(path, os.fdopen(writing, "wb", 0), queue, source),
        daemon=True,
    )
    thread.start()
    try:
        yield source
    finally:
        source.over = True
        while os.read(reading, BLOCK_BYTES):
            pass  # the thread waits for a reader, whether DuckDB is one or not
        os.close(reading)
        thread.join()


def _feed(
    path: Path,
    pipe: BinaryIO,
    queue: "SimpleQueue[bytes | None]",
    source: Source,
) -> None:
    """Unpack a file into a pipe, and each block into the queue before."""
    try:
        with pipe, open_binary(path) as stream:
            for block in blocks_of(stream):
                queue.put(block)
                rest = memoryview(block)
                while rest:
                    rest = rest[pipe.write(rest) :]
                if source.over:
                    break
    except DAMAGED:
        source.damaged = True
    finally:
        queue.put(None)
