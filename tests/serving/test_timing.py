"""Requests that take a known time."""

import threading
import time

import pytest

from nlp_helpers.serving.timing import time_requests


def test_latency_and_throughput_are_those_of_the_requests():
    asked = []

    def ask(texts):
        asked.append(texts)
        time.sleep(0.02)

    found = time_requests(ask, [*"abcdefg"], clients=1, size=2)
    assert asked == [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]
    assert 20 <= found["median"] <= found["slowest 5 %"]
    # Four requests one after another take four times as long as one.
    assert found["texts a second"] <= 7 / 0.08


def test_clients_ask_at_the_same_time():
    """Each waits until all have asked: one alone would wait for ever."""
    together = threading.Barrier(4, timeout=30)
    found = time_requests(lambda texts: together.wait(), "abcd", 4, 1)
    assert found["texts a second"] > 0


def test_an_error_of_a_request_is_raised():
    def ask(texts):
        raise ConnectionError(texts[0])

    with pytest.raises(ConnectionError, match="a"):
        time_requests(ask, "ab", 2, 1)
