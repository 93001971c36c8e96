"""Masking personal data in texts before they are shared.

What is found is replaced by its label in brackets. What is not found stays:
nobody should publish texts on the word of this function alone.
"""

import re
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers.heads.token_labels import Span, find_spans

# What has a form of its own needs no model.
PATTERNS = {
    "EMAIL": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "URL": re.compile(r"(?:https?://|www\.)[^\s<>()]*[^\s<>().,;:!?]"),
    # Seven digits or more, with or without the usual signs between them.
    "PHONE": re.compile(
        r"(?<![\w.-])[+(]?\d(?:[ ().-]{0,2}\d){6,14}(?![\w-])"
    ),
}


def find_patterns(text: str) -> list[Span]:
    """Return e-mail addresses, web addresses and telephone numbers."""
    return [
        Span(*match.span(), label)
        for label, pattern in PATTERNS.items()
        for match in pattern.finditer(text)
    ]


def merge(first: Sequence[Span], second: Sequence[Span]) -> list[Span]:
    """Return all of the first, and of the second what overlaps none of it."""
    kept = [
        span
        for span in second
        if all(span.end <= one.start or one.end <= span.start for one in first)
    ]
    return sorted([*first, *kept])


def find_personal_data(
    text: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> list[Span]:
    """Return what the patterns find, and what the model finds besides."""
    return merge(find_patterns(text), find_spans(text, tokenizer, model))


def mask(text: str, spans: Sequence[Span]) -> str:
    """Replace each span by its label, as in `My name is [GIVEN_NAME]`."""
    for span in sorted(spans, reverse=True):
        text = f"{text[: span.start]}[{span.label}]{text[span.end :]}"
    return text


def left_in_sight(
    expected: Sequence[Span], found: Sequence[Span]
) -> list[Span]:
    """Return the spans of which some character would still be seen.

    Under which label a character is hidden does not matter here.
    """
    hidden = {place for span in found for place in range(span.start, span.end)}
    return [
        span
        for span in expected
        if not hidden.issuperset(range(span.start, span.end))
    ]
