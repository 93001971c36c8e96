"""A quiz for each notebook: questions as data, shown without a script.

The questions lie in `quizzes/NN_name.yaml`, a list. Each has an `id`, the
`section` of its notebook that answers it, the `question`, and its `choices`,
each a `text` and a `why`, which says why it is right or wrong; `right: true`
marks the right one. `facts` name the numbers of a question and say, for the
tests, how each follows from the executed notebook.

In a notebook each choice is a `<details>` of HTML: it opens with a click,
with Enter or with Space, screen readers read it, and it needs neither a
script nor the network, so it works in JupyterLab, on Colab, on GitHub and on
a static page alike.
"""

import re
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

from nlp_helpers.core.errors import UserError
from nlp_helpers.core.yaml_files import read_yaml

QUIZZES = Path(__file__).parent / "quizzes"
# Of the page's own colours, so that it is as readable in dark mode. What is
# right or wrong is said in words, never by a colour alone. A space in `code`
# is a token's, and must be seen.
STYLE = """<style>
.nlp-quiz { max-width: 44em; line-height: 1.5; }
.nlp-quiz .question { margin: 1.5em 0 0.5em; font-weight: 600; }
.nlp-quiz details { border: 1px solid; border-radius: 4px; margin: 0.4em 0; }
.nlp-quiz summary { cursor: pointer; padding: 0.5em 0.8em; }
.nlp-quiz summary:focus-visible { outline: 3px solid; outline-offset: 2px; }
.nlp-quiz details[open] summary { border-bottom: 1px dotted; }
.nlp-quiz details p { margin: 0; padding: 0.5em 0.8em; }
.nlp-quiz code { white-space: pre-wrap; border: 1px dotted; padding: 0 0.2em; }
</style>"""


@dataclass(frozen=True)
class Choice:
    """One answer that can be chosen.

    Attributes:
        text: the answer, with `code` and *emphasis* as in Markdown.
        why: why it is right, or why it is wrong.
        right: whether it is the right one.
    """

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question with one right choice.

    Attributes:
        id: its name, once in all quizzes.
        section: the heading in the notebook under which the answer stands.
        question: the question, with `code` and *emphasis* as in Markdown.
        choices: in the order in which they are shown.
    """

    id: str
    section: str
    question: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Quiz:
    """The questions on one notebook, as HTML and as plain text."""

    notebook: str
    questions: tuple[Question, ...]
    answers: bool = False

    def _repr_html_(self) -> str:
        """Return what notebooks show."""
        parts = [STYLE, '<div class="nlp-quiz">']
        for number, question in enumerate(self.questions, start=1):
            parts += [
                '<p class="question">',
                f"{number}. {_to_html(question.question)}</p>",
                *(_choice_to_html(c, self.answers) for c in question.choices),
            ]
        return "\n".join([*parts, "</div>"])

    def __repr__(self) -> str:
        """Return what a terminal shows."""
        lines = []
        for number, question in enumerate(self.questions, start=1):
            lines += ["", f"{number}. {question.question}"]
            for letter, choice in zip(
                "abcdefgh", question.choices, strict=False
            ):
                lines.append(f"   {letter}) {choice.text}")
                if self.answers:
                    lines.append(f"      {_verdict(choice)} {choice.why}")
        return "\n".join(lines[1:])


def list_quizzes() -> list[str]:
    """Return the names of the notebooks that have a quiz, in order."""
    return sorted(path.stem for path in QUIZZES.glob("*.yaml"))


def read_quiz(notebook: str) -> Quiz:
    """Read the questions on a notebook.

    Args:
        notebook: its number, as in `01`, or its whole name.

    Raises:
        UserError: the notebook has no quiz.
    """
    known = list_quizzes()
    names = [name for name in known if notebook in (name, name[:2])]
    if not names:
        raise UserError(
            f"there is no quiz on {notebook!r}; choose one of"
            f" {', '.join(name[:2] for name in known)}"
        )
    return Quiz(names[0], _read_questions(QUIZZES / f"{names[0]}.yaml"))


def show_quiz(notebook: str, answers: bool = False) -> None:
    """Show the quiz on a notebook; in a terminal, print it.

    Args:
        notebook: its number, as in `01`, or its whole name.
        answers: open all choices; in a terminal, print what is right and why.

    Raises:
        UserError: the notebook has no quiz.
    """
    quiz = read_quiz(notebook)
    quiz = Quiz(quiz.notebook, quiz.questions, answers)
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(repr(quiz))
    else:
        from IPython.display import display

        display(quiz)


def _read_questions(path: Path) -> tuple[Question, ...]:
    """Read a file of questions; other fields than these are for the tests."""
    return tuple(
        Question(
            entry["id"],
            entry["section"],
            entry["question"],
            tuple(
                Choice(choice["text"], choice["why"], "right" in choice)
                for choice in entry["choices"]
            ),
        )
        for entry in read_yaml(path)
    )


def _choice_to_html(choice: Choice, is_open: bool) -> str:
    """Return a choice that shows, when it is opened, whether it is right."""
    return (
        f"<details{' open' if is_open else ''}>"
        f"<summary>{_to_html(choice.text)}</summary>"
        f"<p><strong>{_verdict(choice)}</strong> {_to_html(choice.why)}</p>"
        "</details>"
    )


def _verdict(choice: Choice) -> str:
    """Return the word that an explanation begins with."""
    return "Right." if choice.right else "Wrong."


def _to_html(text: str) -> str:
    """Return a line of text as HTML, with `code` and *emphasis*."""
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*(\S[^*]*)\*", r"<em>\1</em>", html)
