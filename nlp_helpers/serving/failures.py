"""What a client is told when a request cannot be answered: one line."""

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

# `error_type` of text-embeddings-inference, by the status of the answer.
TYPES = {
    401: "authorization",
    404: "not_found",
    424: "backend",
    429: "overloaded",
    500: "backend",
    503: "unhealthy",
    504: "overloaded",
}
RETRY_SECONDS = 1
# Of errors that the framework raises by itself.
REMEDIES = {
    404: "there is nothing at this address; see /docs for what there is",
    405: "this address is asked in another way; see /docs",
}


class ServiceError(HTTPException):
    """A request that is not answered: its status, and a line with a remedy."""

    def __init__(self, status: int, message: str) -> None:
        """Keep both."""
        super().__init__(status, message)


def response_to(error: HTTPException) -> JSONResponse:
    """Return what the client sees; where it helps, when to come again."""
    headers = dict(error.headers or {})
    if error.status_code in (429, 503):
        headers["Retry-After"] = str(RETRY_SECONDS)
    if error.status_code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body_of(error), error.status_code, headers)


def body_of(error: HTTPException) -> dict[str, str]:
    """Return `error` and `error_type`."""
    message = str(error.detail)
    if not isinstance(error, ServiceError):
        message = REMEDIES.get(error.status_code, message)
    kind = TYPES.get(error.status_code, "validation")
    return {"error": " ".join(message.split()), "error_type": kind}


def explain(error: RequestValidationError) -> ServiceError:
    """Say in a line what is wrong with a request; the first thing counts.

    What was sent is not repeated: it may be long, and no text.
    """
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        cause = first.get("ctx", {}).get("error", "")
        return ServiceError(422, f"the body is no JSON ({cause}); correct it")
    # Without what pydantic adds for the branches of a union.
    where = ".".join(
        str(part)
        for part in first["loc"][1:]
        if isinstance(part, int) or part.isidentifier()
    )
    message = first["msg"].removeprefix("Value error, ")
    name = ascii(where or "the body").strip("'")
    return ServiceError(
        422, f"{name[:200]}: {message}; see /docs for what this address takes"
    )
