"""The HTTP application: one address a task, as Hugging Face's clients ask."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_swagger import patch_fastapi
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from nlp_helpers.models import registry
from nlp_helpers.serving import generation_routes, metrics, routes
from nlp_helpers.serving.door import Door
from nlp_helpers.serving.failures import ServiceError, explain, response_to
from nlp_helpers.serving.routes import service_of
from nlp_helpers.serving.service import LIMITS, Service
from nlp_helpers.serving.settings import Settings, Task

TOKEN_VARIABLE = "NLP_HELPERS_TOKEN"  # what clients must show, if it is set
PAGE = Path(__file__).with_name("page")
# The page loads nothing from elsewhere, and no other site may frame it.
POLICY = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none';"
    " base-uri 'none'"
)
router = APIRouter()


def build_app(settings: Settings) -> FastAPI:
    """Return the application; its models load when it starts, or later.

    Raises:
        UserError: a setting does not fit.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Load what is wanted at once; at the end, answer what waits."""
        preloading = asyncio.ensure_future(service.preload())
        try:
            yield
        finally:
            preloading.cancel()
            await run_in_threadpool(service.close)

    app = FastAPI(
        title="nlp-helpers",
        version=version("nlp-helpers"),
        description="Pretrained transformers behind HTTP.",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_middleware(
        Door,
        max_body_bytes=settings.max_body_bytes,
        token=os.environ.get(TOKEN_VARIABLE, ""),
    )
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse)
    for part in (routes.router, generation_routes.router, router):
        app.include_router(part)
    patch_fastapi(app, redirect_from_root_to_docs=False)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer an error of a client."""
    if isinstance(error, RequestValidationError):
        error = explain(error)
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # the framework's, of a body that broke it
        error = ServiceError(
            422,
            "the body is no JSON that can be read: it must be UTF-8, not deep,"
            " and without numbers of thousands of digits; correct it",
        )
    return response_to(error)


@router.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Say that the process lives, and that what is preloaded is warm."""
    service = service_of(request)
    for task in service.settings.preload:
        if service.lane(task).model is None:
            raise ServiceError(
                503, f"the model of {task} is being loaded; ask again"
            )
    return {"status": "ok"}


@router.get("/{task}/health")
async def task_health(request: Request, task: Task) -> dict[str, str]:
    """Say that a task's model is warm; the first to ask has it loaded."""
    service = service_of(request)
    lane = service.lane(task)
    if lane.model is None:
        service.batcher.start_loading(lane)
        raise ServiceError(
            503, f"the model of {task} is being loaded; ask again in a second"
        )
    return {"status": "ok"}


@router.get("/info", tags=["text-embeddings-inference"])
async def info(request: Request) -> dict[str, Any]:
    """Say what is served, and the limits."""
    service = service_of(request)
    settings = service.settings
    return {
        "model_id": service.model_name(service.tasks[0]),
        "version": version("nlp-helpers"),
        "tasks": service.tasks,
        # As text-embeddings-inference calls them; then as they are set here.
        "max_input_length": settings.max_length,
        "max_client_batch_size": settings.max_texts,
        "max_concurrent_requests": settings.max_queue,
        **settings.model_dump(include=LIMITS),
    }


@router.get("/{task}/info")
async def task_info(request: Request, task: Task) -> dict[str, Any]:
    """Say which model a task has, and whether it is warm."""
    service = service_of(request)
    lane = service.lane(task)
    name = service.model_name(task)
    about = {
        "model_id": name,
        "task": task,
        "origin": registry.origin(name),
        "device": str(service.device),
        "loaded": lane.model is not None,
    }
    if task == "text-classification" and lane.model is not None:
        about["labels"] = lane.model.labels
    return about


@router.get("/metrics", include_in_schema=False)
async def prometheus(request: Request) -> Response:
    """Give Prometheus the counts."""
    metrics.WAITING.set(service_of(request).batcher.waiting)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """Show the page to try it."""
    headers = {"Content-Security-Policy": POLICY}
    return FileResponse(PAGE / "index.html", headers=headers)


@router.get("/page.{kind}", include_in_schema=False)
async def page_part(kind: str) -> Response:
    """Give the page its script and its style."""
    if kind not in ("js", "css"):
        raise HTTPException(404)
    return FileResponse(PAGE / f"page.{kind}")
