"""One value beside the one that was expected, and a verdict on the two."""

from collections.abc import Mapping
from dataclasses import dataclass

SAME, CLOSE, DIFFERENT = "same", "within tolerance", "different"


@dataclass(frozen=True)
class Difference:
    """One value beside its reference."""

    notebook: str
    name: str  # of a metric, or the number of a cell
    expected: str
    actual: str
    verdict: str


def judge(expected: float, actual: float, allowed: Mapping[str, float]) -> str:
    """Return the verdict on two numbers.

    Args:
        expected: the number of the reference.
        actual: the number of this run.
        allowed: `absolute`, or `relative` to the expected one; the larger
            of the two counts.
    """
    room = max(
        allowed.get("absolute", 0.0),
        allowed.get("relative", 0.0) * abs(expected),
    )
    if expected == actual:
        return SAME
    return CLOSE if abs(expected - actual) <= room else DIFFERENT
