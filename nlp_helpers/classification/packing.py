"""A classifier that computes no padding.

The texts of a batch stand end to end in one long row, and each token attends
to the tokens of its own text alone. What padding there is in an ordinary
batch, a tenth or nine tenths of it, is never computed, and cannot reach a
loss or a pooled vector, because it does not exist.

Most classifiers read one vector of the last layer: that of the first token
of each text. Where layers are built as BERT's are, the last is therefore
computed for the first tokens alone; the other tokens serve it as keys and
values. Nothing else changes: the logits are those of transformers' own
forward pass.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from nlp_helpers.classification.attention import (
    attention_function,
    first_tokens,
)
from nlp_helpers.classification.classifier import Batch, Classifier
from nlp_helpers.models.fitting import POSITIONS_AFTER_PADDING

NAME = "packed"  # among transformers' attention implementations
MAX_TOKENS = 4096  # of one forward pass; bounds the memory
CACHED_TOKENS = 2048  # more, and a processor waits for its memory
# Whose layers are built as BERT's are.
BERT_LAYERS = ("bert", "camembert", "electra", "roberta", "xlm-roberta")


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


def pack_for(
    config: PreTrainedConfig, sequences: Sequence[Sequence[int]]
) -> Batch:
    """Pack B texts as the model of a configuration takes them; see `pack`.

    RoBERTa and its kin count positions from the padding's id on, and a
    token that is written as padding is not counted.
    """
    batch = pack(sequences)
    if config.model_type in POSITIONS_AFTER_PADDING:
        padding = config.pad_token_id
        counted = (batch["input_ids"][0] != padding).long()
        texts = counted.split(batch["cu_seqlens"].diff().tolist())
        positions = torch.cat([text.cumsum(0) for text in texts])
        batch["position_ids"] = (positions * counted + padding)[None]
    return batch


def use_packed_attention(model: PreTrainedModel) -> None:
    """Let a model of transformers take packed texts, and no others.

    It needs `cu_seqlens` from then on, and no attention dropout; see
    `encoders.settings_of`.
    """
    AttentionInterface.register(NAME, attention_function)
    model.set_attn_implementation(NAME)


class PackedClassifier(Classifier):
    """A classifier of transformers that takes packed texts."""

    how = "packed"

    def __init__(self, model: PreTrainedModel) -> None:
        """Wrap `model`, whose own forward pass cannot be used any more."""
        super().__init__(model)
        use_packed_attention(model)
        _reduce_to_texts(model)

    def plan(self, lengths: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Divide texts among passes of at most MAX_TOKENS tokens."""
        if not self.training:
            return plan_reading(lengths, self.model.device)
        rows = np.arange(len(lengths))
        return [rows[cut] for cut in micro_batches(lengths)]

    def collate(self, sequences: Sequence[Sequence[int]]) -> Batch:
        """Pack B texts; see `pack_for`."""
        return pack_for(self.config, sequences)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Return the logits of B packed texts, (B, number of labels)."""
        return self.model(**batch).logits


def plan_reading(
    lengths: Sequence[int] | np.ndarray, device: torch.device
) -> list[np.ndarray]:
    """Divide texts among passes that learn nothing; return the rows of each.

    Those of one length stand together, because `attend` takes them at once.

    Args:
        lengths: of the texts, in tokens.
        device: a processor takes CACHED_TOKENS, others MAX_TOKENS.
    """
    rows = np.argsort(lengths, kind="stable")
    limit = CACHED_TOKENS if device.type == "cpu" else MAX_TOKENS
    return [
        rows[cut] for cut in micro_batches(np.asarray(lengths)[rows], limit)
    ]


def _reduce_to_texts(model: PreTrainedModel) -> None:
    """Let the encoder hand on one vector for each text, (B, 1, H).

    What comes after it, pooler and head, then computes as in a batch of B
    texts of one token.
    """
    base: Any = model.base_model
    kind = model.config.model_type
    if kind in BERT_LAYERS:
        last = base.encoder.layer[-1]
        last.forward = partial(first_tokens, last)
        return
    # A pooler inside of the base model, as ALBERT's, comes too early.
    encoder = base.encoder if kind == "albert" else base
    pooling = getattr(model.config, "classifier_pooling", "cls")
    encoder.register_forward_hook(
        partial(_pool, mean=pooling == "mean"), with_kwargs=True
    )


def _pool(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output: BaseModelOutput,
    mean: bool,
) -> BaseModelOutput:
    """Reduce each text to its first vector, or to the mean of them all.

    As a forward hook; the output stays an object of its own class.
    """
    assert output.last_hidden_state is not None
    hidden, cu_seqlens = output.last_hidden_state[0], kwargs["cu_seqlens"]
    if mean:
        texts = hidden.split(cu_seqlens.diff().tolist())
        vectors = torch.stack([text.mean(dim=0) for text in texts])
    else:
        vectors = hidden[cu_seqlens[:-1]]
    output.last_hidden_state = vectors[:, None]
    return output


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
