"""A BERT classifier that computes no padding.

The texts of a batch stand end to end in one long row, and each token attends
to the tokens of its own text alone. What padding there is in an ordinary
batch, a tenth or nine tenths of it, is never computed, and cannot reach a
loss or a pooled vector, because it does not exist.

The classifier reads one vector of the last layer: that of [CLS], the first
token of each text. The last layer is therefore computed for the first tokens
alone; the other tokens serve it as keys and values. Nothing else changes:
the logits are those of transformers' own forward pass.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import AttentionInterface, BertForSequenceClassification
from transformers.models.bert.modeling_bert import BertLayer

from nlp_helpers import session
from nlp_helpers.classification.attention import (
    attention_function,
    first_tokens,
)

NAME = "packed"  # among transformers' attention implementations
MAX_TOKENS = 4096  # of one forward pass; bounds the memory


def pack(sequences: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Put B texts of T tokens in all end to end.

    Returns:
        `input_ids` and `position_ids`, (1, T), the positions counted from 0
        in each text; and `cu_seqlens`, (B + 1,): text i begins at token
        `cu_seqlens[i]` and ends before `cu_seqlens[i + 1]`.
    """
    lengths = [len(sequence) for sequence in sequences]
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)])
    starts = np.repeat(cu_seqlens[:-1], lengths)
    ids = np.concatenate([np.asarray(s, dtype=np.int64) for s in sequences])
    return {
        "input_ids": torch.from_numpy(ids)[None],
        "position_ids": torch.from_numpy(np.arange(len(ids)) - starts)[None],
        "cu_seqlens": torch.from_numpy(cu_seqlens),
    }


class PackedClassifier(torch.nn.Module):
    """A BertForSequenceClassification that takes packed texts."""

    def __init__(self, model: BertForSequenceClassification) -> None:
        """Wrap `model`, whose own forward pass cannot be used any more."""
        super().__init__()
        AttentionInterface.register(NAME, attention_function)
        model.set_attn_implementation(NAME)
        self.model = model
        self.config = model.config
        self.train(model.training)  # of one mind with what it wraps

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        cu_seqlens: torch.Tensor,
    ) -> torch.Tensor:
        """Return the logits of B packed texts, (B, number of labels)."""
        *layers, last = self.model.bert.encoder.layer
        hidden = self.model.bert.embeddings(
            input_ids=input_ids, position_ids=position_ids
        )
        for layer in layers:
            hidden = layer(hidden, cu_seqlens=cu_seqlens)  # (1, T, H)
        assert isinstance(last, BertLayer)
        first = first_tokens(last, hidden[0], cu_seqlens)
        pooler = self.model.bert.pooler
        assert pooler is not None  # a classifier has one
        pooled = pooler(first[:, None])
        return self.model.classifier(self.model.dropout(pooled))


def micro_batches(
    lengths: Sequence[int] | np.ndarray, max_tokens: int = 0
) -> Iterator[slice]:
    """Cut texts into runs of at most `max_tokens` tokens, one text or more.

    Memory grows with the tokens of a forward pass; the runs keep it flat
    whatever the number of texts and their lengths.

    Args:
        lengths: of the texts, in tokens.
        max_tokens: 0 is MAX_TOKENS.
    """
    max_tokens = max_tokens or MAX_TOKENS
    start = tokens = 0
    for row, length in enumerate(lengths):
        if tokens and tokens + length > max_tokens:
            yield slice(start, row)
            start, tokens = row, 0
        tokens += length
    if tokens:
        yield slice(start, len(lengths))


@torch.no_grad()
def predict_logits(
    model: PackedClassifier, input_ids: Sequence[Sequence[int]]
) -> np.ndarray:
    """Return the logits of N texts, (N, number of labels), in order.

    N may be 0: the share of a process that has nothing to do.
    """
    device = next(model.parameters()).device
    logits = [torch.empty(0, model.model.classifier.out_features)]
    with session.evaluation_mode(model), session.autocast(device):
        for rows in micro_batches([len(ids) for ids in input_ids]):
            batch = {k: v.to(device) for k, v in pack(input_ids[rows]).items()}
            logits.append(model(**batch).float().cpu())
    return torch.cat(logits).numpy()
