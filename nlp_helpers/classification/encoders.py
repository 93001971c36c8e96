"""Open any encoder as a classifier, packed where it can be, else padded."""

from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from nlp_helpers.classification.classifier import Classifier
from nlp_helpers.classification.packing import PackedClassifier
from nlp_helpers.classification.padding import PaddedClassifier
from nlp_helpers.models import loading, registry

# What the dropout is called that packed attention does not have.
ATTENTION_DROPOUT = {
    "distilbert": "attention_dropout",
    "modernbert": "attention_dropout",
}


def load_encoder(
    name: str,
    device: torch.device | str = "cpu",
    new_head: bool = False,
    **settings: Any,
) -> tuple[PreTrainedTokenizerBase, Classifier]:
    """Load tokenizer and classifier, in evaluation mode.

    Args:
        name: a name of models.yaml, or a model folder.
        device: where the weights go.
        new_head: see `loading.load_model`.
        settings: passed on to the model's configuration.

    Raises:
        UserError: it is of a type that `registry` does not list; or see
            `loading.load_model`.
    """
    kind = fetch_type(name)
    tokenizer, model = loading.load_model(
        name,
        AutoModelForSequenceClassification,
        device,
        new_head,
        **settings_of(kind),
        **settings,
    )
    return tokenizer, wrap(model)


def fetch_type(name: str) -> str:
    """Return the type of an encoder, from its files if nothing else tells.

    Raises:
        UserError: see `loading.fetch_model`; or `registry` does not list it.
    """
    kind = registry.model_type(name)
    if not kind:
        kind = registry.model_type(str(loading.fetch_model(name)))
    registry.check_trainable(name, kind)
    return kind


def settings_of(kind: str) -> dict[str, float]:
    """Return what a type's configuration needs here besides its own."""
    if registry.TRAINABLE.get(kind) != "packed":
        return {}
    return {ATTENTION_DROPOUT.get(kind, "attention_probs_dropout_prob"): 0.0}


def wrap(model: PreTrainedModel) -> Classifier:
    """Give a classifier of transformers texts as is best for its type."""
    if registry.TRAINABLE[model.config.model_type] == "packed":
        return PackedClassifier(model)
    return PaddedClassifier(model)
