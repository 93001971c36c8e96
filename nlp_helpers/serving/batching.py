"""One thread that computes: whatever waits goes into the next forward pass.

There is no timer. While a pass is computed others arrive, and together they
make the next one; a lone client never waits for company. Each model has a
lane of its own, and the lanes take turns, so that a long generation does not
hold up a classification.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from nlp_helpers import session
from nlp_helpers.core import memory
from nlp_helpers.core.errors import UserError
from nlp_helpers.serving.failures import ServiceError

LOGGER = logging.getLogger(__name__)
TRIM_SECONDS = 2.0  # between two times that memory is given back
UNFINISHED = object()  # outcome of a value that wants another pass


class Model(Protocol):
    """What a lane computes with."""

    def run(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return an outcome for each value, in order, or UNFINISHED.

        An outcome must not depend on the other values.
        """


@dataclass(eq=False)
class Item:
    """One value that waits for its outcome."""

    value: Any
    tokens: int
    future: asyncio.Future[Any]


@dataclass(eq=False)
class Lane:
    """A model, and what waits for it.

    Attributes:
        name: for messages and metrics.
        load: opens the model, in a thread of its own.
        max_items: of one pass.
    """

    name: str
    load: Callable[[], Model]
    max_items: int | None = None
    model: Any = None
    loading: asyncio.Future[Any] | None = None
    waiting: deque[Item] = field(default_factory=deque)


class Batcher:
    """The inference thread, and the lanes that it serves in turn."""

    def __init__(
        self,
        max_tokens: int,
        max_waiting: int,
        on_pass: Callable[[str, int, int], None],
    ) -> None:
        """Start the thread.

        Args:
            max_tokens: of one forward pass; a longer text goes alone.
            max_waiting: items of all lanes together.
            on_pass: is told lane, items and tokens of each pass.
        """
        self.max_tokens = max_tokens
        self.max_waiting = max_waiting
        self.on_pass = on_pass
        self.waiting = 0
        self._turns: deque[Lane] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._loader = ThreadPoolExecutor(1, "load")
        self._thread = threading.Thread(
            target=self._work, name="inference", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Compute what waits, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._loader.shutdown()

    async def loaded(self, lane: Lane) -> Any:
        """Return a lane's model; the first to ask has it loaded.

        Raises:
            ServiceError: it cannot be loaded; the next to ask tries again.
        """
        if lane.model is None:
            await asyncio.shield(self.start_loading(lane))
        return lane.model

    def start_loading(self, lane: Lane) -> asyncio.Future[Any]:
        """Have a lane's model loaded, unless it is being loaded."""
        if lane.loading is None:
            lane.loading = asyncio.ensure_future(self._load(lane))
            lane.loading.add_done_callback(lambda done: done.exception())
        return lane.loading

    async def _load(self, lane: Lane) -> None:
        loop = asyncio.get_running_loop()
        try:
            lane.model = await loop.run_in_executor(self._loader, lane.load)
        except (UserError, OSError, MemoryError) as error:
            LOGGER.error("%s: %s", lane.name, error)
            raise ServiceError(424, f"{lane.name}: {error}") from error
        finally:
            lane.loading = None

    def submit(
        self, lane: Lane, values: Sequence[Any], tokens: Sequence[int]
    ) -> list[asyncio.Future[Any]]:
        """Put values into a lane; their outcomes will be in the futures.

        A future that is cancelled before its turn costs no pass.

        Raises:
            ServiceError: too much waits already; nothing was put there.
        """
        loop = asyncio.get_running_loop()
        with self._changed:
            if self.waiting + len(values) > self.max_waiting:
                raise ServiceError(
                    429,
                    f"{self.waiting} texts wait already, and at most"
                    f" {self.max_waiting} may; try again in a second, or send"
                    " fewer texts at once",
                )
            items = [
                Item(value, size, loop.create_future())
                for value, size in zip(values, tokens, strict=True)
            ]
            self._enter(lane, items)
        return [item.future for item in items]

    def _enter(self, lane: Lane, items: Sequence[Item]) -> None:
        """Add to a lane; the lock is held."""
        if items and not lane.waiting:
            self._turns.append(lane)
        lane.waiting.extend(items)
        self.waiting += len(items)
        self._changed.notify()

    def _work(self) -> None:
        """Compute pass after pass until `close`."""
        session.limit_threads()  # it counts for the thread that calls it
        trimmed = time.monotonic()
        while (taken := self._take()) is not None:
            lane, items = taken
            if not items:
                continue
            outcomes = _run(lane, items)
            self.on_pass(lane.name, len(items), sum(i.tokens for i in items))
            self._hand_back(lane, items, outcomes)
            if time.monotonic() - trimmed > TRIM_SECONDS:
                memory.trim()
                trimmed = time.monotonic()

    def _take(self) -> tuple[Lane, list[Item]] | None:
        """Wait for the next lane's turn, and take what one pass holds."""
        with self._changed:
            while not self._turns:
                if self._closed:
                    return None
                self._changed.wait()
            lane = self._turns.popleft()
            items: list[Item] = []
            tokens = 0
            while lane.waiting and len(items) != lane.max_items:
                item = lane.waiting[0]
                fits = not items or tokens + item.tokens <= self.max_tokens
                if not fits and not item.future.done():
                    break
                lane.waiting.popleft()
                self.waiting -= 1
                if not item.future.done():  # else its client has gone
                    items.append(item)
                    tokens += item.tokens
            if lane.waiting:
                self._turns.append(lane)
            return lane, items

    def _hand_back(
        self, lane: Lane, items: Sequence[Item], outcomes: Sequence[Any]
    ) -> None:
        """Give the outcomes to who waits for them, in one go."""
        pairs = list(zip(items, outcomes, strict=True))
        unfinished = [item for item, out in pairs if out is UNFINISHED]
        with self._changed:
            self._enter(lane, unfinished)
        done = [
            (item.future, out) for item, out in pairs if out is not UNFINISHED
        ]
        if done:
            done[0][0].get_loop().call_soon_threadsafe(_resolve, done)


def _run(lane: Lane, items: Sequence[Item]) -> list[Any]:
    """Return the outcomes of items; of one that fails, its exception.

    A pass that fails is computed again item by item, so that a bad one fails
    alone.
    """
    try:
        return list(lane.model.run([item.value for item in items]))
    except Exception as error:
        if len(items) > 1:
            return [out for item in items for out in _run(lane, [item])]
        if not isinstance(error, ServiceError):
            LOGGER.exception("%s: a forward pass failed", lane.name)
        return [error]


def _resolve(pairs: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    """Set the results of futures, on their event loop."""
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
