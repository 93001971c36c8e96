"""Notebook 01: from the logits of the next token to a continuation."""

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers import formatting
from nlp_helpers.core.errors import UserError
from nlp_helpers.language_models.token_text import ids_text, token_text
from nlp_helpers.models import fitting

OTHERS = 3  # tokens that a step could have chosen, of its table
SHOWN_TEXT = 80  # characters of the text before a step: the newest


def top_k_table(
    logits: torch.Tensor, tokenizer: PreTrainedTokenizerBase, top_k: int
) -> pd.DataFrame:
    """Tabulate the `top_k` most probable tokens of one position.

    Args:
        logits: scores over the vocabulary, shape (V,).
        tokenizer: turns the ids into text.
        top_k: number of rows.

    Returns:
        Columns `token`, `id`, `probability`, most probable first.
    """
    probabilities, ids = logits.float().softmax(dim=-1).topk(top_k)
    return pd.DataFrame(
        {
            "token": [token_text(tokenizer, i) for i in ids.tolist()],
            "id": ids.tolist(),
            "probability": probabilities.tolist(),
        },
        index=pd.RangeIndex(1, top_k + 1, name="rank"),
    )


def check_length(
    input_ids: torch.Tensor, num_steps: int, model: PreTrainedModel
) -> None:
    """Refuse a prompt whose continuation is longer than the model reads.

    Raises:
        UserError: names the tokens, the steps, and the model's limit.
    """
    num_tokens = input_ids.shape[1]
    limit = fitting.max_length(model.config)
    if num_tokens + num_steps > limit:
        raise UserError(
            f"the prompt has {num_tokens} tokens, num_steps {num_steps} more,"
            f" and the model reads {limit}; shorten one of them"
        )


@torch.no_grad()
def next_token_logits(
    model: PreTrainedModel, input_ids: torch.Tensor
) -> torch.Tensor:
    """Return the scores of the token that follows `input_ids`.

    Args:
        model: a causal language model.
        input_ids: one prompt, shape (1, T).

    Returns:
        Logits over the vocabulary, shape (V,).
    """
    logits = model(input_ids=input_ids, logits_to_keep=1).logits  # (1, 1, V)
    return logits[0, -1]


def decode_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: torch.Tensor,
    num_steps: int,
) -> tuple[torch.Tensor, pd.DataFrame]:
    """Append the most probable token, `num_steps` times.

    Stops early after an end-of-text token, as `generate` does.

    Returns:
        The prompt with its continuation, shape (1, T + steps), and a table
        with one row a step: the end of the `text so far`, the `token` that
        was chosen, its `probability`, and the best OTHERS `instead` of it.
    """
    rows = []
    for _ in range(num_steps):
        logits = next_token_logits(model, input_ids)
        best = top_k_table(logits, tokenizer, 1 + OTHERS)
        text = ids_text(tokenizer, input_ids[0].tolist())
        pairs = zip(best["token"], best["probability"], strict=True)
        [(token, probability), *others] = pairs
        listed = (f"{t!r} {formatting.decimal(p)}" for t, p in others)
        text = formatting.ending(text, SHOWN_TEXT)
        rows.append((text, token, probability, ", ".join(listed)))
        chosen = logits.argmax().reshape(1, 1)
        input_ids = torch.cat([input_ids, chosen], dim=1)
        if chosen.item() == tokenizer.eos_token_id:
            break
    columns = ["text so far", "token", "probability", "instead"]
    numbers = pd.RangeIndex(1, len(rows) + 1, name="step")
    return input_ids, pd.DataFrame(rows, columns=columns, index=numbers)


def top_p_filter(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Set all but the nucleus to minus infinity (Holtzman et al. 2020).

    The nucleus is the smallest set of most probable tokens whose
    probabilities add up to at least `top_p`; it has at least one token.

    Args:
        logits: shape (V,).
        top_p: in (0, 1]; 1 keeps every token.
    """
    if top_p >= 1:
        return logits  # the sum below reaches 1 before the last token
    ordered, ids = logits.sort(descending=True)
    probabilities = ordered.softmax(dim=-1)
    total = probabilities.cumsum(dim=-1, dtype=torch.float64)
    before = total - probabilities  # mass ahead of each
    outside = before >= top_p
    outside[0] = False
    return logits.index_fill(0, ids[outside], float("-inf"))


def sample_token(logits: torch.Tensor, generator: np.random.Generator) -> int:
    """Draw one of the V tokens, each as often as it is probable.

    torch.multinomial would do, but draws differently on other processors.

    Args:
        logits: shape (V,).
        generator: is asked for one number.
    """
    # Each token has a stretch of (0, total), as long as it is probable.
    ends = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    point = generator.random() * ends[-1].item()
    return int(torch.searchsorted(ends, point, right=True))


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: torch.Tensor,
    num_steps: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> torch.Tensor:
    """Draw a continuation token by token, up to an end-of-text token.

    Args:
        model: a causal language model.
        tokenizer: knows the end-of-text token.
        input_ids: one prompt, shape (1, T).
        num_steps: number of tokens to draw at most.
        temperature: > 0; below 1 sharpens the distribution, above 1 flattens.
        top_p: see `top_p_filter`.
        seed: the same seed draws the same tokens.

    Returns:
        The prompt with its continuation, shape (1, T + steps).
    """
    generator = np.random.default_rng(seed)
    for _ in range(num_steps):
        logits = next_token_logits(model, input_ids).float().cpu()
        nucleus = top_p_filter(logits / temperature, top_p)
        chosen = sample_token(nucleus, generator)
        input_ids = torch.cat([input_ids, input_ids.new([[chosen]])], dim=1)
        if chosen == tokenizer.eos_token_id:
            break
    return input_ids
