"""Wait for an answer no longer than its client does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from nlp_helpers.serving.failures import ServiceError

Answer = TypeVar("Answer")
CLIENT_GONE = 499  # nginx's number; nobody reads it


async def wait_for(
    request: Request, work: Coroutine[Any, Any, Answer]
) -> Answer:
    """Return what `work` returns; give it up when nobody waits any more.

    Args:
        request: its body is read already; its service has the deadline.
        work: cancelled when it is given up, so that it costs no pass.

    Raises:
        ServiceError: the deadline has passed, or the client has gone.
    """
    deadline = request.app.state.service.settings.deadline
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait(
            {task, gone},
            timeout=deadline,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if task.done():
            return task.result()
        if gone.done():
            raise ServiceError(CLIENT_GONE, "the client has gone")
        raise ServiceError(
            504,
            f"no answer within {deadline:g} s, the limit here; send fewer"
            " texts at once, or try again later",
        )
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """End when the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
