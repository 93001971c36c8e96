"""Answers are told right from wrong, and usual mistakes by their names."""

import re
import subprocess
import sys
from collections import UserDict
from fractions import Fraction

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BatchEncoding

from nlp_helpers.core.errors import UserError
from nlp_helpers.course import check, checking, require
from nlp_helpers.course.answers import Function, Number, Table, Tensor, Words

NOTEBOOKS = list(checking.NOTEBOOKS)
A_NUMBER = torch.tensor(0.4321, requires_grad=True)
ODD = {
    "nothing": None,
    "set": {0.4321, "boat"},
    "dict": {"a": 1},
    "nested": [[1, [2, 3]], [4]],
    "list of gradients": [A_NUMBER, A_NUMBER],
    "nested gradients": [(A_NUMBER,), (A_NUMBER,)],
    "gradient": A_NUMBER * 2,
    "bfloat16": torch.ones(3, dtype=torch.bfloat16),
    "list of bfloat16": [torch.ones(2, dtype=torch.bfloat16)],
    "no values": torch.empty(2, device="meta"),
    "complex": torch.ones(2, dtype=torch.complex64),
    "sparse": torch.eye(2).to_sparse(),
    "empty": torch.empty(0),
    "text": "boat",
    "bytes": b"boat",
    "texts": ["boat", "97"],
    "mixed": ["boat", 97, None, A_NUMBER],
    "generator": (n for n in range(3)),
    "range": range(3),
    "shape": torch.Size([2, 3]),
    "fields": UserDict(input_ids=[[1, 2]]),
    "encoding": BatchEncoding({"input_ids": torch.ones(1, 2)}),
    "two things": torch.eye(2).max(dim=-1),
    "NumPy's number": np.float16(0.4321),
    "NumPy's text": np.str_("boat"),
    "array of one text": np.array("boat"),
    "array of texts": np.array([["a", "b"], ["c", "d"]]),
    "array of dates": np.array(["2018-01-01"], dtype="datetime64[D]"),
    "fraction": Fraction(1, 3),
    "complex number": 1j,
    "large": 10**400,
    "infinite": float("inf"),
    "series": pd.Series(["boat", None]),
    "table": pd.DataFrame({"word": [{1}, None], "score": [A_NUMBER, "a"]}),
    "twice": pd.DataFrame([[1, 2]], columns=["word", "word"]),
    "type": int,
    "object": object(),
    "leaves": sys.exit,
    "function of nothing": lambda: A_NUMBER,
    "function of all": lambda *arguments: [A_NUMBER, {1}],
}
TASKS = [
    task
    for notebook in NOTEBOOKS
    for task in checking.notebook_tasks(notebook).values()
]
CASES = [
    pytest.param(task, own, id=f"{task.number}-{index}")
    for task in TASKS
    for index, own in enumerate(task.examples or [()])
]


def ids(task):
    return task.number


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_has_its_tasks(notebook):
    tasks = list(checking.notebook_tasks(notebook).values())
    numbers = [f"{notebook}.{n}" for n in range(1, len(tasks) + 1)]
    assert [task.number for task in tasks] == numbers
    assert len(tasks) >= 8
    assert 1 <= sum(task.own is not None for task in tasks) <= 2
    names = [name for task in tasks for name in task.names]
    assert len(names) == len(set(names)), "one answer would replace another"
    functions = [task for task in tasks if isinstance(task.kind, Function)]
    assert functions, "no task asks for a function"


@pytest.mark.parametrize("task", TASKS, ids=ids)
def test_a_task_says_where_to_read(task, project):
    notebook = task.number.partition(".")[0]
    [path] = (project / "notebooks").glob(f"{notebook}_*.ipynb")
    text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
    assert f"\n## {task.read}\n" in text
    shown = f'"{task.read.replace("*", "")}"'
    assert checking.judge(task, *task.names).message.endswith(shown)


def test_the_position_of_a_mask_is_read_where_it_is_computed(project):
    path = project / "notebooks" / "02_fill_mask.ipynb"
    text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
    read = checking.find_task("02.1").read
    section = text.partition(f"\n## {read}\n")[2].partition("\n## ")[0]
    assert "\nmask_index = " in section


@pytest.mark.parametrize(("task", "own"), CASES)
def test_the_answer_is_right(task, own):
    expected = task.expected(*own)
    assert checking.judge(task, *own, expected).problem == ""
    require(task.number, *own, expected)


