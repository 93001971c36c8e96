"""Tasks of notebook 01: tokens, probabilities, decoding, sampling."""

from functools import lru_cache

import pandas as pd
import torch

from nlp_helpers.course import models
from nlp_helpers.course.answers import Function, Number, Table, Tensor, Words
from nlp_helpers.course.task import Mistake, Task
from nlp_helpers.language_models import next_token
from nlp_helpers.language_models.token_text import ids_text, token_text

SENTENCE = "Unbelievably, tokenizers split rare words."
PROMPT = "The opposite of hot is"
ENDING = " warm."  # what greedy decoding would not write
STEPS = 6
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0])
TEMPERATURE = 0.5
SURE = 0.9  # what the best next token of task 01.10 must reach
MAX_TOKENS = 200  # of a student's own prompt

IDS = "From text to token ids"
FORWARD = "One forward pass"
DECODING = "A continuation, token by token"
SAMPLING = "Sampling"
SPACES = "What trailing spaces do"


def encode(text: str) -> torch.Tensor:
    """Return the ids of a text, (1, T)."""
    tokenizer, _ = models.causal()
    return tokenizer(text, return_tensors="pt")["input_ids"]


@lru_cache(maxsize=32)
def all_logits(text: str) -> torch.Tensor:
    """Return the scores at every position of a text, (T, V)."""
    _, model = models.causal()
    with torch.no_grad():
        return model(input_ids=encode(text)).logits[0]


def best_token(logits: torch.Tensor) -> str:
    """Return the text of the token with the highest score."""
    return token_text(models.causal()[0], int(logits.argmax()))


def best_probability(text: str, position: int = -1) -> float:
    """Return the probability of the best token after a position."""
    return float(all_logits(text)[position].softmax(-1).max())


def best_table(logits: torch.Tensor) -> pd.DataFrame:
    """Return the five best tokens and their probabilities."""
    table = next_token.top_k_table(logits, models.causal()[0], 5)
    return table[["token", "probability"]]


@lru_cache(maxsize=8)
def continuation(num_steps: int = STEPS) -> str:
    """Return the prompt with its greedy continuation."""
    tokenizer, model = models.causal()
    ids, _ = next_token.decode_greedily(
        model, tokenizer, encode(PROMPT), num_steps
    )
    return ids_text(tokenizer, ids[0].tolist())


def of_ending(shift: int = -1, first: int | None = None) -> torch.Tensor:
    """Return the probability of each token of the ending.

    Args:
        shift: at which position, beside its own, to look for a token.
        first: the position to begin with; by default that of the ending.
    """
    ids = encode(PROMPT + ENDING)[0]
    rows = all_logits(PROMPT + ENDING).softmax(-1)
    positions = range(first or encode(PROMPT).shape[1], len(ids))
    return torch.stack([rows[at + shift, ids[at]] for at in positions])


def best_of_ending() -> torch.Tensor:
    """Return the probability of the best token at each place of the ending."""
    first = encode(PROMPT).shape[1]
    rows = all_logits(PROMPT + ENDING).softmax(-1)
    return rows[first - 1 : -1].max(-1).values


