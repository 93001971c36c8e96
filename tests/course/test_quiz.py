"""The quizzes: their form, their numbers, and how they are shown."""

import html
import json
import math
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from nlp_helpers.core.errors import UserError
from nlp_helpers.course import quiz

REFERENCE = Path(__file__).resolve().parents[2] / "outputs" / "reference"
NAMES = quiz.list_quizzes()
FIELDS = {"id", "section", "question", "facts", "choices"}
CHOICE_FIELDS = {"text", "why", "right", "facts"}


def raw(name):
    return YAML(typ="safe", pure=True).load(quiz.QUIZZES / f"{name}.yaml")


def reference(name):
    """Return the headings of an executed notebook, and all its words."""
    text = (REFERENCE / f"{name}.ipynb").read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    markdown = [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "markdown"
    ]
    headings = re.findall(r"^#+ (.*)$", "\n".join(markdown), re.MULTILINE)
    words = []
    for output in (o for cell in cells for o in cell.get("outputs", [])):
        data = output.get("data", {})
        words += ["".join(output.get("text", []))]
        words += ["".join(data.get("text/plain", []))]
        alternative = re.findall(
            r'alt="([^"]*)"', "".join(data.get("text/html", []))
        )
        words += map(html.unescape, alternative)  # what a figure shows
    return headings, "\n".join([*markdown, *words])


def numbers_of(*texts):
    """Return what is written with a decimal point."""
    return set(re.findall(r"\d+\.\d+", " ".join(texts)))


def numbers_with_facts(entry):
    """Give the facts that stand where numbers stand, and these numbers.

    A choice has its own, and may use those of its question.
    """
    own = entry.get("facts", {})
    yield {}, own, numbers_of(entry["question"])
    for choice in entry["choices"]:
        facts = choice.get("facts", {})
        yield own, facts, numbers_of(choice["text"], choice["why"])


QUESTIONS = [(name, entry) for name in NAMES for entry in raw(name)]
EACH = pytest.mark.parametrize(
    "name, entry", QUESTIONS, ids=[entry["id"] for _, entry in QUESTIONS]
)


def test_each_of_the_five_notebooks_has_its_quiz():
    assert NAMES == sorted(p.stem for p in REFERENCE.glob("0[1-5]_*.ipynb"))
    for name in NAMES:
        assert 5 <= len(raw(name)) <= 8


def test_no_id_is_given_twice():
    ids = [entry["id"] for _, entry in QUESTIONS]
    assert len(ids) == len(set(ids))


@EACH
def test_one_choice_is_right_and_each_is_explained(name, entry):
    assert set(entry) <= FIELDS
    choices = entry["choices"]
    assert all(set(choice) <= CHOICE_FIELDS for choice in choices)
    assert 3 <= len(choices) <= 5
    texts = [c[field] for c in choices for field in ("text", "why")]
    assert all(isinstance(text, str) for text in texts)
    assert [c["right"] for c in choices if "right" in c] == [True]
    explanations = [choice["why"] for choice in choices]
    assert all(len(why.split()) >= 5 for why in explanations)
    assert len(set(explanations)) == len(choices)
    assert len({choice["text"] for choice in choices}) == len(choices)


def test_neither_place_nor_length_gives_the_answer_away():
    """Guessing by either must not be much better than blind."""
    places, longest = [], []
    for _, entry in QUESTIONS:
        choices = entry["choices"]
        right = next(n for n, c in enumerate(choices) if "right" in c)
        places.append(right)
        lengths = [len(choice["text"]) for choice in choices]
        longest.append(lengths.pop(right) > max(lengths))
    assert max(places.count(n) for n in range(4)) <= 0.4 * len(places)
    assert sum(longest) <= 0.3 * len(places)


@EACH
def test_the_section_stands_in_the_notebook(name, entry):
    assert entry["section"] in reference(name)[0]


@EACH
def test_every_number_follows_from_the_executed_notebook(name, entry):
    _, words = reference(name)
    metrics = json.loads((REFERENCE / name / "metrics.json").read_text())

    def printed(text):
        """Return the number at the end of what a reader can see there."""
        text = text.strip()
        collapsed = " ".join(words.split())
        assert text in collapsed, f"{text} is not in the notebook"
        return float(re.findall(r"\d+\.\d+", text)[-1])

    names = {"metrics": metrics, "printed": printed, "math": math}
    for inherited, own, numbers in numbers_with_facts(entry):
        assert numbers <= set(inherited) | set(own)
        assert set(own) <= numbers or not inherited
        for number, formula in own.items():
            decimals = len(number.partition(".")[2])
            value = eval(str(formula), names)
            assert f"{value:.{decimals}f}" == number


