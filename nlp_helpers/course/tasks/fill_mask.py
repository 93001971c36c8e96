"""Tasks of notebook 02: masks, their probabilities, pronouns."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from nlp_helpers.course import models
from nlp_helpers.course.answers import Function, Number, Table, Words
from nlp_helpers.course.task import Mistake, Task
from nlp_helpers.language_models.masked_lm import MASK, fill_mask

SENTENCE = "Unfortunately, the [MASK] arrived broken."
TWO = "The [MASK] of this phone is [MASK]."
OTHERS = (
    "I love this [MASK], it is very [MASK].",
    "The screen is [MASK] and the battery is [MASK].",
)
WORD = "computer"
HE, SHE = "He is a [MASK].", "She is a [MASK]."
JOBS = ("nurse", "doctor", "singer", "soldier")
MAX_CHARACTERS = 300  # of a student's own sentence

BY_HAND = "The best words, by hand"
EVERY = "The same for every sentence"
SEVERAL = "Several masks, or none"
PRONOUNS = "*He is a*, *She is a*"


@lru_cache(maxsize=64)
def all_logits(sentence: str) -> torch.Tensor:
    """Return the scores at every position of a sentence, (T, V)."""
    tokenizer, model = models.masked()
    with torch.no_grad():
        return model(**tokenizer(sentence, return_tensors="pt")).logits[0]


def mask_positions(sentence: str) -> list[int]:
    """Return where the masks stand among the tokens."""
    tokenizer, _ = models.masked()
    ids = tokenizer(sentence)["input_ids"]
    return [n for n, i in enumerate(ids) if i == tokenizer.mask_token_id]


def at_mask(sentence: str, number: int = 0, shift: int = 0) -> torch.Tensor:
    """Return the scores at a mask, or `shift` positions after it, (V,)."""
    return all_logits(sentence)[mask_positions(sentence)[number] + shift]


def token_id(word: str) -> int:
    """Return the id of a word that is one token."""
    return int(models.masked()[0].convert_tokens_to_ids(word))


def word_of(index: Any) -> str:
    """Return the text of an id."""
    return str(models.masked()[0].decode([int(index)]))


def best_words(sentence: str) -> list[str]:
    """Return the best word of each mask, each guessed with the others."""
    tokenizer, model = models.masked()
    [masks] = fill_mask([sentence], tokenizer, model, 1)
    return [candidates[0]["token_str"] for candidates in masks]


def best_table(sentence: str) -> pd.DataFrame:
    """Return the three best words of the first mask, with their scores."""
    tokenizer, model = models.masked()
    [masks] = fill_mask([sentence], tokenizer, model, 3)
    table = pd.DataFrame(masks[0])
    return table.rename(columns={"token_str": "word"})[["word", "score"]]


def fill_last(sentence: str) -> str:
    """Fill the last mask, and leave the others."""
    before, _, after = sentence.rpartition(MASK)
    return before + best_words(sentence)[-1] + after


def fill_in_turn(sentence: str, from_left: bool = True) -> str:
    """Fill one mask after the other, each guess with those before it."""
    while MASK in sentence:
        if from_left:
            sentence = sentence.replace(MASK, best_words(sentence)[0], 1)
        else:
            sentence = fill_last(sentence)
    return sentence


def fill_at_once(sentence: str) -> str:
    """Fill all masks with words that were guessed independently."""
    for word in best_words(sentence):
        sentence = sentence.replace(MASK, word, 1)
    return sentence


def rank_of(sentence: str, word: str) -> int:
    """Return which rank a word has among all for the first mask; 1 is best."""
    scores = at_mask(sentence)
    return int((scores > scores[token_id(word)]).sum()) + 1


def ratios(
    compare: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.div,
) -> pd.DataFrame:
    """Return each job's probability after She, compared with after He."""
    ids = [token_id(word) for word in JOBS]
    she, he = (at_mask(text).softmax(-1)[ids] for text in (SHE, HE))
    return pd.DataFrame({"word": JOBS, "ratio": compare(she, he).tolist()})


def shared_words(sentence: str, number: int = 10) -> int:
    """Return how many of the best words stay if He becomes She."""
    other = "She" + sentence.removeprefix("He")
    best = [
        set(at_mask(text).topk(number).indices.tolist())
        for text in (sentence, other)
    ]
    return len(best[0] & best[1])


def own_sentence(sentence: Any) -> str:
    """Say what is wrong with a student's own sentence."""
    if not isinstance(sentence, str) or len(sentence.split()) < 4:
        return "your own sentence is a text of four words or more"
    if sentence.count(MASK) != 1:
        return f"your own sentence has {MASK} once, in capitals"
    if len(sentence) > MAX_CHARACTERS:
        return f"a sentence of {MAX_CHARACTERS} characters is long enough here"
    if sentence in (SENTENCE, HE, SHE):
        return "write a sentence of your own, not one of the tasks above"
    return ""


