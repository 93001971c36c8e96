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
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, BertForSequenceClassification

from nlp_helpers import session

NAME = "unpadded"  # among transformers' attention implementations
MOST_TOKENS = 4096  # of one forward pass; bounds the memory


def join(sequences: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Put B texts of T tokens in all end to end.

    Returns:
        `input_ids` and `position_ids`, (1, T), the positions counted from 0
        in each text; and `offsets`, (B + 1,): text i begins at token
        `offsets[i]` and ends before `offsets[i + 1]`.
    """
    lengths = [len(sequence) for sequence in sequences]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = np.repeat(offsets[:-1], lengths)
    ids = np.concatenate([np.asarray(s, dtype=np.int64) for s in sequences])
    return {
        "input_ids": torch.from_numpy(ids)[None],
        "position_ids": torch.from_numpy(np.arange(len(ids)) - starts)[None],
        "offsets": torch.from_numpy(offsets),
    }


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_offsets: torch.Tensor,
    key_offsets: torch.Tensor,
) -> torch.Tensor:
    """Let the queries of each text attend to the keys of the same text.

    Args:
        query: (number of queries, heads, width of a head).
        key: (number of keys, heads, width of a head).
        value: the shape of `key`.
        query_offsets: where the queries of each text begin; (B + 1,).
        key_offsets: the same for keys and values.

    Returns:
        The shape of `query`.
    """
    if query.is_cuda and query.dtype == torch.bfloat16:
        lengths = (query_offsets.diff().max(), key_offsets.diff().max())
        return varlen_attn(
            query,
            key,
            value,
            query_offsets.int(),
            key_offsets.int(),
            *(int(length) for length in lengths),
        )
    # One call for each text. `split`, not slices: the gradient of a slice
    # is as large as the whole row.
    pieces = zip(
        query.transpose(0, 1).split(query_offsets.diff().tolist(), dim=1),
        key.transpose(0, 1).split(key_offsets.diff().tolist(), dim=1),
        value.transpose(0, 1).split(key_offsets.diff().tolist(), dim=1),
        strict=True,
    )
    found = [
        session.attend(*(tensor[None] for tensor in piece)) for piece in pieces
    ]
    return torch.cat(found, dim=2)[0].transpose(0, 1)


def attention_function(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    offsets: torch.Tensor,
    dropout: float = 0.0,
    **others: object,
) -> tuple[torch.Tensor, None]:
    """Do what transformers asks of an attention implementation.

    `query`, `key`, `value`: (1, heads, T, width of a head).

    Returns:
        (1, T, heads, width of a head), and no attention weights.

    Raises:
        ValueError: attention dropout is asked for.
    """
    if dropout:
        raise ValueError(
            "unpadded attention has no dropout; load the model with"
            " attention_probs_dropout_prob=0.0"
        )
    query, key, value = (t[0].transpose(0, 1) for t in (query, key, value))
    return attend(query, key, value, offsets, offsets)[None], None


class UnpaddedClassifier(torch.nn.Module):
    """A BertForSequenceClassification that takes joined texts."""

    def __init__(self, model: BertForSequenceClassification) -> None:
        """Wrap `model`, whose own forward pass cannot be used any more."""
        super().__init__()
        AttentionInterface.register(NAME, attention_function)
        model.set_attn_implementation(NAME)
        self.model = model
        self.train(model.training)  # of one mind with what it wraps

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        offsets: torch.Tensor,
    ) -> torch.Tensor:
        """Return the logits of B joined texts, (B, number of labels)."""
        *layers, last = self.model.bert.encoder.layer
        hidden = self.model.bert.embeddings(
            input_ids=input_ids, position_ids=position_ids
        )
        for layer in layers:
            hidden = layer(hidden, offsets=offsets)  # (1, T, H)
        first = first_tokens(last, hidden[0], offsets)
        pooled = self.model.bert.pooler(first[:, None])
        return self.model.classifier(self.model.dropout(pooled))


def first_tokens(
    layer: torch.nn.Module, hidden: torch.Tensor, offsets: torch.Tensor
) -> torch.Tensor:
    """Compute a BERT layer for the first token of each text.

    Args:
        layer: a BertLayer.
        hidden: (T, H).
        offsets: see `join`.

    Returns:
        (B, H).
    """
    attention = layer.attention.self
    shape = (-1, attention.num_attention_heads, attention.attention_head_size)
    first = hidden[offsets[:-1]]
    context = attend(
        attention.query(first).view(shape),
        attention.key(hidden).view(shape),
        attention.value(hidden).view(shape),
        torch.arange(len(offsets), device=offsets.device),
        offsets,
    )
    attended = layer.attention.output(context.flatten(1), first)
    return layer.feed_forward_chunk(attended)


def passes(
    lengths: Sequence[int], most_tokens: int = MOST_TOKENS
) -> Iterator[slice]:
    """Cut texts into runs of at most `most_tokens` tokens, one text or more.

    Memory grows with the tokens of a forward pass; the runs keep it flat
    whatever the number of texts and their lengths.
    """
    start = tokens = 0
    for row, length in enumerate(lengths):
        if tokens and tokens + length > most_tokens:
            yield slice(start, row)
            start, tokens = row, 0
        tokens += length
    if tokens:
        yield slice(start, len(lengths))


@torch.no_grad()
def predict_logits(
    model: UnpaddedClassifier, input_ids: Sequence[Sequence[int]]
) -> np.ndarray:
    """Return the logits of N texts, (N, number of labels), in order.

    N may be 0: the share of a process that has nothing to do.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    logits = [torch.empty(0, model.model.config.num_labels)]
    for rows in passes([len(ids) for ids in input_ids]):
        batch = {k: v.to(device) for k, v in join(input_ids[rows]).items()}
        with session.autocast(device):
            logits.append(model(**batch).float().cpu())
    model.train(was_training)
    return torch.cat(logits).numpy()