def test_sizes_are_those_of_the_vocabularies():
    """What is written with a comma, as the notebooks printed it."""
    pattern = r"vocabulary: \(.*, (\d+)\)"
    vocabularies = {
        name: int(re.search(pattern, reference(name)[1])[1])
        for name in ("01_next_token", "02_fill_mask")
    }
    written = {
        name: set(
            re.findall(r"\d{1,3},\d{3}", (quiz.QUIZZES / name).read_text())
        )
        for name in (f"{stem}.yaml" for stem in NAMES)
    }
    assert {name: numbers for name, numbers in written.items() if numbers} == {
        "01_next_token.yaml": {f"{vocabularies['01_next_token']:,}"},
        "02_fill_mask.yaml": {
            f"{vocabularies['02_fill_mask']:,}",
            f"{vocabularies['02_fill_mask'] - 5:,}",  # without the five best
        },
    }


def test_what_questions_say_of_the_notebooks_is_printed_there():
    for name, printed in (
        ("01_next_token", "batch, positions, vocabulary: (1, 6, 49152)"),
        ("02_fill_mask", "sentences, positions, vocabulary: (1, 7, 30522)"),
        ("02_fill_mask", "the mask is token 4 of 7"),
        ("04_amazon_preprocessing", "['neutral', 'positive', 'negative']"),
        ("04_amazon_preprocessing", "median 20 tokens, longest 203"),
        ("04_amazon_preprocessing", "padded to 512: 96% padding"),
    ):
        assert printed in reference(name)[1]
    path = REFERENCE / "04_amazon_preprocessing" / "metrics.json"
    assert json.loads(path.read_text())["duplicates"] == 11


class Shown(HTMLParser):
    """Collects the elements and the text of what a notebook shows."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.attributes = [], [], set()
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.elements.append(tag)
        self.attributes.update(name for name, _ in attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("name", NAMES)
def test_what_a_notebook_shows_is_whole_and_needs_nothing(name):
    shown = Shown()
    shown.feed(quiz.read_quiz(name)._repr_html_())
    assert not shown.open
    structure = {"style", "div", "p", "details", "summary", "strong"}
    assert structure <= set(shown.elements) <= structure | {"code", "em"}
    assert shown.attributes <= {"class", "open"}
    choices = [c for entry in raw(name) for c in entry["choices"]]
    assert shown.elements.count("details") == len(choices)
    assert "open" not in shown.attributes  # nothing is given away
    assert shown.text.count("Right.") == len(raw(name))
    for choice in choices:
        plain = re.sub(r"[`*]", "", choice["why"])
        assert plain in shown.text


def test_markup_is_escaped_and_marks_are_turned():
    assert quiz._to_html("`<mask>` is *not* a < b") == (
        "<code>&lt;mask&gt;</code> is <em>not</em> a &lt; b"
    )


def test_spaces_of_tokens_are_seen():
    """A browser drops spaces at the ends of code unless told otherwise."""
    shown = quiz.read_quiz("01")._repr_html_()
    assert "<code> " in shown
    [rule] = re.findall(r"^\.nlp-quiz code \{(.*)\}$", shown, re.MULTILINE)
    assert "white-space: pre-wrap;" in rule and "border: 1px" in rule


def test_a_terminal_gets_the_questions_and_keeps_the_answers(capsys):
    quiz.show_quiz("01")
    printed = capsys.readouterr().out
    first = quiz.read_quiz("01").questions[0]
    assert f"1. {first.question}" in printed
    assert f"a) {first.choices[0].text}" in printed
    assert first.choices[0].why not in printed
    assert "Right." not in printed
    quiz.show_quiz("01_next_token", answers=True)
    printed = capsys.readouterr().out
    assert f"Wrong. {first.choices[0].why}" in printed


def test_a_notebook_gets_html(python):
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.display_pub.publish = lambda data, **_: print(sorted(data))\n"
        "from nlp_helpers.course.quiz import show_quiz\n"
        "show_quiz('02')\n"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['text/html', 'text/plain']\n", done.stderr


def test_a_notebook_without_a_quiz_is_named():
    with pytest.raises(UserError, match=r"no quiz on '09'; choose .*01, 02"):
        quiz.show_quiz("09")


@pytest.mark.parametrize("name", NAMES)
def test_the_tasks_of_a_notebook_begin_with_its_quiz(name, project):
    path = project / "course" / "student" / f"{name}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    [place] = [n for n, s in enumerate(sources) if "show_quiz(" in s]
    assert f'show_quiz("{name[:2]}")' in sources[place]
    numbers = ("Five", "Six", "Seven", "Eight")
    number = numbers[len(quiz.read_quiz(name).questions) - 5]
    assert f"{number} questions on notebook" in sources[place - 1]
    assert sources[place + 1].startswith(f"## {name[:2]}.1 ")
