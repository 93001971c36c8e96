"""Continue texts token by token, each step a pass of its own.

Between two steps the inference thread serves other lanes.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from nlp_helpers.language_models.next_token import sample_token
from nlp_helpers.language_models.token_text import REPLACEMENT, token_text
from nlp_helpers.models import fitting, loading
from nlp_helpers.serving.batching import UNFINISHED
from nlp_helpers.serving.failures import ServiceError
from nlp_helpers.serving.inference import read_weights


class Sampling(BaseModel):
    """How the next token is chosen; the defaults take the best."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int
    do_sample: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int = 0
    top_n_tokens: int = 0  # of each step, to show
    stop: tuple[str, ...] = ()

    def processors(self) -> LogitsProcessorList:
        """Return what transformers does to the logits, in its order."""
        chosen: list[Any] = []
        if self.repetition_penalty is not None:
            penalty = RepetitionPenaltyLogitsProcessor(self.repetition_penalty)
            chosen.append(penalty)
        if self.do_sample and self.temperature is not None:
            chosen.append(TemperatureLogitsWarper(self.temperature))
        if self.do_sample and self.top_k is not None:
            chosen.append(TopKLogitsWarper(self.top_k))
        if self.do_sample and self.top_p is not None:
            chosen.append(TopPLogitsWarper(self.top_p))
        return LogitsProcessorList(chosen)


class Continuation:
    """One text on its way: what was generated, and how it goes on."""

    def __init__(
        self,
        input_ids: list[int],
        sampling: Sampling,
        emit: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Begin with a prompt.

        Args:
            input_ids: of the prompt.
            sampling: how to choose tokens, and when to end.
            emit: is given an event of text-generation-inference's stream for
                each token; called by the inference thread.
        """
        self.id = uuid.uuid4().hex
        self.prompt = input_ids
        self.sampling = sampling
        self.emit = emit
        self.processors = sampling.processors()
        self.generator = np.random.default_rng(sampling.seed)
        self.cache = DynamicCache()
        self.ids: list[int] = []
        self.tokens: list[dict[str, Any]] = []
        self.top_tokens: list[list[dict[str, Any]]] = []
        self.text = ""
        self.finish_reason = ""

    def choose(self, logits: torch.Tensor) -> tuple[int, float]:
        """Return the next token and the logarithm of its probability.

        Args:
            logits: of the vocabulary, (V,).
        """
        known: Any = torch.tensor([self.prompt + self.ids])
        shown: Any = logits[None].float().cpu()
        scores = self.processors(known, shown)[0]
        if self.sampling.do_sample:
            token = sample_token(scores, self.generator)
        else:
            token = int(scores.argmax())
        return token, float(scores.log_softmax(-1)[token])


class TextGenerator:
    """A causal language model that goes one token on with each pass."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Load it.

        Raises:
            UserError: see `loading.load_model`.
        """
        self.name = name
        self.tokenizer, self.model = loading.load_model(
            name, AutoModelForCausalLM, device
        )
        read_weights(self.model)
        self.max_length = fitting.max_length(self.model.config)
        ends = self.model.generation_config.eos_token_id
        self.ends = {ends} if isinstance(ends, int) else {*(ends or [])}
        self.ends.add(self.tokenizer.eos_token_id)

    def encode(self, prompt: str, max_new_tokens: int) -> list[int]:
        """Return the token ids of a prompt.

        Raises:
            ServiceError: there are none, or too many with what is to come.
        """
        input_ids = self.tokenizer(prompt)["input_ids"]
        if not input_ids:
            raise ServiceError(422, "the prompt is empty; give it some text")
        if len(input_ids) + max_new_tokens > self.max_length:
            raise ServiceError(
                422,
                f"the prompt has {len(input_ids)} tokens, max_new_tokens"
                f" {max_new_tokens} more, and the model reads"
                f" {self.max_length}; shorten one of them",
            )
        return input_ids

    def run(self, values: Sequence[Continuation]) -> list[Any]:
        """Go one token on with each; return those that are finished."""
        return [value if self._step(value) else UNFINISHED for value in values]

    @torch.no_grad()
    def _step(self, state: Continuation) -> bool:
        """Generate one token; say whether it was the last."""
        new = [state.ids[-1]] if state.ids else state.prompt
        logits = self.model(
            input_ids=torch.tensor([new], device=self.model.device),
            past_key_values=state.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[0, -1]
        token, logarithm = state.choose(logits)
        if count := state.sampling.top_n_tokens:
            state.top_tokens.append(self._top_tokens(logits, count))
        state.ids.append(token)
        before = state.text
        whole = str(self.tokenizer.decode(state.ids, skip_special_tokens=True))
        state.finish_reason = self._finish_reason(state, token, whole)
        if state.finish_reason or not whole.endswith(REPLACEMENT):
            state.text = whole  # else half a character: wait for the rest
        state.tokens.append(
            {
                "id": token,
                "text": state.text[len(before) :],
                "logprob": logarithm,
                "special": token in self.ends,
            }
        )
        if state.emit:
            state.emit(
                {
                    "index": len(state.ids),
                    "token": state.tokens[-1],
                    "generated_text": None,
                    "details": None,
                }
            )
        return bool(state.finish_reason)

    def _top_tokens(
        self, logits: torch.Tensor, count: int
    ) -> list[dict[str, Any]]:
        """Describe the most probable tokens of a step, best first."""
        logarithms, ids = logits.float().log_softmax(-1).topk(count)
        return [
            {
                "id": token,
                "text": token_text(self.tokenizer, token),
                "logprob": logarithm,
                "special": token in self.ends,
            }
            for logarithm, token in zip(
                logarithms.tolist(), ids.tolist(), strict=True
            )
        ]

    def _finish_reason(
        self, state: Continuation, token: int, text: str
    ) -> str:
        """Say, in text-generation-inference's words, why a text ends here."""
        if token in self.ends:
            return "eos_token"
        if any(stop in text for stop in state.sampling.stop):
            return "stop_sequence"
        if len(state.ids) >= state.sampling.max_new_tokens:
            return "length"
        return ""
