"""Much output, and output that is lost, of real kernels."""

import time

import nbformat
from runs import NAME, WRITE_METRICS, run_once, write_notebook

from nlp_helpers.runner import client


def test_a_hundred_megabytes_of_text_are_cut(place):
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        "for _ in range(1000): print('x' * 100_000)",
        WRITE_METRICS,
    )
    assert run_once(place).status == "done"
    output = place / "outputs" / "offline" / f"{NAME}.ipynb"
    assert 1e6 < output.stat().st_size < 1.1e6
    assert "[cut: this cell printed more than 1,000,000" in output.read_text()


def test_a_cell_may_print_a_little_very_often(place, monkeypatch):
    """Nothing is lost, though the reader falls behind by a second."""
    take = client.WatchedClient.output
    waits = iter([1])

    def take_late(self, *arguments):
        time.sleep(next(waits, 0))
        return take(self, *arguments)

    monkeypatch.setattr(client.WatchedClient, "output", take_late)
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        "for number in range(4000): print(number, flush=True)",
        "for _ in range(10): print('x' * 100_000, end='', flush=True)\n"
        "print('one more')",
        "from IPython.display import clear_output",
        "print('x' * 999_999); clear_output(); print('y' * 1_000_001)",
        WRITE_METRICS,
    )
    result = run_once(place)
    assert result.status == "done", result.problem
    cells = nbformat.read(result.output, 4).cells[2:]
    numbers, lines, _, cleared, _ = (c.outputs for c in cells)
    assert numbers[0].text.split() == list(map(str, range(4000)))
    assert [out.text for out in lines] == ["x" * 1_000_000 + client.CUT]
    assert cleared[-1].text == "y" * 1_000_000 + client.CUT


def test_lost_messages_are_a_failure_with_a_copy(place, monkeypatch):
    """Where too much is printed, the word that a cell ended may be lost."""
    monkeypatch.setattr(client, "OUTPUT_TIMEOUT", 1)
    process = client.WatchedClient.process_message

    def lose(self, msg, cell, cell_index):
        if "lost" in cell.source and msg["msg_type"] == "status":
            return None
        return process(self, msg, cell, cell_index)

    monkeypatch.setattr(client.WatchedClient, "process_message", lose)
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb", "print('kept')", "'lost'"
    )
    result = run_once(place)
    assert "faster than could be read" in result.problem
    assert "kept" in result.output.read_text()