@pytest.mark.parametrize(("task", "own"), CASES)
def test_a_usual_mistake_is_wrong_and_recognised(task, own):
    assert len(task.mistakes) >= 3
    for mistake in task.mistakes:
        answer = mistake.answer(*own)
        verdict = checking.judge(task, *own, answer)
        assert verdict.problem, mistake
        if mistake.hint:
            assert verdict.problem == mistake.hint
        with pytest.raises(checking.WrongAnswer):
            require(task.number, *own, answer)


@pytest.mark.parametrize(("task", "own"), CASES)
def test_no_message_gives_the_answer_away(task, own):
    expected = task.expected(*own)
    texts = []
    if isinstance(expected, str):
        texts = [expected.strip()]
    elif isinstance(task.kind, Number):
        value = float(expected)
        texts = [f"{value:.3f}", f"{value:.4g}"]
    wrong = [mistake.answer(*own) for mistake in task.mistakes]
    for answer in [*wrong, 0.4321, 97, "boat"]:  # those that nothing knows
        message = str(checking.judge(task, *own, answer))
        message = re.sub(r"shape \(.*?\)", "", message)  # of their own answer
        for text in texts:
            alone = rf"(?<![\w.-]){re.escape(text)}(?![\w])"
            assert not re.search(alone, message), message


@pytest.mark.parametrize("task", TASKS, ids=ids)
@pytest.mark.parametrize("nothing", [..., None])
def test_an_untouched_answer_is_not_right(task, nothing, capsys):
    check(task.number, *[nothing] * len(task.names))
    said = capsys.readouterr().out
    assert said.startswith(f"{task.number}: not yet. There is no answer")
    assert said.count("yet") == 1


@pytest.mark.parametrize("task", TASKS, ids=ids)
@pytest.mark.parametrize("answer", ["", "42", -1e9, [], {}, object(), print])
def test_nonsense_is_wrong_and_raises_nothing(task, answer):
    for own in task.examples or [()]:
        assert checking.judge(task, *own, answer).problem
        for place in range(len(own)):
            texts = [*own[:place], answer, *own[place + 1 :]]
            assert checking.judge(task, *texts, 0.5).problem


def table_of(answer):
    """Return a table whose columns all hold an answer, twice."""
    names = ("token", "probability", "word", "ratio", "label", "fraction")
    return pd.DataFrame({name: [answer, answer] for name in names})


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_every_kind_of_answer_has_a_verdict(odd):
    texts = pd.DataFrame({"word": ["a", "b"], "ratio": [0.1, 0.2]})
    cases = [
        (Number(low=0, high=1), 0.25),
        (Number(tolerance=0), 7),
        (Words(), "b"),
        (Words(), ["a", "b"]),
        (Words(ordered=False), ["a", "b"]),
        (Tensor(sums_to_one=True), torch.tensor([0.25, 0.75])),
        (Tensor(tolerance=0), [[1, 2], [3, 4]]),
        (Table(), texts),
    ]
    for kind, expected in cases:
        for answer in (odd, [odd], [odd, odd], table_of(odd)):
            assert kind.difference(answer, expected)
        called = Function(kind, lambda: [(1,)])
        for answer in (odd, lambda n: odd, lambda n: [odd, odd]):
            assert called.difference(answer, lambda n, e=expected: e)


@pytest.mark.parametrize("task", TASKS, ids=ids)
def test_every_task_has_a_verdict_on_odd_answers(task):
    for own in task.examples or [()]:
        for odd in ODD.values():
            assert checking.judge(task, *own, odd).problem
            for place in range(len(own)):
                texts = [*own[:place], odd, *own[place + 1 :]]
                assert checking.judge(task, *texts, 0.5).problem


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lists_of_tensors_are_numbers(dtype):
    values = [
        torch.tensor(n, dtype=dtype, requires_grad=True) for n in (0.25, 0.75)
    ]
    for answer in (values, tuple(values), torch.stack(values)):
        assert not Tensor().difference(answer, [0.25, 0.75])
        assert not Tensor().difference([answer], [[0.25, 0.75]])
    assert not Number().difference([values[0]], 0.25)


def test_what_a_student_reads(capsys):
    task = TASKS[0]
    check(task.number, task.expected())
    check(task.number, task.mistakes[0].answer())
    right, wrong = capsys.readouterr().out.splitlines()
    assert right == "01.1: right"
    assert wrong.startswith("01.1: not yet. This is the number of words")
    assert wrong.endswith('notebook 01, "From text to token ids"')


