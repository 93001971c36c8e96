"""Tasks of notebook 03: two sentences, segment ids, attention masks."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from nlp_helpers.core.errors import UserError
from nlp_helpers.course import models
from nlp_helpers.course.answers import Function, Number, Table, Tensor, Words
from nlp_helpers.course.task import Mistake, Task
from nlp_helpers.language_models.masked_lm import CLS, MASK, SEP, find_word

FIRST, SECOND = "who was garden expert ?", "garden expert was a puppeteer"
WORD = "expert"
LONG_PAIR = ("who likes strawberries ?", "anna likes strawberries")
LONG_WORD = "strawberries"
CLOSE = 3e-4  # relative; wrong segment ids change the answer little
SHORT = "the cat drinks milk ."
MAX_CHARACTERS = 300  # of each of a student's own sentences

TOKENS = "Tokens"
MASKS = "The mask"
SEGMENTS = "Ids and segment ids"
FORWARD = "One forward pass"
ALONE = "Without the question"
WRONG = "Wrong segment ids"
POSITIONAL = "Positional arguments"
ELSEWHERE = "The mask elsewhere"


def pair_tokens(first: str = FIRST, second: str = SECOND) -> list[str]:
    """Return the tokens of two sentences, with the marks around them."""
    tokenizer, _ = models.masked()
    return [
        CLS,
        *tokenizer.tokenize(first),
        SEP,
        *tokenizer.tokenize(second),
        SEP,
    ]


def segments(tokens: Sequence[str]) -> list[int]:
    """Return 0 for the tokens up to the first [SEP], then 1."""
    first = list(tokens).index(SEP) + 1
    return [0] * first + [1] * (len(tokens) - first)


def find(tokens: Sequence[str], word: str = WORD, first: int = -1) -> list:
    """Return where a word stands, by default in the second sentence."""
    start = list(tokens).index(SEP) if first < 0 else first
    return find_word(word, tokens, start, models.masked()[0])


def hide(tokens: Sequence[str], positions: Sequence[int]) -> list[str]:
    """Return the tokens with masks at some positions."""
    return [MASK if n in positions else t for n, t in enumerate(tokens)]


@lru_cache(maxsize=256)
def _rows(
    tokens: tuple[str, ...], types: tuple[int, ...], seen: tuple[int, ...]
) -> torch.Tensor:
    """Return logits at every position, (T, V)."""
    tokenizer, model = models.masked()
    with torch.no_grad():
        return model(
            input_ids=torch.tensor([tokenizer.convert_tokens_to_ids(tokens)]),
            token_type_ids=torch.tensor([types]),
            attention_mask=torch.tensor([seen]),
        ).logits[0]


def rows(
    tokens: Sequence[str],
    types: Sequence[int] | None = None,
    seen: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return the model's logits for tokens, (T, V).

    Args:
        tokens: with their marks.
        types: segment ids; by default the right ones.
        seen: the attention mask; by default every token is visible.
    """
    right = segments(tokens) if types is None else types
    return _rows(tuple(tokens), tuple(right), tuple(seen or [1] * len(tokens)))


def pieces(word: str, logits: torch.Tensor, places: Sequence[int]) -> Any:
    """Return the probabilities of a word's pieces at these places."""
    tokenizer, _ = models.masked()
    ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word))
    return logits.softmax(-1)[list(places), ids]


def hidden(
    word: str = WORD,
    tokens: Sequence[str] = (),
    types: Sequence[int] | None = None,
    seen: Sequence[int] | None = None,
    masked: bool = True,
) -> torch.Tensor:
    """Return the probability of each piece of a word of the second sentence.

    Args:
        word: the word.
        tokens: of the two sentences; by default those of the tasks.
        types: see `rows`.
        seen: see `rows`.
        masked: whether the word is hidden.
    """
    tokens = tokens or pair_tokens()
    places = find(tokens, word)
    shown = hide(tokens, places) if masked else tokens
    return pieces(word, rows(shown, types, seen), places)


def long_word(masked: bool = True) -> torch.Tensor:
    """Return the probability of each piece of the long word, if hidden."""
    return hidden(LONG_WORD, pair_tokens(*LONG_PAIR), masked=masked)


def alone(
    word: str = WORD, second: str = SECOND, segment: int = 0
) -> torch.Tensor:
    """Return the same where the second sentence stands alone."""
    tokens = pair_tokens("", second)[1:]
    tokens[0] = CLS
    places = find(tokens, word, 0)
    types = [segment] * len(tokens)
    return pieces(word, rows(hide(tokens, places), types), places)


def without_question(first_hidden: int = 1) -> list[int]:
    """Return an attention mask without the first sentence."""
    types = segments(pair_tokens())
    return [1 if n < first_hidden else t for n, t in enumerate(types)]


