"""Handed-in notebooks are marked, whatever they do."""

import csv
import json
import os
import subprocess
import sys
import time
from multiprocessing import forkserver

import nbformat
import psutil
import pytest

from nlp_helpers.core.errors import UserError
from nlp_helpers.course import checking, grader, limits, marking

pytestmark = pytest.mark.slow  # each notebook takes seconds

SET_UP = """\
from nlp_helpers.course import check, models
tokenizer, model = models.masked()
ids = tokenizer("Unfortunately, the [MASK] arrived broken.")["input_ids"]
mask_index = ids.index(tokenizer.mask_token_id)
check("02.1", mask_index)"""
ANSWER = "best_word = 'ship'\ncheck('02.2', best_word)"
QUICK = limits.Limits(timeout=120, cell_timeout=15, memory=6)


@pytest.fixture(scope="module", autouse=True)
def preloaded():
    """The process that notebooks are forked from is a child of this one."""
    grader.context()
    forkserver.ensure_running()


def hand_in(folder, name, *cells):
    cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / name)
    return folder / name


def grade(path, allowed=QUICK):
    """Grade one notebook; return points by task, and messages."""
    before = {child.pid for child in psutil.Process().children()}
    with grader.watching.adopting():
        marks = grader.grade_notebook(path, path.name, allowed)
    left = {child.pid for child in psutil.Process().children()} - before
    assert not left, "processes are left"
    return {m.task: m.points for m in marks}, {
        m.task: m.message for m in marks
    }


@pytest.mark.parametrize("number", checking.NOTEBOOKS)
def test_solved_and_untouched_notebooks(project, number):
    tasks = checking.notebook_tasks(number)
    [source] = (project / "course").glob(f"{number}_*.ipynb")
    solved = project / "course" / "solutions" / source.name
    points, messages = grade(solved, limits.Limits())
    assert set(messages.values()) == {"right"}
    assert points == {n: task.points for n, task in tasks.items()}
    untouched = project / "course" / "student" / source.name
    points, _ = grade(untouched, limits.Limits())
    assert set(points.values()) == {0} and list(points) == list(tasks)


def test_a_cell_that_fails_costs_its_task_alone(tmp_path):
    path = hand_in(tmp_path, "a.ipynb", SET_UP, "1 / 0", "%foo", ANSWER)
    points, messages = grade(path)
    assert points["02.1"] == points["02.2"] == 1
    assert sum(points.values()) == 2
    assert messages["02.3"] == (
        "no answer: there is no word_probability; code cell 2 raised"
        " ZeroDivisionError: division by zero"
    )


def test_an_endless_loop_is_interrupted(tmp_path):
    path = hand_in(tmp_path, "a.ipynb", SET_UP, "while True: pass", ANSWER)
    started = time.monotonic()
    points, _ = grade(path)
    assert points["02.1"] == points["02.2"] == 1
    assert time.monotonic() - started < 100


def test_an_endless_loop_that_catches_everything_is_killed(tmp_path):
    loop = "while True:\n    try:\n        pass\n    except: pass"
    path = hand_in(tmp_path, "a.ipynb", SET_UP, loop, ANSWER)
    allowed = limits.Limits(timeout=30, cell_timeout=60, memory=6)
    points, messages = grade(path, allowed)
    assert set(points.values()) == {0}
    assert set(messages.values()) == {"the notebook took longer than 30 s"}


def test_an_answer_that_never_returns_is_interrupted(tmp_path):
    endless = "def rank_of(text, word):\n    while True: pass"
    path = hand_in(tmp_path, "a.ipynb", SET_UP, endless, ANSWER)
    points, messages = grade(path)
    assert points["02.1"] == points["02.2"] == 1
    assert messages["02.7"] == "it takes longer than 15 s"


STARTS = {
    "fork": """\
import os, time
for _ in range(200):
    if os.fork() == 0:
        time.sleep(60)""",
    "popen": """\
import subprocess
for _ in range(200):
    subprocess.Popen(["sleep", "60"], start_new_session=True)""",
    "orphans": """\
import os, subprocess
for _ in range(200):
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen(["sleep", "60"])
        os._exit(0)""",
    "shell": """\
import os
os.system("for i in $(seq 200); do sleep 60 & done; wait")""",
}


@pytest.mark.parametrize("kind", STARTS)
def test_a_loop_that_starts_processes_is_bounded(tmp_path, kind):
    """At most 200, so that a failure here does no harm."""
    path = hand_in(tmp_path, "a.ipynb", SET_UP, STARTS[kind], ANSWER)
    points, messages = grade(path)
    if kind == "shell":  # the audit hook sees one process, the watch all
        assert set(points.values()) == {0}
        assert "processes at once" in messages["02.1"]
    else:
        assert points["02.1"] == points["02.2"] == 1


def test_a_list_of_ten_gigabytes_fails_alone(tmp_path):
    code = "numbers = [0] * (10 * 2**30 // 8)"
    path = hand_in(tmp_path, "a.ipynb", SET_UP, code, ANSWER)
    points, _ = grade(path)
    assert points["02.1"] == points["02.2"] == 1
    assert peak_of_children() < 6 * 2**20


def test_many_processes_with_a_gigabyte_each_are_killed(tmp_path):
    code = """\
import os, time
for _ in range(4):
    if os.fork() == 0:
        numbers = bytearray(os.urandom(1024) * 2**20)
        time.sleep(60)"""
    path = hand_in(tmp_path, "a.ipynb", SET_UP, code, "time.sleep(20)")
    allowed = limits.Limits(timeout=60, cell_timeout=60, memory=3)
    _, messages = grade(path, allowed)
    assert messages["02.1"] == "the notebook took over 3 GB"


