"""Notebooks 02 and 03: fill the masked places of a sentence."""

import difflib
import re
from collections.abc import Sequence
from typing import TypedDict

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers.core.errors import UserError
from nlp_helpers.models import fitting

CLS, SEP, MASK = "[CLS]", "[SEP]", "[MASK]"
LIKE_MASK = re.compile(r"\[\s*mask\s*\]", re.IGNORECASE)
CONTINUES = "##"  # how a piece begins that goes on with a word


class Candidate(TypedDict):
    """One answer, with the fields of transformers' fill-mask pipeline."""

    score: float
    token: int
    token_str: str
    sequence: str


def use_mask_token(sentence: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Write the tokenizer's own mask token where the sentence has [MASK].

    Raises:
        UserError: the sentence has no [MASK], or one that is written in
            another way; or the tokenizer has no mask token.
    """
    if tokenizer.mask_token is None:
        raise UserError(
            f"{type(tokenizer).__name__} has no mask token; choose a masked"
            " language model such as minilm-l6-mlm or bert-base-uncased"
        )
    for written in LIKE_MASK.findall(sentence):
        if written != MASK:
            raise UserError(
                f"the sentence {sentence!r} has {written!r}; write {MASK}, in"
                " capitals and without spaces"
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


def check_pair(
    first: str,
    second: str,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
) -> None:
    """Ask for two sentences that make [CLS] first [SEP] second [SEP].

    Raises:
        UserError: one of them holds such a mark itself, or nothing that the
            tokenizer keeps, or they are too long; or the tokenizer does not
            build this, or the model knows no second segment.
    """
    pieces = [tokenizer.tokenize(sentence) for sentence in (first, second)]
    reserved = {*tokenizer.all_special_tokens}
    reserved -= {tokenizer.mask_token, tokenizer.unk_token}
    for sentence, tokens in zip((first, second), pieces, strict=True):
        if marks := reserved.intersection(tokens):
            raise UserError(
                f"the sentence {sentence!r} contains {min(marks)}, a mark that"
                " belongs around sentences; take it out"
            )
        if not tokens:
            raise UserError(
                f"the sentence {sentence!r} has no token: the tokenizer of"
                " this model drops all its characters; write another"
            )
    expected = [CLS, *pieces[0], SEP, *pieces[1], SEP]
    built = tokenizer(first, second)["input_ids"]
    if tokenizer.convert_ids_to_tokens(built) != expected:
        raise UserError(
            f"the tokenizer of this model does not build {CLS} first sentence"
            f" {SEP} second sentence {SEP}; name a BERT, such as minilm-l6-mlm"
        )
    if model.config.type_vocab_size < 2:
        raise UserError(
            "this model has no segment id for a second sentence"
            " (type_vocab_size in its config.json); name a BERT that has two"
        )
    check_length(f"{first} {second}", len(expected), tokenizer, model)


def find_word(
    word: str,
    tokens: Sequence[str],
    start: int,
    tokenizer: PreTrainedTokenizerBase,
) -> list[int]:
    """Return the positions of a word's pieces, the first time it occurs.

    Capitals count if they do for the tokenizer. A part of a word is not
    found: `puppet` is no word of `puppet ##eer`.

    Args:
        word: one word, or several in a row.
        tokens: of a text, WordPiece's, with `##` before the pieces that go on
            with a word.
        start: where to begin.
        tokenizer: cuts the word into pieces, as it did the text.

    Raises:
        UserError: the word does not occur after `start`.
    """
    pieces = tokenizer.tokenize(word)
    for first in range(start, len(tokens) - len(pieces) + 1):
        after = first + len(pieces)
        whole = not any(
            token.startswith(CONTINUES) for token in tokens[after : after + 1]
        )
        if pieces and tokens[first:after] == pieces and whole:
            return list(range(first, after))
    text = tokenizer.convert_tokens_to_string(
        [token for token in tokens[start:] if token not in (CLS, SEP)]
    )
    words = {known.lower(): known for known in text.split()}
    close = difflib.get_close_matches(word.lower(), words, n=1)
    hint = f"; did you mean {words[close[0]]!r}?" if close else ""
    raise UserError(
        f"masked_word {word!r} is no word of second_segment, which the model"
        f" reads as {text!r}{hint or '; name one of its words'}"
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
    return [
        rank_candidates(
            logits[position],
            input_ids,
            position,
            tokenizer,
            top_k,
            # Other masks must stay visible, so special tokens go only where
            # there is a single mask (as the pipeline does).
            skip_special_tokens=len(positions) == 1,
        )
        for position in positions.tolist()
    ]


def rank_candidates(
    logits: torch.Tensor,
    input_ids: torch.Tensor,
    position: int,
    tokenizer: PreTrainedTokenizerBase,
    top_k: int,
    skip_special_tokens: bool = True,
    targets: Sequence[int] | None = None,
) -> list[Candidate]:
    """Return the best tokens for one mask, best first.

    Args:
        logits: of the vocabulary at the mask, (V,).
        input_ids: of the sentence, (T,).
        position: of the mask in it.
        tokenizer: turns ids into text.
        top_k: how many; all there are, if there are fewer.
        skip_special_tokens: in `sequence`.
        targets: ids that alone are candidates; the scores stay those among
            the whole vocabulary.
    """
    known = torch.arange(len(logits), device=logits.device)
    if targets is not None:
        known = known[torch.as_tensor(targets, device=logits.device)]
    probabilities = logits.softmax(dim=-1)[known]
    scores, best = probabilities.topk(min(top_k, len(known)))
    ids = known[best]
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
                sequence=str(
                    tokenizer.decode(
                        filled, skip_special_tokens=skip_special_tokens
                    )
                ),
            )
        )
    return candidates
