"""Tasks of notebook 04, first part: records, labels, balance."""

from collections.abc import Callable, Sequence

import pandas as pd

from nlp_helpers.course import few_reviews
from nlp_helpers.course.answers import Function, Number, Table, Tensor, Words
from nlp_helpers.course.task import Mistake, Task
from nlp_helpers.data.labels import LABEL2ID, label_of

SOME_LABELS = ["positive", "neutral", "negative", "negative", "positive"]

READ = "Read and count"
LABEL = "Label"


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
)