@pytest.mark.parametrize("number", ["01.99", "77.1", "", "one", 1.1])
def test_an_unknown_task_is_named_in_one_line(number):
    with pytest.raises(UserError, match="there (is|are) no task") as error:
        check(number, 1)
    assert "\n" not in str(error.value)


def test_a_function_that_prints_is_heard_once(capsys):
    def to_label(stars):
        print("called with", stars)
        return "positive"

    check("04.2", to_label)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1 and len(lines) == len(set(lines))


def test_a_number_may_lack_its_first_zero():
    assert checking.find_task("1.1") is checking.find_task("01.1")
    assert checking.find_task("5.13") is checking.find_task("05.13")


@pytest.mark.parametrize(
    ("number", "answers", "names"),
    [
        ("01.9", [0.5], "my_prompt, my_ratio"),
        ("01.1", [], "num_tokens"),
        ("01.1", [1, 2], "num_tokens"),
    ],
)
def test_the_answers_that_are_asked_for_are_named(number, answers, names):
    with pytest.raises(UserError) as error:
        check(number, *answers)
    said = f'task {number} asks for {names}; write check("{number}", {names})'
    assert str(error.value) == said


def test_the_import_is_quick(python):
    code = (
        "import sys; from nlp_helpers.course import check\n"
        "heavy = ('torch', 'transformers', 'pandas', 'nbgrader', 'IPython')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    "answer",
    [0.25, np.float32(0.25), torch.tensor(0.25), torch.tensor([[0.25]])],
)
def test_a_number_may_come_from_any_library(answer):
    assert Number().difference(answer, 0.25) == ""
    assert Number().difference(answer, 0.26)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("0.25", "a text"),
        (True, "True or False"),
        ([0.2, 0.3], "a list"),
        (torch.ones(2), "array of shape (2,)"),
        (float("nan"), "nan"),
        (1.5, "not between 0 and 1"),
        (torch.eye(2).max(dim=-1), "this is two things: values and indices"),
        (torch.ones(2, 3).shape, "this is a shape"),
        (BatchEncoding({"input_ids": [1]}), "the tokenizer or the model"),
        (range, "a function"),
        (object(), "an object of the type object"),
    ],
)
def test_what_is_no_such_number_is_told(answer, said):
    problem = Number(low=0, high=1).difference(answer, 0.25)
    assert said in problem


@pytest.mark.parametrize(
    "answer",
    [["0", "1"], ("0", "1"), np.array(["0", "1"]), [0, "1"], [b"0", b"1"]]
    + [pd.Series(["0", "1"]), [0, None], np.array([0, 1j])],
)
def test_digits_of_a_text_are_no_numbers(answer):
    said = Tensor(tolerance=0).difference(answer, [0, 1])
    assert said.startswith("numbers are asked for")
    assert "single number" in Number().difference(answer[1:], 1)
    assert "a list of texts" in Number().difference(["0", "1"], 1)


@pytest.mark.parametrize(
    ("kind", "expected", "answer"),
    [
        (Number(), 0.621948, 0.62),
        (Number(low=0, high=1), 0.621948, np.float32(0.62)),
        (Number(low=0), 0.00123456, 0.00123),
        (Tensor(), [0.621948, 0.378052], [0.62, 0.38]),
        (
            Tensor(sums_to_one=True),
            [0.6219, 0.3701, 0.008],
            [0.62, 0.37, 0.01],
        ),
    ],
)
def test_rounded_numbers_are_told(kind, expected, answer):
    assert "right but for rounding" in kind.difference(answer, expected)


@pytest.mark.parametrize("answer", [0, 0.01, 0.6, 0.63, 1])
def test_other_numbers_are_not_rounded(answer):
    for expected in (0.001234, 0.621948):
        said = Number().difference(answer, expected)
        assert said == "the number is another one"


@pytest.mark.parametrize("answer", [62.1948, 62.19, 62, "62"])
def test_percent_is_told(answer):
    said = Number(low=0, high=1).difference(answer, 0.621948)
    assert said.startswith("this is in percent") is (answer != "62")
    assert "percent" not in Number(low=0).difference(answer, 0.621948)


