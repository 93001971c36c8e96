"""Label texts with a fine-tuned classifier, few at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, cast

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from nlp_helpers.classification.classifier import Classifier
from nlp_helpers.classification.encoders import load_encoder
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.shards import encode
from nlp_helpers.models import fitting

TEXTS_AT_ONCE = 256  # answered together, so that memory stays flat
MAX_LENGTH = 512  # tokens; what a text has beyond them is not read


def load_classifier(
    checkpoint: str, device: torch.device | str = "cpu"
) -> tuple[PreTrainedTokenizerBase, Classifier]:
    """Load a model folder that notebook 05 wrote.

    Raises:
        UserError: see `encoders.load_encoder`; or its labels have names that
            `classify` could not tell apart.
    """
    tokenizer, model = load_encoder(checkpoint, device)
    names = label_names(model.config)
    taken = {"text", "label"}.intersection(names)
    if taken or len(set(names)) < len(names):
        raise UserError(
            f"{checkpoint}: its labels are called {', '.join(names)}; give"
            " each a name of its own other than text and label, in id2label"
            " of config.json"
        )
    return tokenizer, model


def label_names(config: PreTrainedConfig) -> list[str]:
    """Return the names of the labels, in the order of the logits.

    By their numbers: a config.json may list them in any order, and as text,
    which transformers turns into numbers.
    """
    id2label = cast(dict[int, str], config.id2label)
    return [id2label[number] for number in range(len(id2label))]


def classify(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    model: Classifier,
) -> Iterator[dict[str, Any]]:
    """Label texts as they come.

    Args:
        texts: read only as far as predictions are asked for, and a little
            more.
        tokenizer: the classifier's own.
        model: see `load_classifier`; of a text it reads no more than it has
            positions.

    Yields:
        For each text, in order: `text`, `label`, and the probability of
        every label under its name.
    """
    names = label_names(model.config)
    max_length = min(MAX_LENGTH, fitting.max_length(model.config, tokenizer))
    remaining = iter(texts)
    while batch := list(islice(remaining, TEXTS_AT_ONCE)):
        input_ids = encode(batch, tokenizer, max_length)
        logits = torch.from_numpy(model.predict_logits(input_ids))
        rows = logits.softmax(dim=-1).tolist()
        for text, row in zip(batch, rows, strict=True):
            probabilities = dict(zip(names, row, strict=True))
            label = max(probabilities, key=probabilities.__getitem__)
            yield {"text": text, "label": label, **probabilities}
