"""How long requests take, and how many texts are answered in a second."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


def time_requests(
    ask: Callable[[list[str]], Any],
    texts: Sequence[str],
    clients: int,
    size: int,
) -> dict[str, float]:
    """Ask about all texts, in requests of `size` texts.

    Args:
        ask: sends one request, and returns when the answer is there.
        texts: to be asked about, each once.
        clients: requests under way at the same time, each in a thread.
        size: texts of a request.

    Returns:
        `median` and `slowest 5 %`, the time of a request in ms that half and
        95 % of them do not exceed; and `texts a second`, of all clients.
    """
    parts = [list(texts[at : at + size]) for at in range(0, len(texts), size)]

    def measure(part: list[str]) -> float:
        began = time.perf_counter()
        ask(part)
        return 1000 * (time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        times = list(threads.map(measure, parts))
    seconds = time.perf_counter() - began
    return {
        "median": float(np.median(times)),
        "slowest 5 %": float(np.quantile(times, 0.95)),
        "texts a second": len(texts) / seconds,
    }