def own_he_sentence(sentence: Any) -> str:
    """The same, for a sentence that begins with He."""
    if problem := own_sentence(sentence):
        return problem
    if not sentence.startswith("He "):
        return "your own sentence begins with He"
    return ""


def probes() -> list[tuple[str]]:
    """Return what a function that fills masks is called with."""
    return [(SENTENCE,), (TWO,), *((text,) for text in OTHERS)]


def rank_probes() -> list[tuple[str, str]]:
    """Return what a function that ranks a word is called with."""
    return [(SENTENCE, WORD), (SENTENCE, "phone"), (HE, "nurse")]


ELSEWHERE = (
    "this is what the model says about the first token of the sentence;"
    " look at the mask's position"
)
TASKS = (
    Task(
        "02.1",
        ("mask_index",),
        BY_HAND,
        Number(tolerance=0, low=0),
        lambda: mask_positions(SENTENCE)[0],
        (
            Mistake(
                "this is the place among the words; the model reads tokens:"
                " there is one at the start, and a comma is one too",
                lambda: SENTENCE.split().index(MASK),
            ),
            Mistake(
                "this is one too many: positions are counted from 0",
                lambda: mask_positions(SENTENCE)[0] + 1,
            ),
            Mistake(
                "this is one too few: the tokenizer puts a token of its own"
                " before the sentence",
                lambda: mask_positions(SENTENCE)[0] - 1,
            ),
            Mistake(
                "this is the id of the mask token, not its position",
                lambda: models.masked()[0].mask_token_id,
            ),
        ),
    ),
    Task(
        "02.2",
        ("best_word",),
        BY_HAND,
        Words(),
        lambda: best_words(SENTENCE)[0],
        (
            Mistake(
                "this is the word with the lowest score",
                lambda: word_of(at_mask(SENTENCE).argmin()),
            ),
            Mistake(
                ELSEWHERE, lambda: word_of(all_logits(SENTENCE)[0].argmax())
            ),
            Mistake(
                "this is the last row, as in notebook 01; here the mask's row"
                " counts",
                lambda: word_of(all_logits(SENTENCE)[-1].argmax()),
            ),
            Mistake(
                "this is what the model says one position after the mask",
                lambda: word_of(at_mask(SENTENCE, shift=1).argmax()),
            ),
            Mistake("", lambda: int(at_mask(SENTENCE).argmax())),
        ),
    ),
    Task(
        "02.3",
        ("word_probability",),
        BY_HAND,
        Number(low=0, high=1),
        lambda: float(at_mask(SENTENCE).softmax(-1)[token_id(WORD)]),
        (
            Mistake("", lambda: float(at_mask(SENTENCE)[token_id(WORD)])),
            Mistake(
                "this is the probability of the best word, not of the word"
                " that is asked for",
                lambda: float(at_mask(SENTENCE).softmax(-1).max()),
            ),
            Mistake(
                "this is a softmax over the positions; it must run over the"
                " vocabulary, the last dimension",
                lambda: float(
                    all_logits(SENTENCE).softmax(0)[
                        mask_positions(SENTENCE)[0], token_id(WORD)
                    ]
                ),
            ),
            Mistake(
                ELSEWHERE,
                lambda: float(
                    all_logits(SENTENCE)[0].softmax(-1)[token_id(WORD)]
                ),
            ),
        ),
    ),
    Task(
        "02.4",
        ("best_three",),
        BY_HAND,
        Table(),
        lambda: best_table(SENTENCE),
        (
            Mistake(
                "the worst of the three comes first; the best should",
                lambda: best_table(SENTENCE)[::-1],
            ),
            Mistake(
                "these three scores add up to 1: the softmax must run over"
                " the whole vocabulary, before the three are chosen",
                lambda: best_table(SENTENCE).assign(
                    score=lambda t: t["score"] / t["score"].sum()
                ),
            ),
            Mistake(
                "the scores are logits; a softmax makes probabilities of them",
                lambda: best_table(SENTENCE).assign(
                    score=at_mask(SENTENCE).topk(3).values.tolist()
                ),
            ),
            Mistake("", lambda: best_table(SENTENCE)["word"].tolist()),
        ),
    ),
    Task(
        "02.5",
        ("best_of_each",),
        SEVERAL,
        Words(),
        lambda: best_words(TWO),
        (
            Mistake("", lambda: best_words(TWO)[::-1]),
            Mistake(
                "these are the two best words of the first mask; each mask has"
                " a position of its own",
                lambda: [word_of(i) for i in at_mask(TWO).topk(2).indices],
            ),
            Mistake(
                "these are the two best words of the last mask; each mask has"
                " a position of its own",
                lambda: [word_of(i) for i in at_mask(TWO, -1).topk(2).indices],
            ),
            Mistake("", lambda: " ".join(best_words(TWO))),
        ),
    ),
    Task(
        "02.6",
        ("second_probability",),
        SEVERAL,
        Number(low=0, high=1),
        lambda: float(
            at_mask(TWO.replace(MASK, best_words(TWO)[0], 1)).softmax(-1).max()
        ),
        (
            Mistake(
                "this is the second mask while the first is still a mask; fill"
                " the first and ask the model again",
                lambda: float(at_mask(TWO, 1).softmax(-1).max()),
            ),
            Mistake(
                "this is the first mask, after the second was filled",
                lambda: float(at_mask(fill_last(TWO)).softmax(-1).max()),
            ),
            Mistake(
                "this is the best word of the first mask",
                lambda: float(at_mask(TWO, 0).softmax(-1).max()),
            ),
            Mistake(
                "",
                lambda: float(
                    at_mask(TWO.replace(MASK, best_words(TWO)[0], 1)).max()
                ),
            ),
        ),
    ),
    Task(
        "02.7",
        ("rank_of",),
        BY_HAND,
        Function(Number(tolerance=0, low=0), rank_probes),
        lambda: rank_of,
        (
            Mistake(
                "the best word has rank 1, not 0",
                lambda: lambda sentence, word: rank_of(sentence, word) - 1,
            ),
            Mistake(
                "the ranks run the wrong way: the most probable word comes"
                " first",
                lambda: (
                    lambda sentence, word: (
                        len(at_mask(sentence)) + 1 - rank_of(sentence, word)
                    )
                ),
            ),
            Mistake(
                "this is the word's id, not its rank",
                lambda: lambda sentence, word: token_id(word),
            ),
        ),
        points=2,
    ),
    Task(
        "02.8",
        ("she_he",),
        PRONOUNS,
        Table(),
        ratios,
        (
            Mistake(
                "the ratio is upside down: above 1 must mean *more probable"
                " after She*",
                lambda: ratios(lambda she, he: he / she),
            ),
            Mistake(
                "this is a difference; how many times as probable the word is"
                " says more where probabilities are small",
                lambda: ratios(lambda she, he: she - he),
            ),
            Mistake(
                "these are the probabilities after She alone",
                lambda: ratios(lambda she, he: she),
            ),
        ),
        points=2,
    ),
    Task(
        "02.9",
        ("fill_in_turn",),
        SEVERAL,
        Function(Words(), probes),
        lambda: fill_in_turn,
        (
            Mistake(
                "the masks are all filled from one pass; after each word the"
                " model must be asked again",
                lambda: fill_at_once,
            ),
            Mistake(
                "the masks are filled from right to left",
                lambda: lambda sentence: fill_in_turn(sentence, False),
            ),
            Mistake(
                "only the first mask is filled",
                lambda: (
                    lambda sentence: sentence.replace(
                        MASK, best_words(sentence)[0], 1
                    )
                ),
            ),
            Mistake(
                "every mask gets the word of the first one",
                lambda: (
                    lambda sentence: sentence.replace(
                        MASK, best_words(sentence)[0]
                    )
                ),
            ),
        ),
        points=3,
    ),
    Task(
        "02.10",
        ("my_sentence", "my_probability"),
        EVERY,
        Number(low=0, high=1),
        lambda sentence: float(at_mask(sentence).softmax(-1).max()),
        (
            Mistake("", lambda sentence: float(at_mask(sentence).max())),
            Mistake(
                ELSEWHERE,
                lambda sentence: float(
                    all_logits(sentence)[0].softmax(-1).max()
                ),
            ),
            Mistake(
                "this is the second best word",
                lambda sentence: float(
                    at_mask(sentence).softmax(-1).topk(2).values[1]
                ),
            ),
        ),
        own=own_sentence,
        examples=(
            ("My neighbour sold his old [MASK] yesterday.",),
            ("In the evening we like to play [MASK].",),
        ),
    ),
    Task(
        "02.11",
        ("my_he_sentence", "my_shared"),
        PRONOUNS,
        Number(tolerance=0, low=0, high=10),
        shared_words,
        (
            Mistake(
                "this is how many differ",
                lambda sentence: 10 - shared_words(sentence),
            ),
            Mistake(
                "these are the five best; take the ten best of each",
                lambda sentence: shared_words(sentence, 5),
            ),
            Mistake("", lambda sentence: -1),
        ),
        own=own_he_sentence,
        examples=(("He wanted to become a [MASK].",),),
    ),
)
