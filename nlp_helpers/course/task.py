"""What a task is: its answer, how answers are compared, usual mistakes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Kind(Protocol):
    """How an answer is compared with another."""

    def difference(self, answer: Any, expected: Any) -> str:
        """Return nothing if they are the same, else what kind of mistake.

        The text must not say what is expected.
        """
        ...


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people often give, and what to tell them.

    Attributes:
        hint: what it looks like and what to think about; empty if it is the
            kind of the answer, the type for example, that tells.
        answer: computes the wrong answer, from what the student gave in
            where a task asks for something of the student's own.
    """

    hint: str
    answer: Callable[..., Any]


@dataclass(frozen=True)
class Task:
    """One task of a course notebook.

    Attributes:
        number: of notebook and task, `01.3`.
        names: the variables or functions that the student hands in. The last
            one is compared; those before it are the student's own texts, from
            which the expected answer is computed.
        read: where to read, as a heading of the notebook of this number.
        kind: how the answer is compared.
        expected: computes the answer, from the student's own texts if any.
        mistakes: usual wrong answers, three or more.
        points: how many the task is worth.
        own: for the student's own texts: returns what is wrong with them, or
            nothing.
        examples: for the student's own texts: some that are accepted, each a
            tuple, from which the tests compute answers and mistakes.
    """

    number: str
    names: tuple[str, ...]
    read: str
    kind: Kind
    expected: Callable[..., Any]
    mistakes: tuple[Mistake, ...]
    points: int = 1
    own: Callable[..., str] | None = None
    examples: tuple[tuple[Any, ...], ...] = ()
