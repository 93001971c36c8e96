"""The parts of notebook 05's training loop, and labelling afterwards."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers.encoding import TokenSet, encode, pad

NO_WEIGHT_DECAY = ("bias", "LayerNorm.weight")
STRETCH = 50  # batches that are sorted by length together


def parameter_groups(
    model: torch.nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    """Split the parameters: weight decay for all but biases and LayerNorm.

    Decay pulls weights towards zero. A bias or a LayerNorm scale has no
    reason to be near zero, so BERT (Devlin et al. 2019) leaves them out.
    """
    decayed, spared = [], []
    for name, parameter in model.named_parameters():
        group = spared if name.endswith(NO_WEIGHT_DECAY) else decayed
        group.append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]


def batches(
    tokens: TokenSet,
    batch_size: int,
    pad_token_id: int,
    device: torch.device,
    generator: torch.Generator,
) -> Iterator[dict[str, torch.Tensor]]:
    """Go once through `tokens` in random order, little of it padded.

    The order is drawn first; then every stretch of 50 batches is sorted by
    length, cut into batches, and the batches are shuffled. Texts of similar
    length so share a batch, and no batch depends on the labels.

    Yields:
        `input_ids` and `attention_mask`, (B, T) with T the longest text of
        the batch, and `labels`, (B,). One batch may be smaller.
    """
    lengths = np.array([len(ids) for ids in tokens.input_ids])
    order = torch.randperm(len(tokens), generator=generator).numpy()
    groups: list[np.ndarray] = []
    for start in range(0, len(order), STRETCH * batch_size):
        stretch = order[start : start + STRETCH * batch_size]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
        groups += [
            stretch[first : first + batch_size]
            for first in range(0, len(stretch), batch_size)
        ]
    for index in torch.randperm(len(groups), generator=generator).tolist():
        rows = groups[index]
        batch = pad([tokens.input_ids[row] for row in rows], pad_token_id)
        batch["labels"] = torch.from_numpy(tokens.labels[rows])
        yield {name: tensor.to(device) for name, tensor in batch.items()}


@torch.no_grad()
def predict_logits(
    model: PreTrainedModel,
    input_ids: Sequence[Sequence[int]],
    pad_token_id: int,
    batch_size: int = 32,
) -> np.ndarray:
    """Return the logits of N texts, shape (N, number of labels), in order.

    Texts of similar length share a batch, so that little is padded.
    """
    was_training = model.training
    model.eval()
    logits = np.empty((len(input_ids), model.config.num_labels), np.float32)
    order = np.argsort([len(ids) for ids in input_ids], kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = pad([input_ids[row] for row in rows], pad_token_id)
        output = model(**{k: v.to(model.device) for k, v in batch.items()})
        logits[rows] = output.logits.float().cpu().numpy()
    model.train(was_training)
    return logits


def classify(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    max_length: int = 512,
) -> list[dict[str, Any]]:
    """Label texts: `text`, `label` and the probability of every label."""
    input_ids = encode(texts, tokenizer, max_length)
    logits = predict_logits(model, input_ids, tokenizer.pad_token_id)
    probabilities = torch.from_numpy(logits).softmax(dim=-1).tolist()
    names = model.config.id2label
    return [
        {
            "text": text,
            "label": names[int(np.argmax(row))],
            **{names[index]: value for index, value in enumerate(row)},
        }
        for text, row in zip(texts, probabilities, strict=True)
    ]
