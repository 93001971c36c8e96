"""Attention within each of many texts that stand end to end.

What transformers asks of an attention implementation, and a last layer that
is computed for one token of each text alone.
"""

from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention


def attend_in_float32(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    **options: Any,
) -> torch.Tensor:
    """Call torch's scaled_dot_product_attention in float32.

    On processors, the way back through torch's kernel takes more than twice
    as long in bfloat16 as in float32.

    Args:
        query: (..., queries, width of a head), as its dtype may be.
        key: (..., keys, width of a head).
        value: the shape of `key`.
        options: torch's own, such as `attn_mask` and `scale`.

    Returns:
        The shape and the dtype of `query`.
    """
    with torch.autocast(query.device.type, enabled=False):
        attended = scaled_dot_product_attention(
            query.float(), key.float(), value.float(), **options
        )
    return attended.to(query.dtype)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    sliding_window: int | None = None,
) -> torch.Tensor:
    """Let the queries of each text attend to the keys of the same text.

    Args:
        query: (number of queries, heads, width of a head).
        key: (number of keys, heads, width of a head).
        value: the shape of `key`.
        cu_seqlens_q: where the queries of each text begin; (B + 1,).
        cu_seqlens_k: the same for keys and values.
        sliding_window: see `attention_function`; the queries are the keys.

    Returns:
        The shape of `query`.
    """
    longest = int(cu_seqlens_k.diff().max())
    if sliding_window and longest <= sliding_window:
        sliding_window = None  # every token reaches every other
    is_fast = query.is_cuda and query.dtype == torch.bfloat16
    if is_fast and not sliding_window:
        # torch 2.9 has none, and a processor needs none.
        from torch.nn.attention.varlen import varlen_attn

        attended = varlen_attn(
            query,
            key,
            value,
            cu_seqlens_q.int(),
            cu_seqlens_k.int(),
            int(cu_seqlens_q.diff().max()),
            longest,
        )
        assert isinstance(attended, torch.Tensor)  # nothing else is asked for
        return attended
    near: torch.Tensor | None = None
    if sliding_window:
        positions = torch.arange(longest, device=query.device)
        near = (positions[:, None] - positions).abs() < sliding_window
    # One call for neighbours of one shape. `split`, not slices: the gradient
    # of a slice is as large as the whole row.
    sizes = zip(
        cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist(), strict=True
    )
    runs = [(size, len(list(run))) for size, run in groupby(sizes)]
    pieces = zip(
        query.split([queries * texts for (queries, _), texts in runs]),
        key.split([keys * texts for (_, keys), texts in runs]),
        value.split([keys * texts for (_, keys), texts in runs]),
        strict=True,
    )
    contexts = []
    for (size, texts), piece in zip(runs, pieces, strict=True):
        length = size[1]
        attended = attend_in_float32(
            # (texts, heads, tokens, width of a head)
            *(t.unflatten(0, (texts, -1)).transpose(1, 2) for t in piece),
            attn_mask=None if near is None else near[:length, :length],
        )
        contexts.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(contexts)


def attention_function(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    cu_seqlens: torch.Tensor,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: object,
) -> tuple[torch.Tensor, None]:
    """Do what transformers asks of an attention implementation.

    `query`, `key`, `value`: (1, heads, T, width of a head).
    `sliding_window`: tokens that far from each other, or farther, do not
    attend to each other.

    Returns:
        (1, T, heads, width of a head), and no attention weights.

    Raises:
        ValueError: attention dropout is asked for.
    """
    if dropout:
        raise ValueError(
            "packed attention has no dropout; load the model with"
            " encoders.load_encoder, which sets it to 0"
        )
    query, key, value = (t[0].transpose(0, 1) for t in (query, key, value))
    attended = attend(
        query, key, value, cu_seqlens, cu_seqlens, sliding_window
    )
    return attended[None], None


def first_tokens(
    layer: Any,
    hidden: torch.Tensor,
    *args: object,
    cu_seqlens: torch.Tensor,
    **kwargs: object,
) -> torch.Tensor:
    """Compute a layer built as BERT's for the first token of each text.

    Args:
        layer: the last of an encoder.
        hidden: (1, T, H).
        args: masks and caches that there are not.
        cu_seqlens: see `pack`.
        kwargs: see `args`.

    Returns:
        (B, 1, H), as if each text were its first token.
    """
    attention = layer.attention.self
    shape = (-1, attention.num_attention_heads, attention.attention_head_size)
    first = hidden[0, cu_seqlens[:-1]]
    context = attend(
        attention.query(first).view(shape),
        attention.key(hidden[0]).view(shape),
        attention.value(hidden[0]).view(shape),
        torch.arange(len(cu_seqlens), device=cu_seqlens.device),
        cu_seqlens,
    )
    attended = layer.attention.output(context.flatten(1), first)
    return layer.feed_forward_chunk(attended)[:, None]