def in_turn(masked: bool = True, of_guess: bool = False) -> pd.DataFrame:
    """Hide each token of a sentence in turn: word, guess, probability."""
    tokenizer, _ = models.masked()
    tokens = [CLS, *tokenizer.tokenize(SHORT), SEP]
    types = [0] * len(tokens)
    table = []
    for place in range(1, len(tokens) - 1):
        shown = hide(tokens, [place]) if masked else tokens
        answer = rows(shown, types)[place].softmax(-1)
        best = int(answer.argmax())
        index = tokenizer.convert_tokens_to_ids(tokens[place])
        guess = tokenizer.convert_ids_to_tokens(best)
        value = float(answer[best if of_guess else index])
        table.append((tokens[place], guess, value))
    return pd.DataFrame(table, columns=["hidden", "guess", "probability"])


def segment_probes() -> list[tuple[list[str]]]:
    """Return what a function that gives segment ids is called with."""
    return [
        (pair_tokens(),),
        (pair_tokens("is it cold ?", "yes"),),
        (pair_tokens("no", "then open the window , please"),),
    ]


def gain(first: str, second: str, word: str) -> float:
    """Return how many times as probable a word is with the question."""
    tokens = pair_tokens(first, second)
    return float(hidden(word, tokens).prod() / alone(word, second).prod())


def own_pair(first: Any, second: Any, word: Any) -> str:
    """Say what is wrong with a student's own sentences and word."""
    for text in (first, second):
        if not isinstance(text, str) or len(text.split()) < 3:
            return "each of your own sentences is a text of 3 words or more"
        if len(text) > MAX_CHARACTERS:
            return f"sentences of {MAX_CHARACTERS} characters are long enough"
        if "[" in text:
            return "write your sentences without marks such as [SEP]"
    if not isinstance(word, str) or not word.strip():
        return "your own word is a text"
    if (first, second) == (FIRST, SECOND):
        return "write sentences of your own, not those of the tasks above"
    try:
        find(pair_tokens(first, second), word)
        find(pair_tokens(first, second), word, 0)
    except UserError:
        return "your word must be a word of your second sentence"
    if find(pair_tokens(first, second), word, 0) == find(
        pair_tokens(first, second), word
    ):
        return "your word must be a word of your first sentence too"
    return ""


