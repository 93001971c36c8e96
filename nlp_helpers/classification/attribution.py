"""Which tokens of a text speak for a class: integrated gradients.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML
2017, arXiv:1703.01365. A text's word vectors are moved along a straight line,
from a baseline that says nothing to the text. What each token adds to the
logit of a class on this way is its attribution, and together they are the
difference between the logits at both ends (completeness).

All of it runs on the forward pass of transformers, one text at a time, so
that it holds for any encoder that notebook 5 trains. DeBERTa and ModernBERT
scale the word vectors to one length before they add anything to them: on the
way from zeros the first step is a jump, which no sum of gradients sees. For
these take the mask token as the baseline. `Attribution.error` shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from nlp_helpers.classification import preparing
from nlp_helpers.classification.padding import XLNET_LAST
from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import fitting, loading

Baseline = Literal["pad", "mask", "zero"]
MIDPOINT = "riemann_middle"  # as captum calls the rule
MAX_TOKENS = 4096  # of one forward pass; bounds the memory


@dataclass(frozen=True)
class Attribution:
    """What each token of a text, T of them, adds to the logit of a class."""

    input_ids: list[int]  # with those that the tokenizer adds
    tokens: list[str]
    words: range  # positions of the text's own tokens
    label: int  # number of the class
    scores: np.ndarray  # (T,), in logits
    difference: float  # of the logit, between the baseline and the text

    @property
    def error(self) -> float:
        """Return how far the scores miss the difference, in logits."""
        return float(self.scores.sum()) - self.difference


def find_checkpoint(fine_tuning_dir: str) -> Path:
    """Return the checkpoint of notebook 5, of any classes.

    Args:
        fine_tuning_dir: its `output_dir`.

    Raises:
        UserError: there is none, and `preparing.ensure` does not train it.
    """
    folder = paths.resolve(fine_tuning_dir) / "checkpoint"
    if (folder / "config.json").is_file():
        return folder
    return preparing.ensure(fine_tuning_dir)


def load(
    name: str, device: torch.device | str = "cpu"
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load tokenizer and classifier, with weights that want no gradients.

    Raises:
        UserError: see `loading.load_model`.
    """
    tokenizer, model = loading.load_model(
        name, AutoModelForSequenceClassification, device
    )
    model.requires_grad_(False)
    return tokenizer, model


def words_of(
    input_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> range:
    """Return the positions that the tokenizer has not added to the text."""
    before, after = fitting.added_tokens(tokenizer)
    return range(len(before), len(input_ids) - len(after))


def embed(model: PreTrainedModel, input_ids: Sequence[int]) -> torch.Tensor:
    """Return the word vectors of a text of T tokens, (1, T, H).

    Those of positions and segments are not in them; the model adds them.
    """
    ids = torch.tensor([[int(i) for i in input_ids]], device=model.device)
    with torch.no_grad():
        return model.get_input_embeddings()(ids)


def embed_baseline(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Sequence[int],
    baseline: Baseline = "pad",
) -> torch.Tensor:
    """Return the word vectors of a text that says nothing, (1, T, H).

    As long as the text; [CLS], [SEP] or what else the tokenizer adds stays.

    Args:
        model: the classifier.
        tokenizer: its own.
        input_ids: of the text, T of them.
        baseline: what stands in place of each word: the vector of the padding
            token, that of the mask token, or zeros.

    Raises:
        UserError: the tokenizer has no such token.
    """
    token_id = 0
    if baseline != "zero":
        token_id = getattr(tokenizer, f"{baseline}_token_id")
        if token_id is None:
            raise UserError(
                f"the tokenizer of this model has no {baseline} token; set"
                " baseline to zero"
            )
    words = words_of(input_ids, tokenizer)
    ids = [
        token_id if position in words else token
        for position, token in enumerate(input_ids)
    ]
    vectors = embed(model, ids)
    if baseline == "zero":
        vectors[:, words.start : words.stop] = 0
    return vectors


def compute_logits(
    model: PreTrainedModel, vectors: torch.Tensor
) -> torch.Tensor:
    """Return the logits of B texts as long as each other, (B, classes).

    Args:
        model: the classifier.
        vectors: in place of their tokens, (B, T, H).
    """
    others = {}
    if model.config.model_type == "xlnet":  # the last is what it reads
        types = torch.zeros(vectors.shape[:2], dtype=torch.long)
        types[:, -1] = XLNET_LAST
        others["token_type_ids"] = types.to(vectors.device)
    return model(inputs_embeds=vectors, **others).logits


def attribute(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Sequence[int],
    label: int | None = None,
    baseline: Baseline = "pad",
    n_steps: int = 32,
    rule: str = MIDPOINT,
) -> Attribution:
    """Return the integrated gradients of a text of T tokens.

    By captum; with the midpoint rule fewer points do than with its own.

    Args:
        model: the classifier, of `load`.
        tokenizer: its own.
        input_ids: of the text, with the tokens that the tokenizer adds.
        label: number of the class; if None, the one that is predicted.
        baseline: see `embed_baseline`.
        n_steps: points on the way at which the gradient is computed.
        rule: that chooses and weighs them, by captum's name.

    Raises:
        UserError: see `embed_baseline`.
    """
    from captum.attr import IntegratedGradients

    text = embed(model, input_ids)
    start = embed_baseline(model, tokenizer, input_ids, baseline)
    with torch.no_grad():
        ends = compute_logits(model, torch.cat([start, text]))
    label = int(ends[1].argmax()) if label is None else label
    method = IntegratedGradients(lambda v: compute_logits(model, v))
    of_vectors = method.attribute(
        text,
        start,
        target=label,
        n_steps=n_steps,
        method=rule,
        internal_batch_size=max(1, MAX_TOKENS // len(input_ids)),
    )
    tokens = tokenizer.convert_ids_to_tokens(list(input_ids))
    return Attribution(
        input_ids=[int(token) for token in input_ids],
        tokens=cast(list[str], tokens),
        words=words_of(input_ids, tokenizer),
        label=label,
        scores=of_vectors.sum(dim=-1)[0].cpu().numpy(),
        difference=float(ends[1, label] - ends[0, label]),
    )
