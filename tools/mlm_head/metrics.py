"""How good a masked language model is: fixed masks, and probe sentences."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import (
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from nlp_helpers import session
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import fitting

MASK_FRACTION = 0.15
MAX_LENGTH = 128  # tokens; longer documents are cut into pieces
BATCH_SIZE = 16
SEED = 2018  # of the masks, whatever seed a model was trained with


def read_held_out(path: Path) -> dict[str, list[str]]:
    """Read the held-out documents of each source.

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(
            f"no held-out text {path}; `python -m tools.mlm_head"
            " collect` writes one, and benchmarks/held_out.jsonl is the"
            " published one"
        )
    documents: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        documents.setdefault(row["source"], []).append(row["text"])
    return documents


def evaluate_held_out(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: dict[str, list[str]],
    seed: int,
) -> dict[str, dict[str, float]]:
    """Evaluate each source, and all of them together under the name all."""
    by_source = {
        source: evaluate(model, tokenizer, texts, seed)
        for source, texts in documents.items()
    }
    total = sum(scores["masked"] for scores in by_source.values())
    everything = {
        key: sum(f[key] * f["masked"] for f in by_source.values()) / total
        for key in ("loss", "top1", "top5")
    }
    return by_source | {"all": everything | {"masked": total}}


@torch.inference_mode()
def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    seed: int,
) -> dict[str, float]:
    """Hide 15 % of the tokens, each behind [MASK], and ask for them.

    Single tokens are drawn at random, as in BERT's own pre-training (Devlin
    et al. 2019). The masks depend on seed, text and tokenizer alone, so
    models with one vocabulary answer the very same questions.

    Returns:
        loss (nats per masked token), top1 and top5 (shares), masked (count).
    """
    generator = np.random.default_rng(seed)
    pieces = tokenizer(
        texts,
        truncation=True,
        max_length=min(
            MAX_LENGTH, fitting.max_length(model.config, tokenizer)
        ),
        return_overflowing_tokens=True,
        return_special_tokens_mask=True,
    )
    count = {"loss": 0.0, "top1": 0, "top5": 0, "masked": 0}
    with session.evaluation_mode(model):
        for start in range(0, len(pieces["input_ids"]), BATCH_SIZE):
            batch = {k: pieces[k][start : start + BATCH_SIZE] for k in pieces}
            batch.pop("overflow_to_sample_mapping")
            inputs, labels = _mask(tokenizer, batch, generator)
            inputs, labels = inputs.to(model.device), labels.to(model.device)
            chosen = labels >= 0
            logits = model(**inputs).logits[chosen].float()  # (M, V)
            wanted = labels[chosen]  # (M,)
            loss = torch.nn.functional.cross_entropy(
                logits, wanted, reduction="sum"
            )
            hits = logits.topk(5).indices == wanted[:, None]  # (M, 5)
            count["loss"] += loss.item()
            count["top1"] += hits[:, 0].sum().item()
            count["top5"] += hits.sum().item()
            count["masked"] += len(wanted)
    masked = count.pop("masked")
    return {k: v / masked for k, v in count.items()} | {"masked": masked}


def _mask(
    tokenizer: PreTrainedTokenizerBase,
    pieces: dict[str, list[list[int]]],
    generator: np.random.Generator,
) -> tuple[BatchEncoding, torch.Tensor]:
    """Hide tokens; return padded inputs and labels (B, T), -1 where kept."""
    labels = []
    for ids, special in zip(
        pieces["input_ids"], pieces.pop("special_tokens_mask"), strict=True
    ):
        words = np.flatnonzero(np.array(special) == 0)
        count = max(1, round(MASK_FRACTION * len(words))) if len(words) else 0
        hidden = generator.choice(words, count, replace=False)
        labels.append(torch.full((len(ids),), -1))
        labels[-1][hidden] = torch.tensor(ids)[hidden]
        for position in hidden:
            ids[position] = tokenizer.mask_token_id
    inputs = tokenizer.pad(pieces, return_tensors="pt")
    padded = torch.nn.utils.rnn.pad_sequence(
        labels, batch_first=True, padding_value=-1
    )
    return inputs, padded
