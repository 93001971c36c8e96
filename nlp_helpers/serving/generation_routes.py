"""The addresses that continue a text, at once or as a stream."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from nlp_helpers.serving import schemas
from nlp_helpers.serving.failures import ServiceError, body_of
from nlp_helpers.serving.generation import Continuation, Sampling
from nlp_helpers.serving.routes import service_of
from nlp_helpers.serving.service import Service
from nlp_helpers.serving.waiting import wait_for

# Of text-generation-inference's reasons to end, in OpenAI's words.
REASONS = {"length": "length", "eos_token": "stop", "stop_sequence": "stop"}
router = APIRouter()


def sampling_of(
    sent: schemas.GenerationSettings,
    max_new_tokens: int,
    top_n_tokens: int = 0,
) -> Sampling:
    """Return how to choose tokens: who sets a temperature wants chance."""
    chance = any(
        value is not None
        for value in (sent.temperature, sent.top_p, sent.top_k)
    )
    return Sampling(
        max_new_tokens=max_new_tokens,
        do_sample=chance if sent.do_sample is None else sent.do_sample,
        temperature=sent.temperature,
        top_k=sent.top_k,
        top_p=sent.top_p,
        repetition_penalty=sent.repetition_penalty,
        seed=sent.seed or 0,
        top_n_tokens=top_n_tokens,
        stop=tuple(sent.stop),
    )


@router.post("/text-generation")
async def text_generation(
    request: Request, sent: schemas.GenerationRequest
) -> Response:
    """Continue a text; with `stream`, as server-sent events."""
    wanted = sent.parameters
    sampling = sampling_of(wanted, wanted.max_new_tokens, wanted.top_n_tokens)
    service = service_of(request)
    if sent.stream:
        events = _Stream(service, sent.inputs, sampling)
        await wait_for(request, events.start())
        return events.response(_tgi_event)
    state = await wait_for(request, _continue(service, sent.inputs, sampling))
    text = (sent.inputs if wanted.return_full_text else "") + state.text
    answer: dict[str, Any] = {"generated_text": text}
    if wanted.details:
        answer["details"] = _details(state)
    return JSONResponse([answer])


@router.post("/v1/completions", tags=["OpenAI"])
@router.post("/text-generation/v1/completions", tags=["OpenAI"])
async def completions(
    request: Request, sent: schemas.CompletionRequest
) -> Response:
    """Continue a text, as OpenAI's clients ask for it."""
    sampling = sampling_of(sent, sent.max_tokens)
    service = service_of(request)
    if sent.stream:
        events = _Stream(service, sent.prompt, sampling)
        await wait_for(request, events.start())
        return events.response(_completion_event, "data: [DONE]\n\n")
    state = await wait_for(request, _continue(service, sent.prompt, sampling))
    whole = sent.echo or sent.return_full_text
    text = (sent.prompt if whole else "") + state.text
    answer = _completion(service, state, text, REASONS[state.finish_reason])
    answer["usage"] = {
        "prompt_tokens": len(state.prompt),
        "completion_tokens": len(state.ids),
        "total_tokens": len(state.prompt) + len(state.ids),
    }
    return JSONResponse(answer)


async def _continue(
    service: Service, prompt: str, sampling: Sampling
) -> Continuation:
    """Return a finished continuation."""
    state, future = await service.start_generation(prompt, sampling)
    await future
    return state


class _Stream:
    """A continuation whose tokens are sent on as they come."""

    def __init__(
        self, service: Service, prompt: str, sampling: Sampling
    ) -> None:
        self.service = service
        self.prompt = prompt
        self.sampling = sampling
        self.tokens: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def start(self) -> None:
        """Begin; what is refused is refused before the first event."""
        loop = asyncio.get_running_loop()

        def emit(event: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(self.tokens.put_nowait, event)

        self.state, self.future = await self.service.start_generation(
            self.prompt, self.sampling, emit
        )
        self.future.add_done_callback(lambda _: self.tokens.put_nowait(None))

    def response(
        self,
        event_of: "Callable[[_Stream, dict[str, Any]], Any]",
        end: str = "",
    ) -> StreamingResponse:
        """Return the events, each written by `event_of`."""
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._lines(event_of, end),
            headers=headers,
            media_type="text/event-stream",
        )

    async def _lines(
        self, event_of: "Callable[[_Stream, dict[str, Any]], Any]", end: str
    ) -> AsyncIterator[str]:
        """Yield the events; a client that goes ends the continuation."""
        deadline = self.service.settings.deadline
        try:
            while True:
                event = await asyncio.wait_for(self.tokens.get(), deadline)
                if event is None:
                    break
                yield f"data:{json.dumps(event_of(self, event))}\n\n"
            self.future.result()  # raises what ended it before its end
            yield end
        except asyncio.TimeoutError:
            late = ServiceError(504, f"no token within {deadline:g} s")
            yield f"data:{json.dumps(body_of(late))}\n\n"
        except HTTPException as error:
            yield f"data:{json.dumps(body_of(error))}\n\n"
        finally:
            self.future.cancel()


def _tgi_event(stream: _Stream, event: dict[str, Any]) -> dict[str, Any]:
    """Add the whole text to the last event."""
    state = stream.state
    if event["index"] == len(state.ids) and state.finish_reason:
        event["generated_text"] = state.text
        event["details"] = {
            "finish_reason": state.finish_reason,
            "generated_tokens": len(state.ids),
            "input_length": len(state.prompt),
            "seed": stream.sampling.seed,
        }
    return event


def _completion_event(
    stream: _Stream, event: dict[str, Any]
) -> dict[str, Any]:
    """Write a token as OpenAI's streams do."""
    state = stream.state
    is_last = event["index"] == len(state.ids) and state.finish_reason
    reason = REASONS[state.finish_reason] if is_last else None
    return _completion(stream.service, state, event["token"]["text"], reason)


def _completion(
    service: Service, state: Continuation, text: str, reason: str | None
) -> dict[str, Any]:
    """Write an answer as OpenAI's completions have it."""
    choice = {
        "index": 0,
        "text": text,
        "logprobs": None,
        "finish_reason": reason,
    }
    return {
        "id": f"cmpl-{state.id}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": service.settings.generation_model,
        "choices": [choice],
    }


def _details(state: Continuation) -> dict[str, Any]:
    """Write what text-generation-inference calls details."""
    return {
        "finish_reason": state.finish_reason,
        "generated_tokens": len(state.ids),
        "seed": state.sampling.seed,
        "prefill": [],
        "tokens": state.tokens,
        "top_tokens": state.top_tokens,
    }
