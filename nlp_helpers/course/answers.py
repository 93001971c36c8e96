"""The kinds of answers: numbers, texts, tensors, tables, functions.

Each tells what kind of mistake an answer looks like, and never what was
expected.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nlp_helpers.course.task import Kind

TOLERANCE = 1e-3  # relative, of numbers computed in float32
SMALLEST = 1e-8  # below it, a number is zero


def type_name(answer: Any) -> str:
    """Say what an answer is, in words."""
    if isinstance(answer, str):
        return "a text"
    if isinstance(answer, pd.DataFrame):
        return "a table"
    if isinstance(answer, tuple) and hasattr(answer, "indices"):
        return "two things: values and indices"  # of torch's max or topk
    if type(answer).__name__ == "Size":
        return "a shape: the size of each dimension"
    if type(answer).__module__.startswith("transformers."):
        return "all that the tokenizer or the model returns; take one field"
    if isinstance(answer, list) and any(isinstance(x, str) for x in answer):
        return "a list of texts"
    for kind in (list, tuple, set, dict):
        if isinstance(answer, kind):
            return f"a {kind.__name__}"
    if callable(answer):
        return "a function"
    if isinstance(answer, bool):
        return "True or False"
    if (values := _array(answer)) is not None:
        shape = values.shape
        return f"an array of shape {shape}" if shape else "a single number"
    return f"an object of the type {type(answer).__name__}"


def _array(answer: Any) -> np.ndarray | None:
    """Return numbers of torch, NumPy, pandas or lists, or None."""
    try:
        values = np.asarray(_plain(answer))
        if values.dtype == object and any(
            isinstance(each, str | bytes | None) for each in values.flat
        ):
            return None
        # Texts of digits, dates and complex numbers are no such numbers.
        return values.astype(float) if values.dtype.kind in "biufO" else None
    except Exception:  # whatever a student's object raises: no numbers
        return None


def _plain(answer: Any) -> Any:
    """Return tensors, those in lists too, as arrays of NumPy.

    NumPy itself reads none that needs a gradient, is in bfloat16, or lies on
    another device.
    """
    if hasattr(answer, "detach"):  # without importing torch
        values = answer.detach().cpu()
        return (
            values.double() if values.is_floating_point() else values
        ).numpy()
    if isinstance(answer, list | tuple):
        return [_plain(each) for each in answer]
    return answer


@dataclass(frozen=True)
class Number:
    """A single number, of Python, NumPy or torch.

    Attributes:
        tolerance: relative; 0 for a count.
        low: what it cannot be below; of a probability, 0.
        high: what it cannot be above; of a probability, 1.
    """

    tolerance: float = TOLERANCE
    low: float = -np.inf
    high: float = np.inf

    def difference(self, answer: Any, expected: Any) -> str:
        """Compare two numbers; see `Kind`."""
        values = _array(answer)
        if values is None or values.size != 1 or isinstance(answer, bool):
            return (
                f"a single number is asked for, and this is"
                f" {type_name(answer)}"
            )
        value = float(values.reshape(-1)[0])
        if np.isnan(value):
            return "the number is nan: something was divided by zero"
        wanted = float(expected)
        if self._same(value, wanted):
            return ""
        if (self.low, self.high) == (0, 1) and (
            self._same(value / 100, wanted) or _rounded(value / 100, wanted)
        ):
            return "this is in percent; a fraction lies between 0 and 1"
        if not self.low <= value <= self.high:
            return f"{value:.4g} is {self._outside(value)}"
        if _rounded(value, wanted):
            return (
                "it is right but for rounding: hand in the number as"
                " computed, not as shown"
            )
        return "the number is another one"

    def _outside(self, value: float) -> str:
        """Say which limit a number does not keep."""
        if np.isfinite([self.low, self.high]).all():
            return (
                f"not between {self.low:g} and {self.high:g}, where such a"
                " number must lie"
            )
        if value < self.low:
            return f"below {self.low:g}, which such a number cannot be"
        return f"above {self.high:g}, which such a number cannot be"

    def _same(self, value: float, expected: float) -> bool:
        """Tell whether two numbers are the same; small ones can differ."""
        smallest = 0 if expected else SMALLEST
        return bool(np.isclose(value, expected, self.tolerance, smallest))


def _rounded(values: Any, wanted: Any) -> bool:
    """Tell whether numbers are the wanted ones with 2 to 5 decimals.

    Zeros alone do not count: that is what anything small becomes.
    """
    return bool(np.any(values)) and any(
        np.allclose(values, np.round(wanted, decimals), 1e-6, 1e-9)
        for decimals in range(2, 6)
    )


@dataclass(frozen=True)
class Words:
    """A text, or a list of texts; upper and lower case and spaces count.

    Attributes:
        ordered: whether the order of a list counts.
    """

    ordered: bool = True

    def difference(self, answer: Any, expected: Any) -> str:
        """Compare two texts or two lists of them; see `Kind`."""
        if isinstance(answer, np.ndarray):
            answer = answer.tolist()  # without dimensions, it is one text
        if isinstance(expected, str):
            return self._compare(answer, expected)
        if isinstance(answer, str) or not isinstance(
            answer, list | tuple | set | pd.Series
        ):
            return (
                f"a list of texts is asked for, and this is"
                f" {type_name(answer)}"
            )
        given, wanted = list(answer), list(expected)
        for each in given:
            if not isinstance(each, str):
                return (
                    "a list of texts is asked for, and an element of it"
                    f" is {type_name(each)}"
                )
        if self.ordered and isinstance(answer, set):
            return "a set has no order; make a list"
        if not self.ordered:
            given, wanted = sorted(given), sorted(wanted)
        if given == wanted:
            return ""
        if sorted(given) == sorted(wanted):
            return "the order is another one"
        if len(given) != len(wanted):
            return f"the list has not as many texts as it should: {len(given)}"
        if almost := _almost(given, wanted):
            return f"the texts are right but for {almost}"
        same = sum(each in wanted for each in given)
        return f"{same} of the {len(given)} texts are right"

    def _compare(self, answer: Any, expected: str) -> str:
        """Compare one text with another."""
        if not isinstance(answer, str):
            return f"a text is asked for, and this is {type_name(answer)}"
        if answer == expected:
            return ""
        if almost := _almost([answer], [expected]):
            return f"it is right but for {almost}"
        return "the text is another one"


def _almost(given: Sequence[str], wanted: Sequence[str]) -> str:
    """Say in what texts differ if it is in spaces or in capitals alone."""
    if [text.split() for text in given] == [text.split() for text in wanted]:
        return "spaces and line breaks: they belong to the text"
    if [text.lower() for text in given] == [text.lower() for text in wanted]:
        return "capitals"
    return ""


@dataclass(frozen=True)
class Tensor:
    """Numbers in an array of any shape: torch, NumPy, or a list.

    Attributes:
        tolerance: relative; 0 for whole numbers.
        sums_to_one: whether the numbers are the probabilities of one choice.
    """

    tolerance: float = TOLERANCE
    sums_to_one: bool = False

    def difference(self, answer: Any, expected: Any) -> str:
        """Compare two arrays; see `Kind`."""
        values, wanted = _array(answer), _array(expected)
        if values is None or wanted is None:
            return f"numbers are asked for, and this is {type_name(answer)}"
        if values.shape != wanted.shape:
            return (
                f"the shape is {values.shape}, which is not that of the answer"
            )
        if np.isnan(values).any():
            return "some of the numbers are nan"
        if np.allclose(values, wanted, self.tolerance, SMALLEST):
            return ""
        if _rounded(values, wanted):
            return (
                "they are right but for rounding: hand in the numbers as"
                " computed, not as shown"
            )
        if self.sums_to_one and not np.isclose(values.sum(), 1, atol=1e-3):
            return (
                f"the numbers add up to {values.sum():.4g}, and probabilities"
                " of one choice add up to 1"
            )
        same = np.isclose(values, wanted, self.tolerance, SMALLEST).sum()
        return f"{same} of the {values.size} numbers are right"


@dataclass(frozen=True)
class Table:
    """A table of pandas; its index does not count, the order of rows does."""

    tolerance: float = TOLERANCE

    def difference(self, answer: Any, expected: Any) -> str:
        """Compare two tables; see `Kind`."""
        if not isinstance(answer, pd.DataFrame):
            return f"a table is asked for, and this is {type_name(answer)}"
        if missing := [
            str(name)
            for name in expected.columns
            if name not in answer.columns
        ]:
            return f"the table has no column {', '.join(missing)}"
        if len(answer) != len(expected):
            return (
                f"the table has not as many rows as it should: {len(answer)}"
            )
        for name in expected.columns:
            if problem := self._compare(answer[name], expected[name]):
                return f"in the column {name}: {problem}"
        return ""

    def _compare(self, answer: pd.Series, expected: pd.Series) -> str:
        """Compare two columns."""
        given, wanted = list(answer), list(expected)
        kind: Kind = Tensor(self.tolerance)
        if any(isinstance(value, str) for value in wanted):
            kind = Words()
        problem = kind.difference(given, wanted)
        if problem and not kind.difference(
            sorted(given, key=str), sorted(wanted, key=str)
        ):
            return "the order is another one"
        return problem


@dataclass(frozen=True)
class Function:
    """A function, called with some arguments.

    Attributes:
        result: how what it returns is compared.
        probes: returns what it is called with, one tuple a call.
    """

    result: Kind
    probes: Callable[[], list[tuple[Any, ...]]]

    def difference(self, answer: Any, expected: Any) -> str:
        """Compare two functions by what they return; see `Kind`."""
        if not callable(answer):
            return (
                f"a function is asked for, and this is {type_name(answer)};"
                " give its name without brackets"
            )
        for arguments in self.probes():
            wanted = expected(*copy.deepcopy(arguments))
            given = copy.deepcopy(arguments)
            try:
                value = answer(*given)
            except (Exception, SystemExit) as error:  # the student's
                return (
                    f"called with {shown(arguments)}, it raises"
                    f" {type(error).__name__}: {error}"
                )
            if value is None or value is ...:
                return (
                    "the function returns nothing: it needs `return`, or it"
                    " is not written yet"
                )
            if problem := self.result.difference(value, wanted):
                return f"called with {shown(arguments)}: {problem}"
        return ""


def shown(arguments: tuple[Any, ...]) -> str:
    """Write what a function was called with, in short."""
    texts = [" ".join(repr(value).split()) for value in arguments]
    return ", ".join(t if len(t) <= 80 else t[:77] + "..." for t in texts)
