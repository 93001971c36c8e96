"""Check an answer: right, or what kind of mistake, and where to read."""

import importlib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

from nlp_helpers.core.errors import UserError
from nlp_helpers.course.task import Task

# Which module of `tasks` has the tasks of which notebook.
NOTEBOOKS = {
    "01": "next_token",
    "02": "fill_mask",
    "03": "masked_bert",
    "04": "amazon_preprocessing",
    "05": "bert_fine_tuning",
}
UNANSWERED = "there is no answer: put your result in place of the dots"


class WrongAnswer(AssertionError):
    """An answer that is not right; a notebook shows it in a line."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints in place of a traceback."""
        return [str(self)]


@dataclass(frozen=True)
class Verdict:
    """What a check found: nothing (`problem` is empty), or a mistake."""

    task: Task
    problem: str

    def __str__(self) -> str:
        """Return the line that a student reads."""
        if not self.problem:
            return f"{self.task.number}: right"
        return f"{self.task.number}: not yet. {self.message}"

    @property
    def message(self) -> str:
        """What kind of mistake it is, and where to read."""
        problem = self.problem[0].upper() + self.problem[1:]
        end = "" if problem.endswith((".", "?")) else "."
        notebook, _, _ = self.task.number.partition(".")
        heading = self.task.read.replace("*", "")  # as it is shown
        where = f'notebook {notebook}, "{heading}"'
        return f"{problem}{end} Where to read: {where}"


def notebook_tasks(notebook: str) -> dict[str, Task]:
    """Return the tasks of a notebook, by number, in their order.

    Args:
        notebook: `01`.

    Raises:
        UserError: there are none.
    """
    if notebook not in NOTEBOOKS:
        raise UserError(
            f"there are no tasks for notebook {notebook!r}; there are some for"
            f" {', '.join(NOTEBOOKS)}"
        )
    name = f"nlp_helpers.course.tasks.{NOTEBOOKS[notebook]}"
    tasks: tuple[Task, ...] = importlib.import_module(name).TASKS
    return {task.number: task for task in tasks}


def find_task(number: str) -> Task:
    """Return the task of a number, `01.3` or `1.3`.

    Raises:
        UserError: there is none.
    """
    if not isinstance(number, str):  # 1.1 is 1.10 too
        raise UserError(
            f'there is no task {number!r}; write the number as a text, "01.3"'
        )
    notebook, _, place = number.partition(".")
    notebook = notebook.zfill(2)
    name = f"{notebook}.{place}"
    tasks = notebook_tasks(notebook)
    if name not in tasks:
        raise UserError(
            f"there is no task {number!r}; there are {', '.join(tasks)}"
        )
    return tasks[name]


def judge(task: Task, *answers: Any) -> Verdict:
    """Compare answers with what a task expects.

    Args:
        task: the task.
        answers: as many as the task has names: the student's own texts, if
            it asks for any, and what is compared.

    Raises:
        UserError: they are too few or too many.
    """
    if len(answers) != len(task.names):
        names = ", ".join(task.names)
        raise UserError(
            f"task {task.number} asks for {names}; write"
            f' check("{task.number}", {names})'
        )
    if any(answer is ... or answer is None for answer in answers):
        return Verdict(task, UNANSWERED)
    *own, answer = answers
    if task.own and (problem := task.own(*own)):
        return Verdict(task, problem)
    problem = task.kind.difference(answer, task.expected(*own))
    if not problem:
        return Verdict(task, "")
    # A function is called anew for each mistake; it has been heard above.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for mistake in task.mistakes:
            if mistake.hint and not task.kind.difference(
                answer, mistake.answer(*own)
            ):
                return Verdict(task, mistake.hint)
    return Verdict(task, problem)


def check(number: str, *answers: Any) -> None:
    """Print whether an answer is right, or what kind of mistake it looks like.

    Args:
        number: of the task, `01.3`.
        answers: your answer; where the task says so, your own text before it.

    Raises:
        UserError: there is no such task, or it asks for more answers.
    """
    print(judge(find_task(number), *answers))


def require(number: str, *answers: Any) -> None:
    """Raise an error unless an answer is right: for graders.

    Raises:
        WrongAnswer: says what `check` prints.
        UserError: there is no such task, or it asks for more answers.
    """
    verdict = judge(find_task(number), *answers)
    if verdict.problem:
        raise WrongAnswer(str(verdict))
