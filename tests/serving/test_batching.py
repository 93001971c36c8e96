import asyncio
import threading
from contextlib import closing

import pytest

from nlp_helpers.core import memory
from nlp_helpers.core.errors import UserError
from nlp_helpers.serving import batching as batching_module
from nlp_helpers.serving.batching import UNFINISHED, Batcher, Lane
from nlp_helpers.serving.failures import ServiceError


class Doubler:
    """Doubles numbers, once it may, and keeps what each pass was given."""

    def __init__(self):
        self.passes = []
        self.may_go = threading.Event()
        self.begun = threading.Event()

    def run(self, values):
        self.begun.set()
        assert self.may_go.wait(20)
        self.passes.append(list(values))
        if -1 in values:
            raise ValueError("no number")
        return [2 * value for value in values]


@pytest.fixture
def doubler():
    return Doubler()


@pytest.fixture
def lane(doubler):
    return Lane("numbers", lambda: doubler, model=doubler)


def batcher(max_tokens=100, max_waiting=100):
    return closing(Batcher(max_tokens, max_waiting, lambda *_: None))


async def hold(batching, lane):
    """Have a first pass begun that does not end yet."""
    [first] = batching.submit(lane, [0], [1])
    while not lane.model.begun.is_set():
        await asyncio.sleep(0.001)
    return first


def test_what_waits_during_a_pass_makes_the_next_one(run, lane, doubler):
    async def ask(batching):
        first = await hold(batching, lane)
        futures = [batching.submit(lane, [n], [1])[0] for n in range(1, 6)]
        doubler.may_go.set()
        return await asyncio.gather(first, *futures)

    with batcher() as batching:
        assert run(ask(batching)) == [0, 2, 4, 6, 8, 10]
    assert doubler.passes == [[0], [1, 2, 3, 4, 5]]


def test_a_pass_holds_no_more_than_its_tokens(run, lane, doubler):
    async def ask(batching):
        first = await hold(batching, lane)
        futures = batching.submit(lane, [1, 2, 3, 4], [40, 50, 20, 500])
        doubler.may_go.set()
        return await asyncio.gather(first, *futures)

    with batcher(max_tokens=100) as batching:
        assert run(ask(batching)) == [0, 2, 4, 6, 8]
    assert doubler.passes == [[0], [1, 2], [3], [4]]


def test_a_bad_value_fails_alone(run, lane, doubler):
    async def ask(batching):
        first = await hold(batching, lane)
        futures = batching.submit(lane, [1, -1, 2], [1, 1, 1])
        doubler.may_go.set()
        return await asyncio.gather(first, *futures, return_exceptions=True)

    with batcher() as batching:
        *_, one, bad, two = run(ask(batching))
    assert (one, two) == (2, 4)
    assert isinstance(bad, ValueError)


def test_what_is_cancelled_costs_no_pass(run, lane, doubler):
    async def ask(batching):
        first = await hold(batching, lane)
        kept, gone = batching.submit(lane, [1, 2], [1, 1])
        gone.cancel()
        doubler.may_go.set()
        return await asyncio.gather(first, kept)

    with batcher() as batching:
        run(ask(batching))
        assert batching.waiting == 0
    assert doubler.passes == [[0], [1]]


def test_a_full_queue_refuses_and_keeps_what_it_has(run, lane, doubler):
    async def ask(batching):
        first = await hold(batching, lane)
        futures = batching.submit(lane, [1, 2], [1, 1])
        with pytest.raises(ServiceError, match="2 texts wait") as refused:
            batching.submit(lane, [3, 4], [1, 1])
        assert refused.value.status_code == 429
        doubler.may_go.set()
        return await asyncio.gather(first, *futures)

    with batcher(max_waiting=3) as batching:
        assert run(ask(batching)) == [0, 2, 4]


class Countdown:
    """Wants as many passes as a value says."""

    def __init__(self, order):
        self.order = order
        self.left = {}

    def run(self, values):
        [value] = values
        self.order.append(value)
        self.left[value] = self.left.get(value, int(value[1])) - 1
        return [UNFINISHED if self.left[value] else value]


def test_long_work_takes_turns_with_its_like_and_with_other_lanes(
    run, lane, doubler
):
    order = []
    long = Lane("long", lambda: None, max_items=1, model=Countdown(order))
    doubler.run = lambda values: order.extend(values) or values

    async def ask(batching):
        with batching._changed:  # nothing begins before all is there
            futures = batching.submit(long, ["a3", "b2"], [1, 1])
            futures += batching.submit(lane, [7], [1])
        return await asyncio.gather(*futures)

    with batcher() as batching:
        assert run(ask(batching)) == ["a3", "b2", 7]
    assert order.index(7) < 4
    assert [each for each in order if each != 7] == [
        "a3",
        "b2",
        "a3",
        "b2",
        "a3",
    ]


def test_closing_computes_what_waits(run, lane, doubler):
    async def ask(batching):
        first = await hold(batching, lane)
        futures = batching.submit(lane, [1, 2], [1, 1])
        closer = threading.Thread(target=batching.close)
        closer.start()
        doubler.may_go.set()
        return await asyncio.gather(first, *futures)

    batching = Batcher(100, 100, lambda *_: None)
    assert run(ask(batching)) == [0, 2, 4]


def test_a_model_that_cannot_be_loaded_is_tried_again(run):
    tries = []

    def load():
        tries.append(1)
        if len(tries) == 1:
            raise UserError("its file is missing; copy it there")
        return Doubler()

    lane = Lane("late", load)

    async def ask(batching):
        with pytest.raises(ServiceError, match="late: its file") as refused:
            await batching.loaded(lane)
        assert refused.value.status_code == 424
        both = await asyncio.gather(
            batching.loaded(lane), batching.loaded(lane)
        )
        assert both[0] is both[1]

    with batcher() as batching:
        run(ask(batching))
    assert len(tries) == 2


@pytest.mark.parametrize(("seconds", "times"), [(0.0, 1), (60.0, 0)])
def test_memory_is_given_back_from_time_to_time(
    run, lane, doubler, monkeypatch, seconds, times
):
    trimmed = []
    monkeypatch.setattr(batching_module, "TRIM_SECONDS", seconds)
    monkeypatch.setattr(memory, "trim", lambda: trimmed.append(1))
    doubler.may_go.set()

    async def ask(batching):
        return await asyncio.gather(*batching.submit(lane, [1, 2], [1, 1]))

    with batcher() as batching:
        assert run(ask(batching)) == [2, 4]
    assert len(trimmed) == times
