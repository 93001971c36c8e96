"""A label on every token: from logits to spans of a text, and their score.

Labels are in the BIO scheme (Ramshaw and Marcus 1995): B-CITY begins a city,
I-CITY goes on with it, O is outside of all.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers.core import yaml_files

PERSONAL_DATA = Path(__file__).with_name("personal_data.yaml")
MARKED = re.compile(r"\[([^]]+)\]\(([A-Z_]+)\)")
OUTSIDE = "O"
STRIDE = 64  # tokens that two windows of a long text share


class Span(NamedTuple):
    """A part of a text with a label: characters `start` to `end`."""

    start: int
    end: int
    label: str  # without B- and I-
    score: float = 1.0  # mean probability of the words' labels


def read_marked(path: Path = PERSONAL_DATA) -> list[tuple[str, list[Span]]]:
    """Read sentences whose spans are marked as [text](LABEL)."""
    return [parse_marked(line) for line in yaml_files.read_yaml(path)]


def parse_marked(line: str) -> tuple[str, list[Span]]:
    """Return the text of a marked line, and its spans."""
    text, spans, done = "", [], 0
    for match in MARKED.finditer(line):
        text += line[done : match.start()]
        start = len(text)
        text += match[1]
        spans.append(Span(start, len(text), match[2]))
        done = match.end()
    return text + line[done:], spans


class Word(NamedTuple):
    """A word of a text, as the tokenizer cuts it, with its best label."""

    start: int
    end: int
    label: str  # with B- or I-
    score: float


def join_pieces(
    probabilities: torch.Tensor,
    offsets: Sequence[tuple[int, int]],
    word_ids: Sequence[int | None],
    id2label: dict[int, str],
) -> list[Word]:
    """Join the pieces of each word; its first piece decides on the label.

    Args:
        probabilities: (tokens, labels).
        offsets: of each token, in characters.
        word_ids: number of each token's word; None for marks such as [CLS].
        id2label: names of the labels.
    """
    scores, labels = probabilities.max(dim=-1)
    words: list[Word] = []
    before = None
    for row, number in enumerate(word_ids):
        start, end = offsets[row]
        if number is not None and number == before:
            words[-1] = words[-1]._replace(end=end)
        elif number is not None:
            label = id2label[int(labels[row])]
            words.append(Word(start, end, label, float(scores[row])))
        before = number
    return words


def to_spans(words: Sequence[Word]) -> list[Span]:
    """Read BIO labels as spans: B- begins one, I- goes on with its own kind.

    An I- that follows no word of its kind begins a span too: a model is not
    bound to write sound BIO.
    """
    groups: list[list[Word]] = []
    before = OUTSIDE
    for word in words:
        prefix, _, kind = word.label.partition("-")
        if word.label == OUTSIDE:
            before = OUTSIDE
            continue
        if prefix == "I" and kind == before:
            groups[-1].append(word)
        else:
            groups.append([word])
        before = kind
    return [
        Span(
            group[0].start,
            group[-1].end,
            group[0].label.partition("-")[2],
            float(np.mean([word.score for word in group])),
        )
        for group in groups
    ]


@torch.no_grad()
def find_spans(
    text: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> list[Span]:
    """Return the spans of a text; one of any length is read in windows.

    Two windows share tokens; a word is labelled by the window in which it has
    more text on both sides.
    """
    encoded = tokenizer(
        text,
        truncation=True,
        stride=min(STRIDE, tokenizer.model_max_length // 4),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    names = {int(k): v for k, v in (model.config.id2label or {}).items()}
    best: dict[int, tuple[int, Word]] = {}  # word's start -> context, word
    for window in range(len(encoded["input_ids"])):
        batch = {
            name: torch.tensor([encoded[name][window]], device=model.device)
            for name in tokenizer.model_input_names
        }
        words = join_pieces(
            model(**batch).logits[0].softmax(dim=-1),
            encoded["offset_mapping"][window],
            encoded.word_ids(window),
            names,
        )
        for place, word in enumerate(words):
            context = min(place, len(words) - 1 - place)
            if word.start not in best or best[word.start][0] < context:
                best[word.start] = context, word
    return to_spans([word for _, (_, word) in sorted(best.items())])


def count_spans(
    found: Sequence[Sequence[Span]], expected: Sequence[Sequence[Span]]
) -> pd.DataFrame:
    """Count right, found and expected spans of each label, over all texts.

    A span is right if start, end and label are those of an expected one (as
    CoNLL-2003 counts, Tjong Kim Sang and De Meulder 2003).

    Returns:
        Index `label`, and `all` at the end; columns `expected`, `found`,
        `right`, `precision`, `recall`; nothing where there is nothing.
    """
    counts: dict[str, list[int]] = {}
    for ours, theirs in zip(found, expected, strict=True):
        said, true = ({span[:3] for span in spans} for spans in (ours, theirs))
        for column, spans in enumerate((true, said, said & true)):
            for _, _, label in spans:
                counts.setdefault(label, [0, 0, 0])[column] += 1
    table = pd.DataFrame.from_dict(
        dict(sorted(counts.items())),
        orient="index",
        columns=["expected", "found", "right"],
    )
    table.loc["all"] = table.sum()
    table.index.name = "label"
    table["precision"] = table["right"] / table["found"].replace(0, np.nan)
    table["recall"] = table["right"] / table["expected"].replace(0, np.nan)
    return table
