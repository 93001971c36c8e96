"""What a service answers: from a request's texts to what goes back."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from nlp_helpers import session
from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.language_models import masked_lm
from nlp_helpers.models import loading
from nlp_helpers.serving import metrics, schemas
from nlp_helpers.serving.batching import Batcher, Lane
from nlp_helpers.serving.failures import ServiceError
from nlp_helpers.serving.generation import (
    Continuation,
    Sampling,
    TextGenerator,
)
from nlp_helpers.serving.inference import (
    Encoder,
    MaskFiller,
    TextClassifier,
    TextEmbedder,
)
from nlp_helpers.serving.settings import TASKS, Settings

# Texts with fewer characters are tokenised at once, on the event loop: that
# takes less than the way to another thread and back.
MAX_INLINE = 4000
LIMITS = {
    "deadline",
    "long_texts",
    "max_batch_tokens",
    "max_body_bytes",
    "max_length",
    "max_new_tokens",
    "max_queue",
    "max_texts",
}
MAX_GENERATIONS = 16  # at a time; each keeps keys and values of its own


@dataclass(frozen=True)
class Encoded:
    """Texts of a request, ready to be computed."""

    model: Any
    input_ids: list[list[int]]
    cut: list[int]


class Service:
    """The models of a process, and the answers to requests."""

    def __init__(self, settings: Settings) -> None:
        """Start the inference thread; models are loaded later.

        Raises:
            UserError: there is no CUDA, and it was asked for.
        """
        self.settings = settings
        device = session.choose_device(settings.device)
        self.device = device
        embedder = Lane(
            "feature-extraction",
            partial(TextEmbedder, settings.embedding_model, device),
        )
        self.lanes = {
            "fill-mask": Lane(
                "fill-mask",
                partial(MaskFiller, settings.fill_mask_model, device),
            ),
            "feature-extraction": embedder,
            "sentence-similarity": embedder,
            "text-generation": Lane(
                "text-generation",
                partial(TextGenerator, settings.generation_model, device),
                max_items=1,
            ),
        }
        if settings.checkpoint:
            folder = str(paths.resolve(settings.checkpoint))
            loading.fetch_model(folder)  # says at once if it is not there
            self.lanes["text-classification"] = Lane(
                "text-classification", partial(TextClassifier, folder, device)
            )
        unknown = [name for name in settings.preload if name not in self.lanes]
        if unknown:
            raise UserError(
                f"{unknown[0]} cannot be preloaded without a model: name one"
                " with --checkpoint"
            )
        self.generations = 0
        self.failure = ""
        self.on_failure: Callable[[], None] = lambda: None
        self._tokenizing = ThreadPoolExecutor(1, "tokenize")
        self.batcher = Batcher(
            settings.max_batch_tokens, settings.max_queue, metrics.count_pass
        )

    @property
    def tasks(self) -> list[str]:
        """Return the tasks that have a model, in the order of TASKS."""
        return [name for name in TASKS if name in self.lanes]

    def model_name(self, task: str) -> str:
        """Return the name of a task's model as it was given."""
        settings = self.settings
        return {
            "text-classification": settings.checkpoint,
            "fill-mask": settings.fill_mask_model,
            "text-generation": settings.generation_model,
        }.get(task, settings.embedding_model)

    def describe(self) -> str:
        """Say what is served and within which limits, a line each."""
        served = (f"/{task} ({self.model_name(task)})" for task in self.tasks)
        limits = self.settings.model_dump(include=LIMITS)
        shown = (f"{name} {value}" for name, value in limits.items())
        return f"serving {', '.join(served)}\nlimits: {', '.join(shown)}"

    def close(self) -> None:
        """Answer what waits, then end the threads."""
        self.batcher.close()
        self._tokenizing.shutdown()

    def lane(self, task: str) -> Lane:
        """Return a task's lane.

        Raises:
            ServiceError: it has no model.
        """
        if task not in self.lanes:
            raise ServiceError(
                404,
                f"{task} has no model here; start the service with"
                " --checkpoint FOLDER",
            )
        return self.lanes[task]

    async def preload(self) -> None:
        """Load the models that were asked for, one after the other.

        If one cannot be, `failure` says why, and `on_failure` is called.
        """
        try:
            for task in self.settings.preload:
                await self.batcher.loaded(self.lane(task))
        except ServiceError as error:
            self.failure = str(error.detail)
            self.on_failure()

    async def encode(
        self, task: str, texts: Sequence[str], may_cut: bool = True
    ) -> Encoded:
        """Tokenise the texts of a request, once the task's model is there.

        Args:
            task: whose model is to read them.
            texts: of the request.
            may_cut: whether the client takes an answer to a part of a text.

        Raises:
            ServiceError: there are too many, or one is none, or too long; or
                the model cannot be loaded.
        """
        settings = self.settings
        if len(texts) > settings.max_texts:
            raise ServiceError(
                413,
                f"the request has {len(texts)} texts, and at most"
                f" {settings.max_texts} may come at once; send several"
                " requests",
            )
        for number, text in enumerate(texts):
            check_text(text, number)
        model: Encoder = await self.batcher.loaded(self.lane(task))
        encode = partial(model.encode, texts, settings.max_length)
        if sum(map(len, texts)) <= MAX_INLINE:
            input_ids, cut = encode()
        else:
            loop = asyncio.get_running_loop()
            input_ids, cut = await loop.run_in_executor(
                self._tokenizing, encode
            )
        if cut and not (may_cut and settings.long_texts == "cut"):
            limit = min(settings.max_length, model.max_length)
            raise ServiceError(
                413,
                f"text {cut[0]} of the request has more than {limit} tokens;"
                " shorten it",
            )
        return Encoded(model, input_ids, cut)

    async def compute(
        self, task: str, input_ids: list[list[int]]
    ) -> list[Any]:
        """Return what the task's model makes of texts, in order.

        Cancelled, it takes back what has not begun.

        Raises:
            ServiceError: too much waits, or the model refused a text.
        """
        futures = self.batcher.submit(
            self.lane(task), input_ids, [len(ids) for ids in input_ids]
        )
        return list(await asyncio.gather(*futures))

    async def classify(
        self, sent: schemas.ClassificationRequest
    ) -> tuple[list[list[dict[str, Any]]], list[int]]:
        """Return label and score, best first, of each text; which were cut."""
        texts = as_list(sent.inputs)
        encoded = await self.encode(
            "text-classification", texts, sent.parameters.truncation
        )
        rows = await self.compute("text-classification", encoded.input_ids)
        wanted = sent.parameters
        answers = [
            rank(row, encoded.model.labels, wanted.function_to_apply)[
                : wanted.top_k
            ]
            for row in rows
        ]
        return answers, encoded.cut

    async def fill_mask(
        self, sent: schemas.FillMaskRequest
    ) -> tuple[list[list[masked_lm.Candidate]], list[int]]:
        """Return the candidates for the mask of each text."""
        lane = self.lane("fill-mask")
        model: MaskFiller = await self.batcher.loaded(lane)
        # [MASK] is understood whatever the model's own mask is.
        mask = model.tokenizer.mask_token
        texts = [
            text.replace(masked_lm.MASK, mask) for text in as_list(sent.inputs)
        ]
        encoded = await self.encode("fill-mask", texts)
        positions = [model.position(ids) for ids in encoded.input_ids]
        targets = sent.parameters.targets
        for number, target in enumerate(targets or []):
            check_text(target, number)
        ids = None if targets is None else model.target_ids(targets)
        rows = await self.compute("fill-mask", encoded.input_ids)
        answers = [
            masked_lm.rank_candidates(
                row,
                torch.tensor(input_ids),
                position,
                model.tokenizer,
                sent.parameters.top_k,
                targets=ids,
            )
            for row, input_ids, position in zip(
                rows, encoded.input_ids, positions, strict=True
            )
        ]
        return answers, encoded.cut

    async def embed(
        self, texts: list[str], normalize: bool, may_cut: bool = True
    ) -> tuple[np.ndarray, list[int]]:
        """Return a vector for each of N texts, (N, H); which were cut."""
        encoded = await self.encode("feature-extraction", texts, may_cut)
        rows = await self.compute("feature-extraction", encoded.input_ids)
        vectors = np.stack(rows)
        if normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors, encoded.cut

    async def compare(
        self, sent: schemas.Comparison
    ) -> tuple[list[float], list[int]]:
        """Return the cosine of a sentence with each of N others."""
        texts = [sent.source_sentence, *sent.sentences]
        vectors, cut = await self.embed(texts, normalize=True)
        return (vectors[1:] @ vectors[0]).tolist(), cut

    async def start_generation(
        self,
        prompt: str,
        sampling: Sampling,
        emit: Callable[[dict[str, Any]], None] | None = None,
    ) -> tuple[Continuation, "asyncio.Future[Any]"]:
        """Begin to continue a prompt; the future ends with the last token.

        Raises:
            ServiceError: the prompt is too long, or too many are on their
                way.
        """
        check_text(prompt, 0)
        limit = self.settings.max_new_tokens
        if sampling.max_new_tokens > limit:
            raise ServiceError(
                413,
                f"{sampling.max_new_tokens} new tokens are asked for, and at"
                f" most {limit} may be; ask for fewer",
            )
        lane = self.lane("text-generation")
        model: TextGenerator = await self.batcher.loaded(lane)
        loop = asyncio.get_running_loop()
        input_ids = await loop.run_in_executor(
            self._tokenizing, model.encode, prompt, sampling.max_new_tokens
        )
        if self.generations >= MAX_GENERATIONS:
            raise ServiceError(
                429,
                f"{self.generations} texts are being continued, and no more"
                " are at a time; try again in a second",
            )
        continuation = Continuation(input_ids, sampling, emit)
        [future] = self.batcher.submit(lane, [continuation], [len(input_ids)])
        self.generations += 1
        future.add_done_callback(self._end_generation)
        return continuation, future

    def _end_generation(self, future: "asyncio.Future[Any]") -> None:
        """Make room for another, however it ended."""
        self.generations -= 1


def as_list(inputs: str | list[str]) -> list[str]:
    """Return the texts of a request that may be a single one."""
    return [inputs] if isinstance(inputs, str) else inputs


def check_text(text: str, number: int) -> None:
    """Refuse what is no text.

    Raises:
        ServiceError: it has half of a surrogate pair, which JSON can write
            and no encoding knows.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ServiceError(
            422,
            f"text {number} of the request has half a character at"
            f" {error.start} (a lone surrogate); send whole characters",
        ) from error


def rank(
    logits: np.ndarray, labels: Sequence[str], function: str
) -> list[dict[str, Any]]:
    """Return label and score of each label, best first.

    Args:
        logits: of one text, (number of labels,).
        labels: their names.
        function: softmax, sigmoid or none.
    """
    scores = logits.astype(np.float64)
    if function == "softmax":
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
    elif function == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    order = np.argsort(-scores, kind="stable")
    return [{"label": labels[n], "score": float(scores[n])} for n in order]
