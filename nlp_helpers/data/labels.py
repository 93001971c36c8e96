"""The classes of texts: three made of stars, or the labels of your own data.

Tables hold the names of classes; shards and models hold their numbers, which
are the places of the names in a list.
"""

from collections.abc import Collection

from nlp_helpers.core.errors import UserError

ID2LABEL = {0: "neutral", 1: "positive", 2: "negative"}
LABEL2ID = {label: index for index, label in ID2LABEL.items()}
STARS = tuple(ID2LABEL.values())
MAX_CLASSES = 500


def label_of(overall: float) -> str:
    """Turn stars into a class: 4 and more, less than 3, or between."""
    if overall >= 4:
        return "positive"
    return "negative" if overall < 3 else "neutral"


def order_labels(names: Collection[str]) -> list[str]:
    """Put the labels of a data set in order: numbers by value, then texts.

    Raises:
        UserError: there is one alone, or there are too many to be classes,
            or one has a name that predictions use.
    """
    if not 2 <= len(names) <= MAX_CLASSES:
        some = ", ".join(repr(name) for name in sorted(names)[:5])
        raise UserError(
            f"the field of the labels has {len(names):,} different values"
            f" ({some}{', ...' if len(names) > 5 else ''}); classes are 2 to"
            f" {MAX_CLASSES}: name another field as label_field"
        )
    taken = {"text", "label"}.intersection(names)
    if taken:
        raise UserError(
            f"a class is called {' or '.join(sorted(taken))}, under which"
            " predictions have the text and the answer; rename it"
        )
    return sorted(names, key=_sort_key)


def _sort_key(name: str) -> tuple[bool, float, str]:
    """Order by value what is a number, and by letters what is none."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name.casefold()


def stars_from_valence(valence: float) -> float:
    """Turn a mean human rating in [-4, 4] into 1 to 5 stars.

    Zero is the middle, three stars; each point is a star up or down.
    """
    return float(min(5, max(1, round(3 + valence))))