def peak_of_children():
    """Return the most memory that a child of this process had, in KB."""
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


@pytest.mark.parametrize(
    "leave", ["import sys; sys.exit()", "exit()", "raise SystemExit(3)"]
)
def test_leaving_ends_a_cell_alone(tmp_path, leave):
    points, _ = grade(hand_in(tmp_path, "a.ipynb", SET_UP, leave, ANSWER))
    assert points["02.1"] == points["02.2"] == 1


@pytest.mark.parametrize("leave", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_ending_the_process_has_no_points(tmp_path, leave):
    path = hand_in(tmp_path, "a.ipynb", SET_UP, f"import os; {leave}")
    points, messages = grade(path)
    assert set(points.values()) == {0}
    assert "ended its process" in messages["02.1"]


OVERWRITES = {
    "name": "def check(*answers): print('02.1: right')",
    "module": """\
import nlp_helpers.course as course
course.check = course.require = lambda *answers: None
course.checking.judge = lambda task, *a: course.checking.Verdict(task, "")""",
    "kind": """\
from nlp_helpers.course import answers
answers.Number.difference = answers.Words.difference = lambda *a: \"\"""",
    "tasks": """\
from nlp_helpers.course.tasks import fill_mask
fill_mask.TASKS = ()""",
    "path": "import sys; sys.path.insert(0, '/tmp'); sys.modules.clear",
}


@pytest.mark.parametrize("kind", OVERWRITES)
def test_overwriting_the_checks_gains_nothing(tmp_path, kind):
    wrong = "mask_index = 77\nbest_word = 'boat'\ncheck('02.1', mask_index)"
    path = hand_in(tmp_path, "a.ipynb", OVERWRITES[kind], wrong)
    points, messages = grade(path)
    assert set(points.values()) == {0} and len(points) >= 8
    assert messages["02.1"] == "the number is another one"


@pytest.mark.parametrize(
    "reach",
    [
        "socket.create_connection(('192.0.2.1', 80), timeout=3)",
        "socket.getaddrinfo('example.org', 80)",
        "socket.socket(type=2).sendto(b'x', ('192.0.2.1', 53))",
    ],
)
def test_python_refuses_every_connection(project, reach):
    """The refusal is ours: the guard of these tests is left out."""
    code = (
        "import socket; from nlp_helpers.course import limits\n"
        f"limits.watch_events(5)\n{reach}"
    )
    env = os.environ | {"PYTHONPATH": str(project)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert "no network while notebooks are marked" in done.stderr


def test_what_a_notebook_starts_has_no_network_either(tmp_path):
    """Where this user may leave the network; a list of its devices shows."""
    may = subprocess.run(["unshare", "-n", "true"], capture_output=True)
    if may.returncode:
        pytest.skip("this user cannot leave the network")
    code = """\
import subprocess
told = subprocess.run(["cat", "/proc/net/dev"], capture_output=True, text=True)
devices = [line.split(":")[0].strip() for line in told.stdout.splitlines()[2:]]
mask_index = 4 if devices == ["lo"] else 0"""
    points, _ = grade(hand_in(tmp_path, "02.ipynb", code))
    assert points["02.1"] == 1


def test_the_command_writes_a_table(tmp_path):
    (tmp_path / "anna").mkdir()
    hand_in(tmp_path / "anna", "02_fill_mask.ipynb", SET_UP, ANSWER)
    hand_in(tmp_path, "ben.ipynb", "x = 1")
    (tmp_path / "carl.ipynb").write_text("{")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    hand_in(tmp_path / ".ipynb_checkpoints", "02.ipynb", SET_UP)
    command = [sys.executable, "-m", "nlp_helpers", "course", "grade"]
    done = subprocess.run(
        [*command, tmp_path, "--csv", tmp_path / "out" / "t.csv"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1 of 3: anna/02_fill_mask.ipynb: 2 of 15 points"
    with (tmp_path / "out" / "t.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    anna = [row for row in rows if row["file"].startswith("anna")]
    assert [row["task"] for row in anna] == list(checking.notebook_tasks("02"))
    assert [row["points"] for row in anna[:3]] == ["1", "1", "0"]
    assert anna[0]["message"] == "right"
    others = [row for row in rows if row not in anna]
    assert [row["file"] for row in others] == ["ben.ipynb", "carl.ipynb"]
    assert all(row["points"] == "0" for row in others)
    assert all("cannot be marked" in row["message"] for row in others)


def test_an_empty_folder_is_named_in_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no notebook in"):
        grader.find_notebooks(tmp_path)
    command = [sys.executable, "-m", "nlp_helpers", "course", "grade"]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")


def test_which_tasks_a_notebook_answers(tmp_path):
    path = hand_in(tmp_path, "01_renamed.ipynb", SET_UP)
    assert marking.find_notebook(path, [SET_UP]) == "02"
    assert marking.find_notebook(path, ["x = 1"]) == "01"
    assert marking.find_notebook(tmp_path / "anna.ipynb", ["x = 1"]) == ""
    path.write_text(json.dumps({"cells": 7}))
    with pytest.raises(ValueError, match="no notebook"):
        marking.code_cells(path)


def test_what_a_notebook_writes_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "open('left.txt', 'w').write('x')"
    grade(hand_in(tmp_path, "02.ipynb", code, SET_UP))
    assert os.listdir(tmp_path) == ["02.ipynb"]
