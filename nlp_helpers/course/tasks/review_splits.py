"""Tasks of notebook 04, second part: padding, leaks, tokens."""

from collections.abc import Callable, Sequence

import numpy as np

from nlp_helpers.course import few_reviews, models
from nlp_helpers.course.answers import Function, Number, Tensor, Words
from nlp_helpers.course.task import Mistake, Task

# Two texts as RoBERTa has them: 0 opens, 2 closes, 1 is padding.
PADDED = np.array([[0, 713, 16, 2, 1, 1], [0, 100, 657, 24, 4, 2]])
PADDING_ID = 1
LENGTHS = [12, 30, 7, 22, 9, 41, 15, 8, 19, 26, 11, 20]
BATCH_SIZE = 4
MIN_WORDS = 10  # of a student's own review
MAX_CHARACTERS = 5000

TOKENISE = "Tokenise"
PADDING = "Padding and the attention mask"
SPLIT = "Split"
SHARDS = "Write token shards"

Lengths = Sequence[int]


def truncate(ids: list[int], max_length: int) -> list[int]:
    """Cut a text's ids, and keep the last one, which closes the text."""
    if len(ids) <= max_length:
        return ids
    return [*ids[: max_length - 1], ids[-1]]


def truncate_probes() -> list[tuple[list[int], int]]:
    """Return texts that are shorter, as long, and longer than the limit."""
    ids = [101, 2023, 2003, 1037, 2204, 3185, 102]
    return [(ids, 10), (ids, 7), (ids, 6), (ids, 3)]


def reviews_on_both_sides() -> set[str]:
    """Return the reviews with sentences in training and in validation."""
    sides = few_reviews.table().groupby("review")["side"].nunique()
    return set(sides[sides > 1].index)


def rows_of_reviews_on_both_sides() -> int:
    """Count their sentences."""
    reviews = few_reviews.table()["review"]
    return int(reviews.isin(reviews_on_both_sides()).sum())


def same(text: str) -> str:
    """Return a text without what notebook 4 does not count as a change."""
    return " ".join(text.lower().split())


def copies(plain: Callable[[str], str] = same, of: str = "train") -> list[str]:
    """Return the validation texts that are also on the side `of`."""
    table = few_reviews.table().assign(
        plain=lambda t: t["text"].map(plain)
    )  # the validation texts, as they are spelled there
    others = set(table.loc[table["side"] == of, "plain"])
    held_out = table[table["side"] == "validation"]
    return held_out.loc[held_out["plain"].isin(others), "text"].tolist()


def training_spelling() -> list[str]:
    """Return the copies as they are spelled in training."""
    table = few_reviews.table().query("side == 'train'")
    spelled = {same(text): text for text in table["text"]}
    return [spelled[same(text)] for text in copies()]


def batches(lengths: Lengths = LENGTHS) -> list[Lengths]:
    """Return the lengths of each batch, in the order of the rows."""
    starts = range(0, len(lengths), BATCH_SIZE)
    return [lengths[start : start + BATCH_SIZE] for start in starts]


def padding_fraction(padded: float) -> float:
    """Return the fraction of `padded` positions that are padding."""
    return 1 - sum(LENGTHS) / padded


def padded_positions() -> int:
    """Return the positions of all batches, each as wide as its longest."""
    return sum(len(batch) * max(batch) for batch in batches())


def mean_of_batches() -> float:
    """Return the mean of the fractions of each batch."""
    return float(np.mean([1 - sum(b) / (len(b) * max(b)) for b in batches()]))


def own_review(text: str) -> str:
    """Say what is wrong with a student's own review."""
    if not isinstance(text, str) or len(text.split()) < MIN_WORDS:
        return f"your own review is a text of {MIN_WORDS} words or more"
    if len(text) > MAX_CHARACTERS:
        return f"at most {MAX_CHARACTERS} characters are enough here"
    if text in set(few_reviews.table()["text"]):
        return "write a review of your own"
    return ""


def num_tokens(text: str, marks: bool = True) -> int:
    """Count the tokens of a text, with `[CLS]` and `[SEP]` or without."""
    tokenizer = models.encoder_tokenizer()
    return len(tokenizer(text, add_special_tokens=marks)["input_ids"])


