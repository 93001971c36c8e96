"""What every classifier here answers, however it takes its texts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from transformers import PreTrainedModel

from nlp_helpers import session

Batch = dict[str, torch.Tensor]


class Classifier(torch.nn.Module, ABC):
    """A sequence classifier of transformers that takes texts of any length."""

    how: str  # it takes the texts of a batch, in a word for the reader

    def __init__(self, model: PreTrainedModel) -> None:
        """Wrap `model`."""
        super().__init__()
        self.model = model
        self.config = model.config
        self.train(model.training)  # of one mind with what it wraps

    @abstractmethod
    def plan(self, lengths: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Divide texts among forward passes; return the rows of each.

        Args:
            lengths: of the texts, in tokens.
        """

    @abstractmethod
    def collate(self, sequences: Sequence[Sequence[int]]) -> Batch:
        """Put the token ids of B texts together, as `forward` takes them."""

    @abstractmethod
    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Return the logits of B texts, (B, number of labels)."""

    @torch.no_grad()
    def predict_logits(self, input_ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the logits of N texts, (N, number of labels), in order.

        N may be 0: the share of a process that has nothing to do.
        """
        device = next(self.parameters()).device
        num_labels = cast(int, self.config.num_labels)
        logits = np.empty((len(input_ids), num_labels), np.float32)
        with session.evaluation_mode(self), session.autocast(device):
            for rows in self.plan([len(ids) for ids in input_ids]):
                batch = self.collate([input_ids[row] for row in rows])
                batch = {name: t.to(device) for name, t in batch.items()}
                logits[rows] = self(**batch).float().cpu().numpy()
        return logits
