"""Tasks of notebook 04: records, labels, padding, splits."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from nlp_helpers.course import few_reviews, models
from nlp_helpers.course.answers import Function, Number, Table, Tensor, Words
from nlp_helpers.course.task import Mistake, Task
from nlp_helpers.data.labels import LABEL2ID, label_of

SOME_LABELS = ["positive", "neutral", "negative", "negative", "positive"]
# Two texts as RoBERTa has them: 0 opens, 2 closes, 1 is padding.
PADDED = np.array([[0, 713, 16, 2, 1, 1], [0, 100, 657, 24, 4, 2]])
PADDING_ID = 1
LENGTHS = [12, 30, 7, 22, 9, 41, 15, 8, 19, 26, 11, 20]
BATCH_SIZE = 4
MIN_WORDS = 10  # of a student's own review
MAX_CHARACTERS = 5000

READ = "Read and count"
LABEL = "Label"
TOKENISE = "Tokenise"
PADDING = "Padding and the attention mask"
SPLIT = "Split"
SHARDS = "Write token shards"

Lengths = Sequence[int]


def count_dropped(blank: Callable[[str], bool]) -> int:
    """Count the records without a rating, or with a text that is `blank`."""
    return sum(
        record.get("overall") is None or blank(record.get("reviewText", ""))
        for record in few_reviews.records()
    )


def count_absent(*fields: str) -> int:
    """Count the fields that are not in their records, or are empty."""
    return sum(
        not str(record.get(field) or "").strip()
        for record in few_reviews.records()
        for field in fields
    )


def numbers_of(names: Sequence[str]) -> list[int]:
    """Number the labels of some texts by the places in a list of names."""
    return [list(names).index(label) for label in SOME_LABELS]


def fractions(normalize: bool = True) -> pd.DataFrame:
    """Return what fraction of the rows each class has, the largest first."""
    counts = few_reviews.table()["label"].value_counts(normalize=normalize)
    return counts.rename_axis("label").reset_index(name="fraction")


def fraction_of_largest(chosen_on: str, counted_on: str) -> float:
    """Return on one side the fraction of the largest class of another."""
    table = few_reviews.table()
    labels = table.groupby("side")["label"]
    largest = labels.get_group(chosen_on).mode()[0]
    return float((labels.get_group(counted_on) == largest).mean())


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
        "04.1",
        ("num_dropped",),
        READ,
        Number(tolerance=0, low=0),
        lambda: count_dropped(lambda text: not text.strip()),
        (
            Mistake(
                "one kind of empty text is not counted: a text of nothing but"
                " spaces",
                lambda: count_dropped(lambda text: not text),
            ),
            Mistake(
                "a record without text and rating is one record; it must not"
                " be counted twice",
                lambda: count_absent("reviewText", "overall"),
            ),
            Mistake(
                "these are the records that can be used",
                lambda: (
                    len(few_reviews.records())
                    - count_dropped(lambda text: not text.strip())
                ),
            ),
            Mistake(
                "only missing fields are counted; a field can be there and"
                " hold nothing",
                lambda: sum(len(r) < 2 for r in few_reviews.records()),
            ),
        ),
    ),
    Task(
        "04.2",
        ("to_label",),
        LABEL,
        Function(
            Words(), lambda: [(n,) for n in (5, 4, 3, 2, 1, 3.5, 2.5, 4.5)]
        ),
        lambda: label_of,
        (
            Mistake(
                "four stars are positive too",
                lambda: lambda n: "neutral" if n == 4 else label_of(n),
            ),
            Mistake(
                "three stars are not negative: fewer than three are",
                lambda: lambda n: "negative" if n <= 3 else label_of(n),
            ),
            Mistake(
                "the stars are rounded first; 3.5 is still less than four",
                lambda: lambda n: label_of(int(n + 0.5)),
            ),
            Mistake("", lambda: lambda n: LABEL2ID[label_of(n)]),
            Mistake("", lambda: label_of(5)),
        ),
        points=2,
    ),
    Task(
        "04.3",
        ("class_numbers",),
        LABEL,
        Tensor(tolerance=0),
        lambda: numbers_of(list(LABEL2ID)),
        (
            Mistake(
                "the classes are numbered in the order of the alphabet; here"
                " a class has the number of its place in `classes`",
                lambda: numbers_of(sorted(LABEL2ID)),
            ),
            Mistake(
                "the numbers begin with 1; places in a list begin with 0",
                lambda: [n + 1 for n in numbers_of(list(LABEL2ID))],
            ),
            Mistake(
                "the classes are numbered as they first occur in the texts",
                lambda: numbers_of(list(dict.fromkeys(SOME_LABELS))),
            ),
            Mistake("", lambda: SOME_LABELS),
        ),
    ),
    Task(
        "04.4",
        ("balance",),
        LABEL,
        Table(),
        fractions,
        (
            Mistake(
                "these are numbers of rows; divide them by the number of all",
                lambda: fractions(normalize=False),
            ),
            Mistake(
                "this is in percent; a fraction lies between 0 and 1",
                lambda: fractions().assign(
                    fraction=lambda t: 100 * t["fraction"]
                ),
            ),
            Mistake(
                "the largest class should come first",
                lambda: fractions()[::-1],
            ),
            Mistake("", lambda: fractions().set_index("label")["fraction"]),
        ),
    ),
    Task(
        "04.5",
        ("majority_accuracy",),
        LABEL,
        Number(low=0, high=1),
        lambda: fraction_of_largest("train", "validation"),
        (
            Mistake(
                "this is the fraction in training; the accuracy is counted on"
                " the validation rows",
                lambda: fraction_of_largest("train", "train"),
            ),
            Mistake(
                "this answers with the largest class of the validation rows,"
                " which a classifier cannot know",
                lambda: fraction_of_largest("validation", "validation"),
            ),
            Mistake(
                "this is what blind guessing among three equal classes"
                " reaches; here one class is always answered",
                lambda: 1 / 3,
            ),
            Mistake(
                "this is the fraction of wrong answers",
                lambda: 1 - fraction_of_largest("train", "validation"),
            ),
        ),
    ),
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
