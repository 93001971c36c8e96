"""What every request passes first: its size, its kind, its token.

An ASGI middleware without a framework, so that no route can be reached
around it, and whatever goes wrong inside is answered in one line.
"""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from nlp_helpers.serving import metrics
from nlp_helpers.serving.failures import ServiceError, response_to

LOGGER = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
# What needs no token: to know that the process lives, the documentation, and
# the page that asks for the token.
OPEN = ("/health", "/", "/page.js", "/page.css", "/docs", "/openapi.json")
OPEN_FOLDER = "/swagger/"


class Door:
    """Lets in what the service can answer."""

    def __init__(self, app: App, max_body_bytes: int, token: str = "") -> None:
        """Stand before `app`.

        Args:
            app: the service.
            max_body_bytes: of a request.
            token: what clients must show, if it is not empty.
        """
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.token = token

    async def __call__(
        self, scope: Message, receive: Receive, send: Send
    ) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self._check(scope)
            body = self._limited(receive)
            await self.app(scope, body, observed)
        except Exception as error:
            if not isinstance(error, ServiceError):
                LOGGER.exception("a request failed")
                error = ServiceError(
                    500,
                    "the service made a mistake, and its log says where;"
                    " report it, and try another request",
                )
            if status:  # half of an answer is on its way; cut it off
                raise
            await response_to(error)(scope, receive, observed)
        finally:
            # Routes alone: other paths are as many as clients make up.
            route = getattr(scope.get("route"), "path", "other")
            seconds = time.perf_counter() - started
            metrics.REQUESTS.labels(route, str(status)).inc()
            metrics.DURATION.labels(route).observe(seconds)

    def _check(self, scope: Message) -> None:
        """Look at the head of a request.

        Raises:
            ServiceError: it has no valid token, or a body that is too large,
                packed, or no JSON.
        """
        headers = {name.lower(): value for name, value in scope["headers"]}
        path = scope["path"]
        is_open = scope["method"] in ("GET", "HEAD") and (
            path in OPEN or path.startswith(OPEN_FOLDER)
        )
        if self.token and not is_open:
            given = headers.get(b"authorization", b"")
            wanted = f"Bearer {self.token}".encode()
            if not hmac.compare_digest(given, wanted):
                raise ServiceError(
                    401,
                    "this service asks for a token; send the header"
                    " Authorization: Bearer TOKEN",
                )
        if scope["method"] != "POST":
            return
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise ServiceError(
                415, "packed requests are not read; send the JSON as it is"
            )
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip()
        if kind.lower() != b"application/json":
            raise ServiceError(
                415,
                "the body must be JSON; send the header"
                " Content-Type: application/json",
            )
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.max_body_bytes:
            raise self._too_large()

    def _too_large(self) -> ServiceError:
        return ServiceError(
            413,
            f"the request has more than {self.max_body_bytes} bytes, the"
            " limit here; send fewer texts at once",
        )

    def _limited(self, receive: Receive) -> Receive:
        """Count the bytes of a body as they come, whatever its head says."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body_bytes:
                raise self._too_large()
            return message

        return counted