TASKS = (
    Task(
        "04.6",
        ("mask",),
        PADDING,
        Tensor(tolerance=0),
        lambda: (PADDED != PADDING_ID).astype(int),
        (
            Mistake(
                "this takes the id 0 for padding, as BERT has it; here 0"
                " opens a text, and padding has another id",
                lambda: (PADDED > 0).astype(int),
            ),
            Mistake(
                "it is the other way round: 1 says that a position is text",
                lambda: (PADDED == PADDING_ID).astype(int),
            ),
            Mistake(
                "the marks that open and close a text are tokens too, and the"
                " model reads them",
                lambda: (PADDED > 2).astype(int),
            ),
            Mistake(
                "everything is marked as text, the padding too",
                lambda: np.ones_like(PADDED),
            ),
        ),
    ),
    Task(
        "04.7",
        ("truncate",),
        PADDING,
        Function(Tensor(tolerance=0), truncate_probes),
        lambda: truncate,
        (
            Mistake(
                "the last id, which closes the text, is cut off",
                lambda: lambda ids, n: ids[:n],
            ),
            Mistake(
                "the result is one id longer than the limit",
                lambda: (
                    lambda ids, n: (
                        ids if len(ids) <= n else [*ids[:n], ids[-1]]
                    )
                ),
            ),
            Mistake(
                "a text that is short enough must stay as it is",
                lambda: lambda ids, n: [*ids[: n - 1], ids[-1]],
            ),
            Mistake(
                "the beginning of the text is cut off, not its end",
                lambda: (
                    lambda ids, n: (
                        ids
                        if len(ids) <= n
                        else [ids[0], *ids[len(ids) - n + 1 :]]
                    )
                ),
            ),
        ),
        points=2,
    ),
    Task(
        "04.8",
        ("num_leaking",),
        SPLIT,
        Number(tolerance=0, low=0),
        lambda: len(reviews_on_both_sides()),
        (
            Mistake(
                "these are sentences; count each review once",
                rows_of_reviews_on_both_sides,
            ),
            Mistake(
                "these are all reviews with a sentence in validation; only"
                " those count that have one in training too",
                lambda: (
                    few_reviews.table()
                    .query("side == 'validation'")["review"]
                    .nunique()
                ),
            ),
            Mistake(
                "these are all reviews",
                lambda: few_reviews.table()["review"].nunique(),
            ),
            Mistake(
                "these are texts that occur on both sides; look for reviews",
                lambda: len(copies()),
            ),
        ),
    ),
    Task(
        "04.9",
        ("seen_texts",),
        SPLIT,
        Words(ordered=False),
        copies,
        (
            Mistake(
                "copies that differ in capitals or in spaces are missing",
                lambda: copies(plain=str),
            ),
            Mistake(
                "copies that differ in spaces are missing",
                lambda: copies(plain=str.lower),
            ),
            Mistake(
                "copies that differ in capitals are missing",
                lambda: copies(plain=lambda text: " ".join(text.split())),
            ),
            Mistake(
                "the texts are right, but spelled as in training; hand them"
                " in as they stand in validation",
                training_spelling,
            ),
            Mistake(
                "these are all validation texts",
                lambda: copies(of="validation"),
            ),
        ),
        points=2,
    ),
    Task(
        "04.10",
        ("fraction_padding",),
        SHARDS,
        Number(low=0, high=1),
        lambda: padding_fraction(padded_positions()),
        (
            Mistake(
                "every row is padded to the longest of all; each batch has a"
                " longest row of its own",
                lambda: padding_fraction(len(LENGTHS) * max(LENGTHS)),
            ),
            Mistake(
                "every row is padded to 512 tokens; here only to the longest"
                " row of its batch",
                lambda: padding_fraction(len(LENGTHS) * 512),
            ),
            Mistake(
                "this is the fraction of text",
                lambda: 1 - padding_fraction(padded_positions()),
            ),
            Mistake(
                "this is the mean of the fractions of the batches, but wide"
                " batches count more: divide all padding by all positions",
                mean_of_batches,
            ),
        ),
        points=2,
    ),
    Task(
        "04.11",
        ("my_review", "my_num_tokens"),
        TOKENISE,
        Number(tolerance=0, low=0),
        num_tokens,
        (
            Mistake(
                "the two marks are missing that the tokenizer puts around a"
                " text",
                lambda text: num_tokens(text, marks=False),
            ),
            Mistake(
                "this counts the fields that the tokenizer returns; count the"
                " ids in `input_ids`",
                lambda text: len(models.encoder_tokenizer()(text)),
            ),
            Mistake(
                "this is the number of words; punctuation marks are tokens"
                " too, and rare words have several",
                lambda text: len(text.split()),
            ),
            Mistake(
                "this is the number of characters",
                lambda text: len(text),
            ),
        ),
        own=own_review,
        examples=(
            ("The kettle boils fast, but its handle gets unbearably hot!",),
            (
                "I wouldn't recommend these headphones: uncomfortable, tinny,"
                " overpriced, and the Bluetooth disconnects constantly.",
            ),
        ),
    ),
)
