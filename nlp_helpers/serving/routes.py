"""The addresses of the tasks that read whole texts."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from nlp_helpers.serving import schemas
from nlp_helpers.serving.service import Service, as_list
from nlp_helpers.serving.waiting import wait_for

TRUNCATED = "X-Truncated-Texts"  # which of a request's texts were cut
router = APIRouter()


def service_of(request: Request) -> Service:
    """Return the service that a request was sent to."""
    return request.app.state.service


@router.post("/text-classification")
async def text_classification(
    request: Request, sent: schemas.ClassificationRequest
) -> Response:
    """Label one text or several: for each a list of label and score."""
    work = service_of(request).classify(sent)
    answers, cut = await wait_for(request, work)
    return _json(answers, cut)


@router.post("/fill-mask")
async def fill_mask(
    request: Request, sent: schemas.FillMaskRequest
) -> Response:
    """Guess the one [MASK] of a text; of several texts, a list for each."""
    work = service_of(request).fill_mask(sent)
    answers, cut = await wait_for(request, work)
    single = isinstance(sent.inputs, str)
    return _json(answers[0] if single else answers, cut)


@router.post("/feature-extraction")
async def feature_extraction(
    request: Request, sent: schemas.EmbeddingRequest
) -> Response:
    """Give each text a vector: the mean of its tokens' last vectors."""
    return await _embed(request, sent, normalize=bool(sent.normalize))


@router.post("/sentence-similarity")
async def sentence_similarity(
    request: Request, sent: schemas.SimilarityRequest
) -> Response:
    """Return the cosine of a sentence with each of the others."""
    work = service_of(request).compare(sent.inputs)
    answers, cut = await wait_for(request, work)
    return _json(answers, cut)


@router.post("/embed", tags=["text-embeddings-inference"])
async def embed(request: Request, sent: schemas.EmbeddingRequest) -> Response:
    """Give each text a vector of length 1, unless `normalize` is false."""
    normalize = True if sent.normalize is None else sent.normalize
    return await _embed(request, sent, normalize)


@router.post("/predict", tags=["text-embeddings-inference"])
async def predict(request: Request, sent: schemas.PredictRequest) -> Response:
    """Label one text, or a batch written as `[["a"], ["b"]]`."""
    single = isinstance(sent.inputs, str)
    wanted = schemas.ClassificationParameters(
        function_to_apply="none" if sent.raw_scores else "softmax",
        truncation=sent.truncate,
    )
    asked = schemas.ClassificationRequest(
        inputs=sent.texts(), parameters=wanted
    )
    work = service_of(request).classify(asked)
    answers, cut = await wait_for(request, work)
    return _json(answers[0] if single else answers, cut)


async def _embed(
    request: Request, sent: schemas.EmbeddingRequest, normalize: bool
) -> Response:
    """Return the vectors of a request's texts, as a list of lists."""
    texts = as_list(sent.inputs)
    work = service_of(request).embed(texts, normalize, sent.truncate)
    vectors, cut = await wait_for(request, work)
    rows = []
    for vector in vectors:  # written row by row: others get their turn
        rows.append(json.dumps(vector.tolist()))
        await asyncio.sleep(0)
    body = f"[{','.join(rows)}]"
    return Response(body, 200, _truncated(cut), "application/json")


def _json(answers: Any, cut: Sequence[int]) -> JSONResponse:
    return JSONResponse(answers, 200, _truncated(cut))


def _truncated(cut: Sequence[int]) -> dict[str, str]:
    """Say in a header which texts of a request were cut."""
    return {TRUNCATED: ",".join(map(str, cut))} if cut else {}