NO_SEGMENTS = (
    "all tokens were given as one sentence; the second needs segment id 1"
)
WITH_QUESTION = (
    "the question is still there, or this is the difference that says how much"
    " was copied; hand in the probability without the question"
)
TASKS = (
    Task(
        "03.1",
        ("tokens",),
        TOKENS,
        Words(),
        pair_tokens,
        (
            Mistake(
                "the marks are missing: [CLS] opens the sequence, and [SEP]"
                " closes each sentence",
                lambda: [t for t in pair_tokens() if t not in (CLS, SEP)],
            ),
            Mistake(
                "the [SEP] after the last sentence is missing",
                lambda: pair_tokens()[:-1],
            ),
            Mistake(
                "these are words; the tokenizer cuts one of them into pieces",
                lambda: [CLS, *FIRST.split(), SEP, *SECOND.split(), SEP],
            ),
            Mistake("", lambda: " ".join(pair_tokens())),
        ),
    ),
    Task(
        "03.2",
        ("position",),
        MASKS,
        Number(tolerance=0, low=0),
        lambda: find(pair_tokens())[0],
        (
            Mistake(
                "there the word stands in the question; it is to be hidden in"
                " the second sentence",
                lambda: pair_tokens().index(WORD),
            ),
            Mistake(
                "this is counted from the second sentence on; count from the"
                " beginning of the sequence",
                lambda: SECOND.split().index(WORD),
            ),
            Mistake(
                "this is one too many: positions are counted from 0",
                lambda: find(pair_tokens())[0] + 1,
            ),
        ),
    ),
    Task(
        "03.3",
        ("segment_ids",),
        SEGMENTS,
        Tensor(tolerance=0),
        lambda: segments(pair_tokens()),
        (
            Mistake(NO_SEGMENTS, lambda: [0] * len(pair_tokens())),
            Mistake(
                "the first sentence has 0 and the second 1, not the other way"
                " round",
                lambda: [1 - n for n in segments(pair_tokens())],
            ),
            Mistake(
                "the first [SEP] belongs to the first sentence",
                lambda: [*segments(pair_tokens())[1:], 1],
            ),
            Mistake(
                "this is an attention mask, which says what may be looked at",
                lambda: [1] * len(pair_tokens()),
            ),
        ),
    ),
    Task(
        "03.4",
        ("with_question",),
        FORWARD,
        Number(CLOSE, low=0, high=1),
        lambda: float(hidden()[0]),
        (
            Mistake(
                "the word was not hidden: put [MASK] in its place",
                lambda: float(hidden(masked=False)[0]),
            ),
            Mistake(
                NO_SEGMENTS,
                lambda: float(hidden(types=[0] * len(pair_tokens()))[0]),
            ),
            Mistake(
                "the segment ids were taken for the attention mask: pass every"
                " argument by its name",
                lambda: float(
                    hidden(
                        types=[0] * len(pair_tokens()),
                        seen=segments(pair_tokens()),
                    )[0]
                ),
            ),
            Mistake(
                "",
                lambda: float(
                    rows(hide(pair_tokens(), find(pair_tokens())))[
                        find(pair_tokens())[0]
                    ].max()
                ),
            ),
        ),
    ),
    Task(
        "03.5",
        ("without_question",),
        ALONE,
        Number(low=0, high=1),
        lambda: float(alone()[0]),
        (
            # Too near to each other to be told apart.
            Mistake(WITH_QUESTION, lambda: float(hidden()[0])),
            Mistake(WITH_QUESTION, lambda: float(hidden()[0] - alone()[0])),
            Mistake(
                "a sentence that stands alone has segment id 0",
                lambda: float(alone(segment=1)[0]),
            ),
            Mistake(
                "the word was looked for at the position that it had after the"
                " question or before [CLS]",
                lambda: float(
                    rows(hide([CLS, *pair_tokens()[7:]], [2]), [0] * 8)[
                        1
                    ].softmax(-1)[
                        models.masked()[0].convert_tokens_to_ids(WORD)
                    ]
                ),
            ),
        ),
    ),
    Task(
        "03.6",
        ("word_probability",),
        ALONE,
        Number(low=0, high=1),
        lambda: float(long_word().prod()),
        (
            Mistake(
                "this is the first piece alone",
                lambda: float(long_word()[0]),
            ),
            Mistake(
                "this is the last piece alone",
                lambda: float(long_word()[-1]),
            ),
            Mistake(
                "this is the mean of the pieces; all of them must be right, so"
                " their probabilities are multiplied",
                lambda: float(long_word().mean()),
            ),
            Mistake(
                "the pieces were not hidden: each needs a mask of its own",
                lambda: float(long_word(masked=False).prod()),
            ),
        ),
        points=2,
    ),
    Task(
        "03.7",
        ("segments_of",),
        SEGMENTS,
        Function(Tensor(tolerance=0), segment_probes),
        lambda: segments,
        (
            Mistake(
                "the first [SEP] belongs to the first sentence",
                lambda: lambda tokens: [*segments(tokens)[1:], 1],
            ),
            Mistake(
                "the second sentence has 1 and the first 0, not the other way"
                " round",
                lambda: lambda tokens: [1 - n for n in segments(tokens)],
            ),
            Mistake(
                "all tokens get the same number",
                lambda: lambda tokens: [0] * len(tokens),
            ),
            Mistake(
                "the last [SEP] belongs to the second sentence",
                lambda: lambda tokens: [*segments(tokens)[:-1], 0],
            ),
        ),
        points=2,
    ),
    Task(
        "03.8",
        ("hidden_question",),
        POSITIONAL,
        Number(low=0, high=1),
        lambda: float(hidden(seen=without_question())[0]),
        (
            Mistake(
                "[CLS] is invisible too; hide only the question",
                lambda: float(hidden(seen=segments(pair_tokens()))[0]),
            ),
            Mistake(
                "the answer is hidden instead of the question: 1 means that a"
                " token may be looked at",
                lambda: float(
                    hidden(
                        seen=[1] + [1 - n for n in segments(pair_tokens())[1:]]
                    )[0]
                ),
            ),
            Mistake("nothing is hidden", lambda: float(hidden()[0])),
            Mistake(
                "the question was taken away; here it stays in the sequence,"
                " and the attention mask makes it invisible",
                lambda: float(alone()[0]),
            ),
        ),
        points=2,
    ),
    Task(
        "03.9",
        ("in_turn",),
        ELSEWHERE,
        Table(),
        in_turn,
        (
            Mistake(
                "no token was hidden: the model could read what it had to"
                " guess",
                lambda: in_turn(masked=False),
            ),
            Mistake(
                "the probability is that of the guess; it should be that of"
                " the hidden token",
                lambda: in_turn(of_guess=True),
            ),
            Mistake("", lambda: in_turn()[1:]),
            Mistake("", lambda: in_turn()[["hidden", "guess"]]),
        ),
        points=2,
    ),
    Task(
        "03.10",
        ("my_question", "my_answer", "my_word", "my_gain"),
        ALONE,
        Number(low=0),
        gain,
        (
            Mistake(
                "it is upside down: divide the probability with the question"
                " by the one without",
                lambda *own: 1 / gain(*own),
            ),
            Mistake(
                "this is the probability with the question alone",
                lambda *own: float(
                    hidden(own[2], pair_tokens(*own[:2])).prod()
                ),
            ),
            Mistake(
                "this is the probability without the question alone",
                lambda *own: float(alone(own[2], own[1]).prod()),
            ),
        ),
        points=2,
        own=own_pair,
        examples=(
            ("where is the blue lamp ?", "the lamp is upstairs", "lamp"),
            ("who painted the old bridge ?", "tom painted it", "painted"),
        ),
    ),
)
