"""A classifier whose texts are padded, for lack of a better way.

DeBERTa and MPNet add to attention what depends on the distance of two tokens,
and XLNet's reads more than one row; neither can be told where texts end. So
texts of similar length go together, and little of a batch is padding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from nlp_helpers.classification.classifier import Batch, Classifier

MAX_TOKENS = 1024  # of one forward pass, padding included
# XLNet's classifier reads the last token: its padding stands on the left, the
# token at the end is a segment of its own, and padding is one too.
XLNET_LAST, XLNET_PADDING = 2, 3


def group_by_length(lengths: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Divide texts, sorted by length, among passes of MAX_TOKENS.

    Returns:
        The rows of each pass.
    """
    passes: list[list[int]] = []
    for row in np.argsort(lengths, kind="stable"):
        size = len(passes[-1]) + 1 if passes else 1
        if not passes or size * lengths[row] > MAX_TOKENS:
            passes.append([])
        passes[-1].append(int(row))
    return [np.array(rows) for rows in passes]


def pad_for(
    config: PreTrainedConfig, sequences: Sequence[Sequence[int]]
) -> Batch:
    """Pad B texts to the longest, T tokens, as a model takes them.

    Returns:
        `input_ids` and `attention_mask`, (B, T), and XLNet's
        `token_type_ids`.
    """
    left = config.model_type == "xlnet"
    shape = (len(sequences), max(map(len, sequences)))
    ids = np.full(shape, config.pad_token_id or 0, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        start = shape[1] - len(sequence) if left else 0
        ids[row, start : start + len(sequence)] = sequence
        mask[row, start : start + len(sequence)] = 1
    arrays = {"input_ids": ids, "attention_mask": mask}
    if left:
        types = np.where(mask, 0, XLNET_PADDING)
        types[:, -1] = XLNET_LAST
        arrays["token_type_ids"] = types
    return {name: torch.from_numpy(a) for name, a in arrays.items()}


class PaddedClassifier(Classifier):
    """A classifier of transformers that takes rectangles of texts."""

    how = "padded by groups of similar length"

    def __init__(self, model: PreTrainedModel) -> None:
        """Wrap `model`; freeze what no text uses."""
        super().__init__(model)
        for name, parameter in model.named_parameters():
            if name.endswith(".mask_emb"):  # of XLNet's pretraining
                parameter.requires_grad_(False)

    def plan(self, lengths: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Divide texts among passes; see `group_by_length`."""
        return group_by_length(lengths)

    def collate(self, sequences: Sequence[Sequence[int]]) -> Batch:
        """Pad B texts; see `pad_for`."""
        return pad_for(self.config, sequences)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Return the logits of B padded texts, (B, number of labels)."""
        return self.model(**batch).logits
