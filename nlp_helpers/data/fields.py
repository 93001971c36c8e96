"""Find the fields of a review among those that a file has.

Every field has one name in Amazon's 2014 and 2018 releases and one in
2023's; other exports have names of their own.
"""

import difflib
import re
from collections.abc import Callable, Collection
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
    "group_name": (),
}
BRACES = re.compile(r"\{([^{}]+)\}")  # a field's name in a template
IDENTIFIERS = ("product", "reviewer", "review", "group_name")
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
    "group_name": [],  # only if the user names it
}


class Template(str):
    """A text of several fields: `{title}. {text}`; it stands as their name."""

    @property
    def pieces(self) -> list[str]:
        """Words and names in turn; the first and the last are words."""
        return BRACES.split(self)

    def fill(self, values: Callable[[str], str]) -> str | None:
        """Put the fields' values in, or return None if all are empty.

        Args:
            values: a field's name -> its value, or "".
        """
        pieces = self.pieces
        pieces[1::2] = map(values, pieces[1::2])
        return "".join(pieces) if any(pieces[1::2]) else None


def parts_of(name: str) -> list[str]:
    """Return the names of the fields that a name stands for."""
    return name.pieces[1::2] if isinstance(name, Template) else [name]


def names_read(names: Names) -> set[str]:
    """Return the names of all fields that are read."""
    return {
        part
        for alternatives in names.values()
        for name in alternatives
        for part in parts_of(name)
    }


@dataclass(frozen=True)
class Wanted:
    """What the user says of a file's fields; what is empty is found."""

    text_field: str = ""  # or a template, see `Template`
    label_field: str = ""  # holds the rating or the label
    rating_scale: tuple[float, ...] = ()  # worst and best rating
    label_rule: str = "stars"  # or values: each value is a class
    group_field: str = ""  # what the split keeps together, or a time

    @property
    def scale(self) -> tuple[float, float]:
        """Worst and best rating; stars from 1 to 5 unless said."""
        lowest, highest = self.rating_scale or (1.0, 5.0)
        return lowest, highest


# By which the user names a field.
PARAMETERS = {
    "text": "text_field",
    "overall": "label_field",
    "group_name": "group_field",
}
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
            ("product", ""),
            ("reviewer", ""),
            ("review", ""),
            ("group_name", wanted.group_field),
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


def is_asked(columns: Collection[str], text_field: str) -> bool:
    """Say whether one of the names is what the user names for the text."""
    asked = (text_field, *BRACES.findall(text_field))
    return bool(text_field) and any(name in columns for name in asked)


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
        parameter = parameter or PARAMETERS[field]
        template = Template(chosen)
        if field != "text" or not parts_of(template):
            raise _no_field(path, columns, chosen, parameter)
        for name in parts_of(template):
            if name not in columns:
                raise _no_field(path, columns, name, parameter)
        if any(re.search("[{}]", words) for words in template.pieces[::2]):
            raise UserError(
                f"{parameter} {chosen!r} has a brace that belongs to no"
                " field; write each field as {name}"
            )
        return (template,)
    if any(name in columns for name in NAMES[field]):
        return NAMES[field]
    plain = {_plain(name): name for name in reversed(list(columns))}
    usual = (plain[name] for name in USUAL[field] if name in plain)
    return tuple(next(([name] for name in usual), []))


def _no_field(
    path: Path, columns: Collection[str], name: str, parameter: str
) -> UserError:
    """Return the error about a field that is not there."""
    close = difflib.get_close_matches(name, list(columns), 1, 0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return UserError(
        f"{path} has no field {name!r}, which {parameter} names; it has"
        f" {', '.join(columns)}{hint}"
    )


def _plain(name: str) -> str:
    """Drop case, spaces and signs."""
    return re.sub(r"[\W_]", "", name).lower()