def keep_top_p(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return the probabilities of the nucleus, which add up to 1."""
    return next_token.top_p_filter(probabilities.log(), top_p).softmax(-1)


def nucleus(
    probabilities: torch.Tensor, top_p: float, extra: int
) -> torch.Tensor:
    """Return a nucleus with `extra` more tokens, or fewer, than it has."""
    size = int((keep_top_p(probabilities, top_p) > 0).sum()) + extra
    best = probabilities.sort(descending=True).indices[: max(size, 1)]
    kept = torch.zeros_like(probabilities)
    kept[best] = probabilities[best]
    return kept / kept.sum()


def nucleus_probes() -> list[tuple[torch.Tensor, float]]:
    """Return what a top-p function is called with; the best is not first."""
    first = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])
    second = all_logits(PROMPT)[-1].softmax(-1)
    return [(first, 0.6), (first, 0.95), (first, 0.2), (second, 0.9)]


def own_prompt(text: str) -> str:
    """Say what is wrong with a student's own prompt."""
    if not isinstance(text, str) or len(text.split()) < 3:
        return "your own prompt is a text of three words or more"
    if text.strip() == PROMPT:
        return "write a prompt of your own, not the one of the tasks above"
    if encode(text).shape[1] > MAX_TOKENS:
        return f"a prompt of at most {MAX_TOKENS} tokens is enough here"
    return ""


def own_prompt_spaces(text: str) -> str:
    """The same, where spaces at the end come later."""
    if isinstance(text, str) and text != text.rstrip():
        return "write your prompt without a space at its end"
    return own_prompt(text)


def own_sure_prompt(text: str) -> str:
    """Say what is wrong with a prompt that leaves the model no choice."""
    if problem := own_prompt(text):
        return problem
    if (reached := best_probability(text)) < SURE:
        return (
            f"the best token after your prompt has only {reached:.2f}; think"
            " of texts that you could finish yourself without any doubt, such"
            " as a fixed phrase, a series, or a word said many times"
        )
    return ""


def space_ratio(text: str, spaces: int = 1) -> float:
    """Return how much the best token loses by spaces at the end."""
    best = int(all_logits(text)[-1].argmax())
    with_space = all_logits(text + " " * spaces)[-1].softmax(-1)[best]
    return float(with_space / all_logits(text)[-1].softmax(-1)[best])


LAST_ROW = (
    "this is what follows the first token; the answer for the whole prompt"
    " stands in the last row"
)
TASKS = (
    Task(
        "01.1",
        ("num_tokens",),
        IDS,
        Number(tolerance=0, low=0),
        lambda: encode(SENTENCE).shape[1],
        (
            Mistake(
                "this is the number of words, and a tokenizer cuts rare words"
                " into several tokens",
                lambda: len(SENTENCE.split()),
            ),
            Mistake(
                "this is the number of characters, and most tokens have"
                " several",
                lambda: len(SENTENCE),
            ),
            Mistake(
                "this is one more than there are: this tokenizer puts no mark"
                " before or after a text",
                lambda: encode(SENTENCE).shape[1] + 1,
            ),
            Mistake(
                "this counts the fields that the tokenizer returns; count the"
                " ids in `input_ids`",
                lambda: len(models.causal()[0](SENTENCE)),
            ),
            Mistake(
                "this is the number of texts in the batch; count the ids of"
                " the one text",
                lambda: len(encode(SENTENCE)),
            ),
            Mistake("", lambda: encode(SENTENCE)),
        ),
    ),
    Task(
        "01.2",
        ("next_word",),
        FORWARD,
        Words(),
        lambda: best_token(all_logits(PROMPT)[-1]),
        (
            Mistake(LAST_ROW, lambda: best_token(all_logits(PROMPT)[0])),
            Mistake("", lambda: best_token(all_logits(PROMPT)[-1]).strip()),
            Mistake(
                "this is the token as the vocabulary spells it; decode its id",
                lambda: models.causal()[0].convert_ids_to_tokens(
                    int(all_logits(PROMPT)[-1].argmax())
                ),
            ),
            Mistake("", lambda: int(all_logits(PROMPT)[-1].argmax())),
            Mistake(
                "this is what follows all but the last token of the prompt",
                lambda: best_token(all_logits(PROMPT)[-2]),
            ),
        ),
    ),
    Task(
        "01.3",
        ("probability",),
        FORWARD,
        Number(),
        lambda: best_probability(PROMPT),
        (
            Mistake(
                "this is a logit: a score, which can have any size. A softmax"
                " over the vocabulary makes probabilities of logits",
                lambda: float(all_logits(PROMPT)[-1].max()),
            ),
            Mistake(LAST_ROW, lambda: best_probability(PROMPT, 0)),
            Mistake(
                "this is a softmax over the positions; it must run over the"
                " vocabulary, the last dimension",
                lambda: float(all_logits(PROMPT).softmax(0)[-1].max()),
            ),
            Mistake(
                "this is in percent; a probability lies between 0 and 1",
                lambda: 100 * best_probability(PROMPT),
            ),
        ),
    ),
    Task(
        "01.4",
        ("best_five",),
        FORWARD,
        Table(),
        lambda: best_table(all_logits(PROMPT)[-1]),
        (
            Mistake(
                "the worst of the five comes first; the most probable should",
                lambda: best_table(all_logits(PROMPT)[-1])[::-1],
            ),
            Mistake(
                "these five probabilities add up to 1: the softmax must run"
                " over the whole vocabulary, before the five are chosen",
                lambda: best_table(all_logits(PROMPT)[-1]).assign(
                    probability=lambda t: (
                        t["probability"] / t["probability"].sum()
                    )
                ),
            ),
            Mistake(LAST_ROW, lambda: best_table(all_logits(PROMPT)[0])),
            Mistake("", lambda: best_table(all_logits(PROMPT)[-1]).head(1)),
        ),
    ),
    Task(
        "01.5",
        ("greedy_text",),
        DECODING,
        Words(),
        continuation,
        (
            Mistake(
                "the same token was appended each time: the model must be"
                " asked again, with the new token at the end",
                lambda: PROMPT + STEPS * best_token(all_logits(PROMPT)[-1]),
            ),
            Mistake(
                "one token is missing at the end",
                lambda: continuation(STEPS - 1),
            ),
            Mistake(
                "this is the continuation alone; decode the prompt with it",
                lambda: continuation().removeprefix(PROMPT),
            ),
            Mistake(
                "there is one token too many at the end",
                lambda: continuation(STEPS + 1),
            ),
        ),
        points=2,
    ),
    Task(
        "01.6",
        ("cooled",),
        SAMPLING,
        Tensor(sums_to_one=True),
        lambda: (LOGITS / TEMPERATURE).softmax(-1),
        (
            Mistake(
                "the logits are divided by the temperature, not multiplied:"
                " below 1 it makes the best token more probable",
                lambda: (LOGITS * TEMPERATURE).softmax(-1),
            ),
            Mistake(
                "the temperature divides the logits before the softmax, not"
                " the probabilities after it",
                lambda: LOGITS.softmax(-1) / TEMPERATURE,
            ),
            Mistake(
                "these are the logits, divided; the softmax is missing",
                lambda: LOGITS / TEMPERATURE,
            ),
            Mistake(
                "these are the probabilities at temperature 1",
                lambda: LOGITS.softmax(-1),
            ),
        ),
    ),
    Task(
        "01.7",
        ("keep_top_p",),
        SAMPLING,
        Function(Tensor(sums_to_one=True), nucleus_probes),
        lambda: keep_top_p,
        (
            Mistake(
                "the token with which the sum reaches top_p is left out; it"
                " belongs to the set",
                lambda: lambda p, top_p: nucleus(p, top_p, -1),
            ),
            Mistake(
                "one token too many is kept: stop with the one that reaches"
                " top_p",
                lambda: lambda p, top_p: nucleus(p, top_p, 1),
            ),
            Mistake(
                "the kept probabilities must add up to 1 again: divide them"
                " by their sum",
                lambda: lambda p, top_p: p * (keep_top_p(p, top_p) > 0),
            ),
            Mistake(
                "the probabilities come back sorted; each must stand at the"
                " place of its token",
                lambda: (
                    lambda p, top_p: (
                        keep_top_p(p, top_p).sort(descending=True).values
                    )
                ),
            ),
            Mistake(
                "nothing is cut off",
                lambda: lambda p, top_p: p,
            ),
        ),
        points=3,
    ),
    Task(
        "01.8",
        ("text_probability",),
        DECODING,
        Number(low=0, high=1),
        lambda: float(of_ending().prod()),
        (
            Mistake(
                "each token was looked up at its own position; what the model"
                " expects in a place is said one position before it",
                lambda: float(of_ending(shift=0).prod()),
            ),
            Mistake(
                "this is a mean; all tokens must come, one after the other,"
                " so their probabilities are multiplied",
                lambda: float(of_ending().mean()),
            ),
            Mistake(
                "this is the first new token alone; the others must come too",
                lambda: float(of_ending()[0]),
            ),
            Mistake(
                "these are the most probable tokens in each place, whatever"
                " they are; look up those of `ending`",
                lambda: float(best_of_ending().prod()),
            ),
            Mistake(
                "this is the probability of the whole text; the prompt is"
                " given, so only the tokens of `ending` count",
                lambda: float(of_ending(first=1).prod()),
            ),
            Mistake("", lambda: float(of_ending().log().sum())),
        ),
        points=2,
    ),
    Task(
        "01.9",
        ("my_prompt", "my_ratio"),
        SPACES,
        Number(low=0),
        space_ratio,
        (
            Mistake(
                "it is the other way round: divide the probability with the"
                " space by the one without",
                lambda text: 1 / space_ratio(text),
            ),
            Mistake(
                "this compares the best token after each; follow one token,"
                " the best one without the space, through both",
                lambda text: (
                    best_probability(text + " ") / best_probability(text)
                ),
            ),
            Mistake(
                "the prompt seems to end in two spaces instead of one",
                lambda text: space_ratio(text, 2),
            ),
        ),
        own=own_prompt_spaces,
        examples=(
            ("My grandmother always told me that",),
            ("We bake bread with",),
        ),
    ),
    Task(
        "01.10",
        ("sure_prompt", "sure_probability"),
        FORWARD,
        Number(low=0, high=1),
        best_probability,
        (
            Mistake("", lambda text: float(all_logits(text)[-1].max())),
            Mistake(LAST_ROW, lambda text: best_probability(text, 0)),
            Mistake(
                "this is what the prompt leaves for all other tokens",
                lambda text: 1 - best_probability(text),
            ),
        ),
        own=own_sure_prompt,
        examples=(("A B C D E F G H I J K L M N O P",),),
    ),
)
