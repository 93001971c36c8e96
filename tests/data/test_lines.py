"""Lines found again by their records' numbers, in plain and packed files."""

import bz2
import gzip
import io
import json
import lzma
import threading
from contextlib import ExitStack

import pyarrow.parquet as pq
import pytest
from archives import zipped, zstandard

from nlp_helpers.data import lines, reading
from nlp_helpers.data.records import TOO_LONG

PACKED = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard,
    "zip": lambda content: zipped(content, "a.json"),
}
# Blank lines are no records; a text too short, a list, and damage are doubts.
PIECES = [
    b'{"reviewText": "no. %d", "overall": 5}\n' % n for n in range(20_000)
]
PIECES[70] = b" \t\r\n" + PIECES[70]
PIECES[7_000] = b"{damaged\n"
PIECES[7_001] = b'{"reviewText": "[1]", "overall": 4}\n'
PIECES[12_345] = b"\n\n" + b'{"reviewText": "", "overall": 3}\n'
PIECES[-1] = b'{"reviewText": "caf\xe9", "overall": 1}'


@pytest.fixture
def one_pass(monkeypatch):
    """Fail if a file goes through the lenient reader as a whole."""
    monkeypatch.setattr(reading, "_read_leniently", None)


@pytest.mark.parametrize("block", [100, 1 << 20])
def test_a_line_is_found_by_the_number_of_its_record(monkeypatch, block):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block)
    content = b"\xef\xbb\xbf" + b"".join(PIECES)
    finder = lines.Finder(lines.blocks_of(io.BytesIO(content)))
    assert finder.find(1) == (1, PIECES[0])
    assert finder.find(70) == (70, PIECES[69])
    assert finder.find(71) == (72, PIECES[70].lstrip())
    finder.skip(9_000)
    assert finder.find(12_346) == (12_349, PIECES[12_345].lstrip())
    assert finder.find(12_346) == (12_349, PIECES[12_345].lstrip())
    assert finder.find(20_000) == (20_003, PIECES[-1])
    assert finder.find(20_001) is None
    assert finder.count() == 20_000


def test_a_line_without_an_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(lines, "MAX_RECORD_BYTES", 5 << 20)
    stream = io.BytesIO(b"x" * (30 << 20))
    blocks = list(lines.blocks_of(stream))
    assert max(map(len, blocks)) < 7 << 20
    assert lines.Finder(iter(blocks)).find(1) == (1, TOO_LONG)


@pytest.mark.parametrize("name", PACKED)
def test_a_few_doubts_cost_no_second_pass(
    tmp_path, monkeypatch, name, one_pass
):
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1 << 16)
    path, target = tmp_path / "reviews", tmp_path / "part"
    path.write_bytes(PACKED[name](b"".join(PIECES)))
    report = reading.read_file(path, "a", target)
    assert (report.reader, report.rows) == ("strict", 20_000)
    # The four, and none of the others: a short text is no doubt by itself.
    assert report.doubtful == 4
    assert report.dropped == {"damaged JSON": 1, "no text": 1}
    assert [reject["line"] for reject in report.rejects] == [7_002, 12_349]
    assert report.repaired == {"invalid UTF-8": 1}
    assert report.garbled_line == 20_003
    rows = {row["record"]: row for row in pq.read_table(target).to_pylist()}
    assert len(rows) == report.kept == 19_998
    assert rows[7_002]["text"] == "[1]"
    assert rows[20_000]["text"] == "caf\ufffd"
    for number in (1, 71, 7_000, 12_345, 19_999):
        text = json.loads(PIECES[number - 1])["reviewText"]
        assert rows[number]["text"] == text


@pytest.mark.parametrize("end", ["cut off", "check sum"])
def test_a_packed_file_that_ends_badly_is_not_trusted(
    tmp_path, monkeypatch, end
):
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1 << 16)
    content = bytearray(gzip.compress(b"".join(PIECES)))
    if end == "cut off":
        del content[-100:]
    else:
        content[-6] ^= 0xFF
    path = tmp_path / "reviews"
    path.write_bytes(content)
    report = reading.read_file(path, "a", tmp_path / "part")
    assert report.reader == "lenient"
    assert report.dropped["truncated file"] == 1


def test_objects_over_several_lines_among_others_are_put_together(tmp_path):
    spread = json.dumps({"reviewText": "spread", "overall": 2}, indent=1)
    shared = PIECES[1].strip() + PIECES[2]
    content = b"".join([*PIECES[:50], spread.encode(), b"\n", shared])
    path = tmp_path / "reviews"
    path.write_bytes(content)
    report = reading.read_file(path, "a", tmp_path / "part")
    assert (report.rows, report.kept) == (53, 53)


def test_a_reader_that_gives_up_does_not_wait_for_the_thread(tmp_path):
    path = tmp_path / "reviews"
    path.write_bytes(gzip.compress(b"x" * (40 << 20) + b"\n"))
    before = threading.active_count()
    with ExitStack() as stack:
        with (
            pytest.raises(ValueError, match="enough"),
            lines.open_lines(path) as source,
        ):
            assert source.fed
            # DuckDB may hold the pipe for longer than the error lives.
            pipe = stack.enter_context(source.path.open("rb"))
            pipe.read(10)
            raise ValueError("enough")
        assert threading.active_count() == before
