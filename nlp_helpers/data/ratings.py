"""Read ratings, and turn those of any scale into stars from 1 to 5."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

STARS = (1.0, 5.0)
MAX_SHOWN = 7  # ratings that a message lists one by one
# "5.0 out of 5 stars" and what Amazon's other sites write: a rating, and the
# best there is.
OUT_OF = re.compile(
    r"(?:rated\s*)?(\d+(?:[.,]\d+)?)\s*(?:/|out of|von|sur|su|de|van|av|z)"
    r"\s*(\d+)\b[^\d]*",
    re.IGNORECASE,
)
STARS_OUT_OF = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(?:étoiles?|estrellas?|stelle|sterren)\s*"
    r"(?:sur|de|su|van)\s*(\d+)",
    re.IGNORECASE,
)
JAPANESE = re.compile(r"5つ星のうち\s*(\d(?:\.\d+)?)")
WITH_UNIT = re.compile(r"(\d+(?:[.,]\d+)?)[\s-]*(?:stars?|★)?", re.IGNORECASE)
DRAWN = re.compile(r"(★{1,5}|⭐{1,5})[☆✩\ufe0f\s]*")


def read_rating(value: Any, highest: float = STARS[1]) -> float | None:
    """Turn a number, or a text that states one, into a float.

    Args:
        value: for example 4, "4.0", "4.0 out of 5 stars", "4/5" or "★★★★☆".
        highest: the best rating of the scale; "4/10" is none of five.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return _read_text(value.strip(), highest)
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _read_text(text: str, highest: float) -> float | None:
    """Read a rating that is written as a text."""
    if re.fullmatch(r"-?\d+(\.\d*)?|\.\d+", text):
        return float(text)
    if match := OUT_OF.fullmatch(text) or STARS_OUT_OF.fullmatch(text):
        number, best = match.groups()
        return _number(number) if float(best) == highest else None
    if match := WITH_UNIT.fullmatch(text) or JAPANESE.fullmatch(text):
        return _number(match[1])
    if match := DRAWN.fullmatch(text):
        return float(len(match[1]))
    return None


def _number(text: str) -> float:
    """Read a number that may have a decimal comma."""
    return float(text.replace(",", "."))


def to_stars(rating: float, scale: tuple[float, float]) -> float:
    """Map a rating linearly, the worst to 1 and the best to 5."""
    if scale == STARS:
        return rating
    lowest, highest = scale
    return (rating - lowest) * 4 / (highest - lowest) + 1


def describe_scale(ratings: Counter[float], scale: tuple[float, float]) -> str:
    """Say that ratings are not on the scale, and what helps.

    Args:
        ratings: how often each value occurs, those off the scale included.
        scale: worst and best.
    """
    values = sorted(ratings)
    if len(values) == 2:
        remedy = (
            "two values tell no neutral review, and the notebooks train three"
            " classes: take reviews with a rating between"
        )
    else:
        lowest, highest = math.floor(values[0]), math.ceil(values[-1])
        remedy = (
            "name the worst and the best that can be given, for example"
            f" rating_scale: [{lowest}, {highest}]"
        )
        if values[0] == 0 and values[-1] == scale[1]:
            remedy += (
                "; if 0 means that none was given, raise max_bad_fraction to"
                " leave those out"
            )
    expected = "from {:g} to {:g}".format(*scale)
    return f"its ratings are {_show(values)}, not {expected}; {remedy}"


def _show(values: Sequence[float]) -> str:
    """List values, or their ends where there are many."""
    shown = [f"{value:g}" for value in values]
    if len(shown) > MAX_SHOWN:
        return f"{len(shown)} values from {shown[0]} to {shown[-1]}"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
