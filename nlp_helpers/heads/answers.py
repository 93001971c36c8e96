"""An answer in a text: the best span between a begin and an end.

A head with two vectors gives each token of question and context a logit as
the begin of the answer and one as its end (Devlin et al. 2019, section 4.2).
[CLS] as begin and end means that the context has no answer.
"""

import re
import string
from collections import Counter
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers.core.errors import UserError
from nlp_helpers.models import fitting

MAX_LENGTH = 384  # tokens of question and context, as for SQuAD
STRIDE = 128  # tokens that two windows share
MAX_ANSWER = 30  # tokens
ARTICLES = re.compile(r"\b(a|an|the)\b")
CONTEXT = 1  # the number of the second segment


@dataclass(frozen=True)
class Answer:
    """The best span of a context, or none."""

    text: str  # empty: the context has no answer
    start: int  # characters of the context
    end: int
    score: float  # begin logit + end logit
    null_score: float  # of [CLS] as both, in the window where it is lowest


def best_span(
    begin_logits: torch.Tensor,
    end_logits: torch.Tensor,
    in_context: torch.Tensor,
    max_answer: int = MAX_ANSWER,
) -> tuple[int, int, float]:
    """Return begin, end and score of the best span that can be an answer.

    The end does not come before the begin, both are in the context, and the
    span has `max_answer` tokens or fewer.

    Args:
        begin_logits: (T,).
        end_logits: (T,).
        in_context: (T,), true for tokens of the context.
        max_answer: tokens of the longest answer.
    """
    size = len(begin_logits)
    scores = begin_logits[:, None] + end_logits  # (T, T): begin, end
    valid = torch.ones_like(scores, dtype=torch.bool).triu()
    valid &= valid.new_ones(size, size).tril(max_answer - 1)
    valid &= in_context[:, None] & in_context
    scores = scores.masked_fill(~valid, -torch.inf)
    begin, end = divmod(int(scores.argmax()), size)
    return begin, end, float(scores[begin, end])


@torch.no_grad()
def find_answer(
    question: str,
    context: str,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    max_length: int = MAX_LENGTH,
    null_threshold: float = 0.0,
) -> Answer:
    """Find the answer to a question in a context of any length.

    A long context is read in windows that overlap; the best span of all of
    them is the answer, unless the score of no answer is higher in every one.

    Args:
        question: the first segment.
        context: the second.
        tokenizer: of the model; it must know the offsets of its tokens.
        model: with a question-answering head.
        max_length: tokens of a window, the question included.
        null_threshold: how much higher the score of no answer must be.

    Raises:
        UserError: the question leaves no room for the context, or the context
            is empty.
    """
    limit = min(max_length, fitting.max_length(model.config, tokenizer))
    room = limit - len(tokenizer(question)["input_ids"]) - 1
    if room < 2 or not context.strip():
        raise UserError(
            f"the question {question[:60]!r} leaves {max(room, 0)} tokens for"
            f" a context of {len(context)} characters; shorten the question,"
            " give a context, or raise max_length"
        )
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=limit,
        stride=min(STRIDE, room // 2),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    best, nulls = Answer("", 0, 0, -float("inf"), 0.0), []
    for window in range(len(encoded["input_ids"])):
        batch = {
            name: torch.tensor([encoded[name][window]], device=model.device)
            for name in tokenizer.model_input_names
        }
        output = model(**batch)
        begins, ends = output.start_logits[0], output.end_logits[0]
        inside = torch.tensor(
            [number == CONTEXT for number in encoded.sequence_ids(window)],
            device=model.device,
        )
        null = encoded["input_ids"][window].index(tokenizer.cls_token_id)
        nulls.append(float(begins[null] + ends[null]))
        begin, end, score = best_span(begins, ends, inside)
        if score > best.score:
            offsets = encoded["offset_mapping"][window]
            start, after = offsets[begin][0], offsets[end][1]
            best = Answer(context[start:after], start, after, score, 0.0)
    null_score = min(nulls)
    if null_score > best.score + null_threshold:
        return Answer("", 0, 0, best.score, null_score)
    return Answer(best.text, best.start, best.end, best.score, null_score)


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and spaces too many."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", kept).split())


def exact_match(found: str, expected: str) -> float:
    """Return 1 if two answers are the same once normalised, else 0.

    As SQuAD counts (Rajpurkar et al. 2016).
    """
    return float(normalise(found) == normalise(expected))


def f1(found: str, expected: str) -> float:
    """Return the F1 of the words that two answers share, as SQuAD counts.

    Where one of them is no answer, it is 1 if both are, else 0.
    """
    said, true = normalise(found).split(), normalise(expected).split()
    if not said or not true:
        return float(said == true)
    shared = sum((Counter(said) & Counter(true)).values())
    return 2 * shared / (len(said) + len(true))