def test_a_limit_is_named():
    assert Number(low=0).difference(-5, 3).startswith("-5 is below 0,")
    assert Number(high=0).difference(5, -3).startswith("5 is above 0,")


def test_small_numbers_can_differ():
    assert Number().difference(2e-12, 3e-9)
    assert Number().difference(0, 3e-9)
    assert not Number().difference(3.001e-12, 3e-12)
    assert not Number().difference(1e-12, 0)


def test_counts_have_no_tolerance():
    assert Number(tolerance=0).difference(1000, 1001)
    assert not Number(tolerance=0.01).difference(1000, 1001)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("cold", "spaces"),
        (" Cold", "capitals"),
        (" hot", "another one"),
        (7, "single number"),
    ],
)
def test_texts_differ_in_kind(answer, said):
    assert said in Words().difference(answer, " cold")


def test_lists_of_texts():
    assert not Words().difference(["a", "b"], ["a", "b"])
    assert "order" in Words().difference(["b", "a"], ["a", "b"])
    assert not Words(ordered=False).difference({"b", "a"}, ["a", "b"])
    assert "1 of the 2" in Words().difference(["a", "c"], ["a", "b"])
    assert "as many" in Words().difference(["a"], ["a", "b"])
    assert "element" in Words().difference(["a", 1], ["a", "b"])
    assert "set has no order" in Words().difference({"a", "b"}, ["a", "b"])
    assert "a text" in Words().difference("ab", ["a", "b"])


@pytest.mark.parametrize("kind", [Words(), Words(ordered=False)])
def test_what_alone_differs_in_texts_is_told(kind):
    for texts in ([" A", "b"], [" A"]):
        bare, small = ([f(t) for t in texts] for f in (str.strip, str.lower))
        assert "right but for spaces" in kind.difference(bare, texts)
        assert "right but for capitals" in kind.difference(small, texts)


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_tensors_of_any_library(make):
    kind, expected = Tensor(sums_to_one=True), torch.tensor([0.25, 0.75])
    assert not kind.difference(make([0.25, 0.75]), expected)
    assert "0 of the 2" in kind.difference(make([0.75, 0.25]), expected)
    assert "add up to 2" in kind.difference(make([0.5, 1.5]), expected)
    assert "shape" in kind.difference(make([[0.25, 0.75]]), expected)


def test_a_table_is_compared_by_columns_and_rows():
    expected = pd.DataFrame({"token": ["a", "b"], "p": [0.7, 0.3]})
    kind = Table()
    assert not kind.difference(expected[["p", "token"]], expected)
    assert not kind.difference(expected.set_axis([5, 6]), expected)
    assert "no column p" in kind.difference(expected[["token"]], expected)
    assert "token: the order" in kind.difference(expected[::-1], expected)
    said = kind.difference(expected[["p"]][::-1], expected[["p"]])
    assert said == "in the column p: the order is another one"
    assert "rows" in kind.difference(expected.head(1), expected)
    assert "a table" in kind.difference([1], expected)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"p": 0.5}, "p: 0 of the 2 numbers are right"),
        ({"p": "0.7"}, "p: numbers are asked for"),
        ({"p": [0.7, 0.5]}, "p: 1 of the 2 numbers are right"),
        ({"p": [0.7, float("nan")]}, "p: some of the numbers are nan"),
        ({"token": ["a", "b"]}, "token: the texts are right but for spaces"),
        ({"token": [" A", "b"]}, "token: the texts are right but for capit"),
        ({"token": [" a", "c"]}, "token: 1 of the 2 texts are right"),
        ({"token": [1, 2]}, "token: a list of texts is asked for"),
    ],
)
def test_a_column_is_compared_as_its_kind_is(changed, said):
    expected = pd.DataFrame({"token": [" a", "b"], "p": [0.7, 0.3]})
    problem = Table().difference(expected.assign(**changed), expected)
    assert problem.startswith(f"in the column {said}")


def test_a_function_is_called_with_copies():
    def spoil(values):
        values.append(1)
        return 3.0

    probes = [([1, 2],)]
    kind = Function(Number(), lambda: probes)
    assert not kind.difference(spoil, lambda values: len(values) + 1)
    assert probes == [([1, 2],)]
    assert "raises TypeError" in kind.difference(lambda: 3.0, len)
    said = kind.difference(lambda values: None, len)
    assert "needs `return`, or it is not written yet" in said
    assert "without brackets" in kind.difference(2.0, len)
