"""Find the fields of a review among those that a file has.

Every field has one name in Amazon's 2014 and 2018 releases and one in
2023's; other exports have names of their own.
"""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from nlp_helpers.core.errors import UserError

Names = dict[str, tuple[str, ...]]  # field -> the names it is read from

# In the 2023 release `asin` is one colour or size of a product, and
# `parent_asin` is what the older releases call `asin`.
NAMES: Names = {
    "text": ("reviewText", "text"),
    "overall": ("overall", "rating"),
    "product": ("parent_asin", "asin"),
    "reviewer": ("reviewerID", "user_id"),
    "review": ("reviewID", "review_id"),
}
IDENTIFIERS = ("product", "reviewer", "review")
# What others call them, in lower case and without spaces and signs: Amazon's
# 2015 release (review_body, star_rating), Kaggle's exports (Text, Score;
# verified_reviews, rating; reviews.text, reviews.rating; Review Text), Yelp
# (text, stars), app stores (content, score). SNAP's 2013
# files (review/text, review/score). The first that is there counts.
USUAL = {
    "text": (
        "reviewtext text reviewbody reviewstext verifiedreviews reviewcontent"
        " content body review comment sentence message tweet"
    ).split(),
    "overall": (
        "overall rating starrating reviewrating reviewsrating stars score"
        " reviewscore"
    ).split(),
    "product": (
        "parentasin asin asins productid productproductid itemid appid"
    ).split(),
    "reviewer": "reviewerid userid reviewuserid customerid authorid".split(),
    "review": ["reviewid"],
}


@dataclass(frozen=True)
class Wanted:
    """What the user says of a file's fields; what is empty is found."""

    text_field: str = ""
    label_field: str = ""  # holds the rating or the label
    rating_scale: tuple[float, ...] = ()  # worst and best rating
    label_rule: str = "stars"  # or values: each value is a class

    @property
    def scale(self) -> tuple[float, float]:
        """Worst and best rating; stars from 1 to 5 unless said."""
        lowest, highest = self.rating_scale or (1.0, 5.0)
        return lowest, highest


# Usual names of a label that is no rating, looked for before those of a
# rating.
USUAL_LABELS = "label sentiment class category target intent topic".split()


def find_names(path: Path, columns: Collection[str], wanted: Wanted) -> Names:
    """Choose the names under which a file has each field.

    Args:
        path: the file, for the error.
        columns: the names that its first records have; empty where nothing
            could be read, and then Amazon's names are taken.
        wanted: see `Wanted`.

    Raises:
        UserError: there is no text, no rating, or not the field asked for.
    """
    if not columns:
        return NAMES
    if wanted.label_rule == "values" and not wanted.label_field:
        plain = {_plain(name): name for name in reversed(list(columns))}
        found = [plain[name] for name in USUAL_LABELS if name in plain]
        wanted = replace(wanted, label_field=found[0] if found else "")
    names = {
        field: _find(field, columns, path, chosen)
        for field, chosen in [
            ("text", wanted.text_field),
            ("overall", wanted.label_field),
            *((identifier, "") for identifier in IDENTIFIERS),
        ]
    }
    label = "rating" if wanted.label_rule == "stars" else "label"
    missing = {
        "text": ("text", "text_field"),
        "overall": (label, "label_field"),
    }
    for field, (what, parameter) in missing.items():
        if not names[field]:
            remedy = f"{parameter} names that of the {what}"
            raise UserError(
                f"{path}: no field is known to hold the {what}; the fields"
                f" are {', '.join(columns)} (of a table, what its first line"
                f" says). {remedy}; a file that holds no"
                " reviews is left out by naming the others in categories"
            )
    return {field: found or NAMES[field] for field, found in names.items()}


def find_text(
    path: Path, columns: Collection[str], text_field: str
) -> tuple[str, ...]:
    """Choose the names of the text, where nothing else is wanted.

    Raises:
        UserError: there is none.
    """
    found = _find("text", columns, path, text_field, "--text-field")
    if not found:
        raise UserError(
            f"{path}: no field is known to hold the text; the fields are"
            f" {', '.join(columns)}. Name one with --text-field"
        )
    return found


def knows_text(columns: Collection[str]) -> bool:
    """Say whether one of the names is usual for a text."""
    return any(_plain(name) in USUAL["text"] for name in columns)


def _find(
    field: str,
    columns: Collection[str],
    path: Path,
    chosen: str,
    parameter: str = "",
) -> tuple[str, ...]:
    """Return the chosen name, or Amazon's names, or the first usual one."""
    if chosen and chosen in columns:
        return (chosen,)
    if chosen:
        parameter = parameter or (
            "text_field" if field == "text" else "label_field"
        )
        close = difflib.get_close_matches(chosen, list(columns), 1, 0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"{path} has no field {chosen!r}, which {parameter} names; it has"
            f" {', '.join(columns)}{hint}"
        )
    if any(name in columns for name in NAMES[field]):
        return NAMES[field]
    plain = {_plain(name): name for name in reversed(list(columns))}
    usual = (plain[name] for name in USUAL[field] if name in plain)
    return tuple(next(([name] for name in usual), []))


def _plain(name: str) -> str:
    """Drop case, spaces and signs."""
    return re.sub(r"[\W_]", "", name).lower()
