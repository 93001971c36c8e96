"""From logits to the tables that notebooks 01 to 03 show."""

import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase


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
            "token": [
                tokenizer.decode([token_id]) for token_id in ids.tolist()
            ],
            "id": ids.tolist(),
            "probability": probabilities.tolist(),
        },
        index=pd.RangeIndex(1, top_k + 1, name="rank"),
    )
