"""Keep keys and passwords out of parameters and out of saved notebooks."""

import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.parameters import SECRET_NAME

MIN_LENGTH = 8  # characters; a shorter value would be found everywhere
# A word or a number, such as `password` and 20240131, stands in many texts;
# the passwords for apps that Google gives out have 16 small letters.
MIN_PLAIN_LENGTH = 16
PLAIN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
# The forms of widely used keys, each with the name of who gives them out.
FORMS = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "a GitHub token": r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})",
    "a GitLab token": r"\bglpat-[\w-]{20,}",
    "a PyPI token": r"\bpypi-[\w-]{50,}",
    "a Google API key": r"\bAIza[\w-]{35}",
    "a password in an address": r"(?<=://)[^\s/:@?#\"'<>,]*:"
    r"[^\s/@?#\"'<>,]{4,}(?=@)",
    "an AWS access key": r"\bAKIA[0-9A-Z]{16}\b",
    # Classes of scikit-learn's HTML begin with sk- too, all in small letters.
    "an API key": r"(?<![\w-])sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}",
    "a Slack token": r"\bxox[abpr]-[A-Za-z0-9-]{10,}",
}
KEY_BEGINS = re.compile("-----BEGIN [A-Z ]*PRIVATE KEY-----")
KEY_ENDS = re.compile("-----END [A-Z ]*PRIVATE KEY-----")
# Of a key that is cut off, or within a string.
KEY_LINES = re.compile(r"(\s|\\n|[A-Za-z0-9+/=]{16,})*")


def find(text: str) -> Iterable[tuple[str, str]]:
    """Yield what is secret in a text, and what it is.

    That is every value of an environment variable whose name says so, unless
    it is a path, a word or a number, and everything of the form of a known
    key.
    """
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and _is_secret(value):
            # As it is, and as HTML, JSON and Python write it.
            forms = {
                value,
                html.escape(value),
                html.escape(value, quote=False),
                json.dumps(value)[1:-1],
                repr(value)[1:-1],
            }
            for form in forms:
                if form in text:
                    yield form, f"the value of ${name}"
    for kind, form in FORMS.items():
        for match in re.finditer(form, text):
            yield match.group(), kind
    for key in _private_keys(text):
        yield key, "a private key"


def _is_secret(value: str) -> bool:
    """Tell whether the value of a variable can be a secret by itself.

    Many variables hold the path of a file with the secret.
    """
    least = MIN_PLAIN_LENGTH if PLAIN.fullmatch(value) else MIN_LENGTH
    return len(value) >= least and not paths.looks_like_path(value)


def _private_keys(text: str) -> Iterator[str]:
    """Yield each from its first line to its last, or as far as it goes on."""
    position, ends = 0, True
    while begin := KEY_BEGINS.search(text, position):
        end = KEY_ENDS.search(text, begin.end()) if ends else None
        ends = end is not None  # else no later one has an end
        last = end or KEY_LINES.match(text, begin.end())
        assert last is not None  # KEY_LINES may be empty
        position = last.end()
        yield text[begin.start() : position]


def remove(text: str) -> tuple[str, list[str]]:
    """Replace secrets by `[removed]`; return the text and what they were.

    The longest goes first: one may be the beginning of another.
    """
    kinds: list[str] = []
    for value, kind in sorted(set(find(text)), key=_longest_first):
        if value in text:
            text = text.replace(value, "[removed]")
            kinds.append(kind)
    return text, kinds


def _longest_first(secret: tuple[str, str]) -> tuple[int, str, str]:
    """Return what such pairs are sorted by."""
    return -len(secret[0]), *secret


def refuse(values: Mapping[str, Any], where: str) -> None:
    """Raise a UserError if a parameter holds a secret."""
    for name, value in values.items():
        for text in _texts(value):
            for _, kind in find(text):
                raise UserError(
                    f"{where}: {name} holds {kind}; parameters are saved in"
                    " the executed notebook and in run.json. Take it out"
                )


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a parameter."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        for item in inside:
            yield from _texts(item)


def remove_from(node: Any) -> list[str]:
    """Replace secrets in every text of a notebook; return what they were."""
    removed: list[str] = []
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        if isinstance(key, str):
            named, kinds = remove(key)
            if kinds:
                node[named] = node.pop(key)
                removed, key = removed + kinds, named
        if isinstance(value, str):
            node[key], kinds = remove(value)
            removed += kinds
        elif isinstance(value, dict | list):
            removed += remove_from(value)
    return removed
