"""Exercises that check themselves: what their notebooks import."""

from nlp_helpers.course.checking import check, require

__all__ = ["check", "require"]
