"""Notebooks 02 and 03: fill the masked places of a sentence."""

from typing import TypedDict

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers.core.errors import UserError
from nlp_helpers.models import fitting

MASK = "[MASK]"


class Candidate(TypedDict):
    """One answer, with the fields of transformers' fill-mask pipeline."""

    score: float
    token: int
    token_str: str
    sequence: str


def use_mask_token(sentence: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Write the tokenizer's own mask token where the sentence has [MASK].

    Raises:
        UserError: the sentence has no [MASK], or the tokenizer no mask token.
    """
    if tokenizer.mask_token is None:
        raise UserError(
            f"{type(tokenizer).__name__} has no mask token; choose a masked"
            " language model such as minilm-l6-mlm or bert-base-uncased"
        )
    if MASK not in sentence:
        raise UserError(
            f"no {MASK} in the sentence {sentence!r}; put {MASK} where a word"
            " is to be guessed"
        )
    return sentence.replace(MASK, tokenizer.mask_token)


def check_length(
    text: str,
    num_tokens: int,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
) -> None:
    """Refuse a text that is longer than the model reads.

    Raises:
        UserError: names the text, its tokens, and the model's limit.
    """
    limit = fitting.max_length(model.config, tokenizer)
    if num_tokens > limit:
        raise UserError(
            f"the text {text[:60]!r}... has {num_tokens} tokens, the model"
            f" reads {limit}; shorten it"
        )


@torch.no_grad()
def fill_mask(
    sentences: list[str],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    top_k: int = 5,
) -> list[list[list[Candidate]]]:
    """Guess every [MASK] of every sentence.

    Several masks in a sentence are guessed independently of each other: each
    list of candidates sees the other masks as masks, and `sequence` fills in
    its own mask only. Scores and fields are those of the fill-mask pipeline.

    Returns:
        One list a sentence, in it one list a mask, in it `top_k` candidates,
        best first.

    Raises:
        UserError: a sentence has no [MASK] or is longer than the model reads;
            the message names the sentence.
    """
    return [
        _fill_sentence(sentence, tokenizer, model, top_k)
        for sentence in sentences
    ]


def _fill_sentence(
    sentence: str,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    top_k: int,
) -> list[list[Candidate]]:
    """Fill the masks of one sentence: one list of candidates a mask."""
    text = use_mask_token(sentence, tokenizer)
    encoded = tokenizer(text, return_tensors="pt").to(model.device)
    input_ids = encoded["input_ids"][0]  # (T,)
    check_length(sentence, len(input_ids), tokenizer, model)
    logits = model(**encoded).logits[0]  # (T, V)
    positions = (input_ids == tokenizer.mask_token_id).nonzero().flatten()
    by_mask = []
    for position in positions.tolist():
        scores, ids = logits[position].softmax(dim=-1).topk(top_k)
        candidates = []
        for score, token in zip(scores.tolist(), ids.tolist(), strict=True):
            filled = input_ids.clone()
            filled[position] = token
            candidates.append(
                Candidate(
                    score=score,
                    token=token,
                    # `decode` also takes lists of lists; here it is one text.
                    token_str=str(tokenizer.decode([token])),
                    # Other masks must stay visible, so special tokens go
                    # only where there is a single mask (as the pipeline does).
                    sequence=str(
                        tokenizer.decode(
                            filled, skip_special_tokens=len(positions) == 1
                        )
                    ),
                )
            )
        by_mask.append(candidates)
    return by_mask
