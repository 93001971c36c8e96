"""Notebook 03: where the heads of a BERT look, and the same with one off."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import BertPreTrainedModel


@torch.no_grad()
def read_weights(
    model: BertPreTrainedModel, **inputs: torch.Tensor
) -> torch.Tensor:
    """Return the attention weights of every head for one text.

    Fused kernels do not keep the weights, so this pass takes the plain
    implementation, `eager`; afterwards the model is as it was.

    Args:
        model: a BERT.
        inputs: what its forward pass takes, a batch of one text of T tokens.

    Returns:
        Of L layers with H heads, (L, H, T, T), on the CPU: how much each
        token (third axis) looks at each (fourth axis, which adds up to one).
    """
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        attentions = model(**inputs, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(implementation)
    return torch.cat(attentions).float().cpu()


@contextmanager
def head_off(
    model: BertPreTrainedModel, layer: int, head: int
) -> Iterator[None]:
    """Let one head of a BERT contribute nothing inside a `with` block.

    Its part of what the heads of a layer hand on is set to zero (Michel et
    al. 2019, https://arxiv.org/abs/1905.10650).

    Args:
        model: a BERT.
        layer: from 0 on.
        head: from 0 on.
    """
    width = model.config.hidden_size // model.config.num_attention_heads
    part = slice(head * width, (head + 1) * width)

    def silence(_: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        joined = args[0].clone()  # (..., hidden size)
        joined[..., part] = 0
        return (joined,)

    encoder: Any = model.base_model.encoder
    block = encoder.layer[layer].attention.output.dense
    hook = block.register_forward_pre_hook(silence)
    try:
        yield
    finally:
        hook.remove()
