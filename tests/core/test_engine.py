import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nlp_helpers.core import engine
from nlp_helpers.core.errors import UserError


def double(number, folder):
    Path(folder, str(number)).write_text(str(os.getpid()))
    return 2 * number


def die_once(number, folder):
    """Kill this process at the first try of task 3."""
    mark = Path(folder, "died")
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number):
    raise ValueError(f"task {number}")


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_every_task_is_done_once(tmp_path, num_workers):
    tasks = [(n, str(tmp_path)) for n in range(7)]
    found = dict(engine.run(double, tasks, num_workers=num_workers))
    assert found == {n: 2 * n for n in range(7)}
    workers = {path.read_text() for path in tmp_path.iterdir()}
    assert (str(os.getpid()) in workers) == (num_workers == 0)
    assert len(workers) <= max(1, num_workers)


def test_a_killed_workers_task_is_done_again(tmp_path):
    tasks = [(n, str(tmp_path)) for n in range(6)]
    found = dict(engine.run(die_once, tasks, num_workers=2))
    assert found == {n: n for n in range(6)}
    assert (tmp_path / "died").exists()


def test_workers_that_always_die_end_in_one_error():
    with pytest.raises(UserError, match="killed 5 times.*lower num_workers"):
        list(engine.run(die, [(1,), (2,)], num_workers=2))


def test_a_worker_may_die_while_tasks_are_handed_out():
    with pytest.raises(UserError, match="killed 5 times"):
        list(engine.run(die, [(n,) for n in range(20_000)], num_workers=1))


def test_workers_keep_to_one_processor():
    [(_, found)] = engine.run(engine.processors, [()], num_workers=1)
    assert found == 1
    asked = [("TOKENIZERS_PARALLELISM",), ("RAYON_NUM_THREADS",)]
    found = engine.run(os.getenv, asked, num_workers=1)
    assert dict(found) == {0: "false", 1: "1"}


@pytest.mark.parametrize("where", ["num_workers", "num_threads"])
def test_an_error_of_a_task_is_not_hidden(where):
    with pytest.raises(ValueError, match="task 1"):
        list(engine.run(fail, [(1,), (1,)], **{where: 2}))


def test_threads_share_this_process_and_begin_nothing_after_an_error():
    meeting = threading.Barrier(2, timeout=60)
    begun = []

    def work(number):
        begun.append((number, os.getpid(), threading.get_ident()))
        if number < 2:
            meeting.wait()  # an error, unless two are at work at once
        elif number == 2:
            raise ValueError("task 2")
        time.sleep(0.01)

    results = engine.run(work, [(n,) for n in range(99)], num_threads=2)
    with pytest.raises(ValueError, match="task 2"):
        list(results)
    assert {process for _, process, _ in begun} == {os.getpid()}
    assert len({thread for *_, thread in begun}) == 2
    assert len(begun) < 99


def test_an_unknown_engine_is_refused():
    with pytest.raises(UserError, match="'dask'; it can be local or ray"):
        list(engine.run(double, [], engine="dask"))


def run_on_ray(address):
    """Run a task with this RAY_ADDRESS; return what is printed."""
    code = (
        "from nlp_helpers.core import engine\n"
        "try: list(engine.run(print, [(1,)], engine='ray'))\n"
        "except engine.UserError as error: print(error)"
    )
    # Ray asks the network which address this machine has; the guard that
    # watches the notebooks must not hear of it.
    guard = ("PYTHONPATH", "NETWORK_LOG")
    env = {k: v for k, v in os.environ.items() if k not in guard}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env | {"RAY_ADDRESS": address},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    return done.stdout


def test_ray_without_a_cluster_says_how_to_start_one():
    assert "ray start --head" in run_on_ray("auto")


def test_an_address_where_nothing_listens_is_one_line():
    said = run_on_ray("127.0.0.1:9")
    assert "no Ray cluster answers at RAY_ADDRESS 127.0.0.1:9 (" in said
    assert said.count("\n") == 1


def test_the_processors_of_a_container_count(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.write_text("0::/job\n")
    monkeypatch.setattr(
        engine,
        "control_groups",
        functools.partial(engine.control_groups, tmp_path, own),
    )
    here = engine.processors()
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "cpu.max").write_text("max 100000\n")
    assert engine.processors() == here
    (tmp_path / "cpu.max").write_text("50000 100000\n")  # of the one above
    assert engine.processors() == 1
