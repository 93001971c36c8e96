"""Runs that are ended, that meet, or that need one another."""

import faulthandler
import functools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest
from runs import (
    NAME,
    SLOW,
    WRITE_METRICS,
    check_nothing_is_half_written,
    command,
    results,
    run_once,
    write_notebook,
)

from nlp_helpers import parameters
from nlp_helpers.core import engine
from nlp_helpers.core.errors import UserError
from nlp_helpers.runner import execute, pipeline, record, stages, tasks


@pytest.mark.slow
def test_a_runner_killed_at_ten_moments_leaves_no_false_result(place):
    """Then the run is stale, its kernel ends by itself, a new run works."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nlp_helpers.runner.pipeline"])
    generator = random.Random(2)
    process = context.Process(target=run_once, args=(place, True))
    process.start()  # to have the imports done, and the next one to see
    process.join()  # how long a run takes here
    started = time.monotonic()
    process = context.Process(target=run_once, args=(place, True))
    process.start()
    process.join()
    whole_time = time.monotonic() - started
    ends = set()
    for _ in range(10):
        process = context.Process(target=run_once, args=(place, True))
        process.start()
        process.join(generator.uniform(0.05, 0.95) * whole_time)
        process.kill()
        process.join()
        ends.add(check_nothing_is_half_written(place))
    assert "stale" in ends and "running" not in ends
    assert run_once(place, force=True).status == "done"
    assert check_nothing_is_half_written(place) == "finished"
    deadline = time.monotonic() + 10
    while kernels := kernels_of(place):
        assert time.monotonic() < deadline, kernels
        time.sleep(0.1)


def kernels_of(root):
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if "ipykernel_launcher" in " ".join(process.info["cmdline"] or [])
        and (process.info["cwd"] or "").startswith(str(root))
    ]


def test_a_run_that_is_killed_leaves_the_last_good_results(place, python):
    run_once(place)
    good = results(place)
    stop = "import os; os.kill(os.getppid(), 9); time.sleep(60)"
    change = WRITE_METRICS.replace("0.25", "0.5").replace("a figure", "a mess")
    notebook = place / "notebooks" / f"{NAME}.ipynb"
    write_notebook(notebook, SLOW, change, stop)
    done = subprocess.run(
        [python, "-m", "nlp_helpers", "run", "--plain-kernels", "01"],
        env=os.environ | {"NLP_HELPERS_ROOT": str(place)},
    )
    assert done.returncode == -signal.SIGKILL
    assert results(place) == good
    shown = command("status").stdout
    assert "stale" in shown
    write_notebook(notebook, "1 / 0")
    assert run_once(place).status == "failed"
    assert results(place) == good
    write_notebook(notebook, change)
    result = run_once(place)
    assert result.status == "done", result.problem
    assert results(place).keys() == good.keys()
    assert results(place)[f"{NAME}/figures/next_token.png"] == b"a mess"


class Killed(BaseException):
    """What nothing handles."""


@pytest.mark.parametrize("moment", range(5))
def test_a_kill_while_results_are_replaced_is_made_up_for(
    place, monkeypatch, moment
):
    notebook = place / "notebooks" / f"{NAME}.ipynb"
    write = "files.write_text(folder / 'checkpoint' / 'model', str(metrics))"
    write_notebook(notebook, WRITE_METRICS, write)
    run_once(place)
    before = results(place)
    write_notebook(notebook, WRITE_METRICS.replace("0.25", "0.5"), write)
    moves = []

    def kill(name):
        move = getattr(Path, name)

        def move_or_die(self, target):
            if ".attempt" in self.parts or self.name == f".{NAME}.ipynb":
                moves.append(target)
                if len(moves) > moment + 1:  # its run.json is first
                    raise Killed
            return move(self, target)

        monkeypatch.setattr(Path, name, move_or_die)

    kill("rename")
    kill("replace")
    if moment < 4:
        with pytest.raises(Killed):
            run_once(place)
    else:  # three entries and the notebook are all there is
        assert run_once(place).status == "done"
    monkeypatch.undo()
    monkeypatch.setenv("NLP_HELPERS_ROOT", str(place))
    assert "finished" in command("status").stdout
    assert check_nothing_is_half_written(place) == "finished"
    after = results(place)
    assert after.keys() == before.keys()
    assert b"0.5" in after[f"{NAME}/metrics.json"]
    assert b"0.5" in after[f"{NAME}/checkpoint/model"]
    assert run_once(place).status == "unchanged"


def test_sigterm_ends_a_run_with_a_record(place, python):
    process = subprocess.Popen(
        [python, "-m", "nlp_helpers", "run", "--plain-kernels", "01"],
        cwd=place,
        env=os.environ | {"NLP_HELPERS_ROOT": str(place)},
    )
    path = place / "outputs" / "offline" / NAME / "run.json"
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 128 + 15
    content = record.read_record(path)
    assert content["status"] == "interrupted"
    assert f"{NAME}.ipynb: the run was interrupted" in content["error"]


def test_a_run_that_is_stopped_before_its_kernel_is_up_ends(place):
    runner = pipeline.Runner(use_forkserver=False)
    runner.stopping = True  # as the handler of SIGTERM leaves it
    [result] = runner.run(tasks.plan("offline", ("01",)))
    assert result.status == "failed"
    assert check_nothing_is_half_written(place) == "interrupted"


def test_a_second_signal_does_not_block_the_first(place, monkeypatch):
    """Stopping an execution takes a while; here it takes a signal."""
    stopped = []
    stop = execute.Execution.stop

    def stop_late(self):
        stopped.append(len(stopped))
        if len(stopped) == 1:
            signal.raise_signal(signal.SIGTERM)
        stop(self)

    def interrupt(name, event):
        if event == "running":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(execute.Execution, "stop", stop_late)
    runner = pipeline.Runner(use_forkserver=False, on_event=interrupt)
    faulthandler.dump_traceback_later(20, exit=True)
    with pytest.raises(SystemExit) as ended:
        list(runner.run(tasks.plan("offline", ("01",))))
    faulthandler.cancel_dump_traceback_later()
    assert ended.value.code == 128 + 15
    assert stopped == [0, 1]


def test_two_runs_do_not_write_to_the_same_place(place):
    released = place / "released"
    wait = f"""
import time
from pathlib import Path
for _ in range(1500):
    if Path({str(released)!r}).exists(): break
    time.sleep(0.02)
"""  # however busy the machine is, the second comes while this one runs
    notebook = place / "notebooks" / f"{NAME}.ipynb"
    write_notebook(notebook, wait, WRITE_METRICS)
    other = threading.Thread(target=run_once, args=(place, True))
    other.start()
    folder = place / "outputs" / "offline" / NAME
    while not (folder / "run.json").exists():
        time.sleep(0.02)
    try:
        result = run_once(place, force=True)
    finally:
        released.touch()
    other.join()
    assert result.status == "failed"
    assert "being written by another process; wait" in result.problem
    assert record.read_record(folder / "run.json")["status"] == "finished"


@pytest.mark.parametrize("text", ["{}", "[]"])
def test_what_is_no_notebook_stops_no_other(place, text):
    write_notebook(place / "notebooks" / "03_masked_bert.ipynb", WRITE_METRICS)
    (place / "notebooks" / f"{NAME}.ipynb").write_text(text)
    done = command("run", "--plain-kernels", "01", "03")
    assert done.returncode == 1
    assert f"{NAME}: failed" in done.stdout
    assert "03_masked_bert: " in done.stdout  # it was run
    assert (
        f"error: {NAME}.ipynb: "
        in done.stderr.splitlines()[
            -1 - ("03_masked_bert" in done.stderr.splitlines()[-1])
        ]
    )
    assert check_nothing_is_half_written(place) == "failed"


def test_what_depends_on_a_failure_is_not_run_and_the_rest_is(place, project):
    for name in parameters.SCHEMAS:
        cells = ["1 / 0"] if name.startswith("04") else [WRITE_METRICS]
        write_notebook(place / "notebooks" / f"{name}.ipynb", *cells)
    done = command("run", "--plain-kernels", "01", "04", "05")
    assert done.returncode == 1
    assert f"{NAME}: done" in done.stdout
    assert "05_bert_fine_tuning: not run" in done.stdout
    errors = done.stderr.strip().splitlines()
    assert len(errors) == 2
    assert "04_amazon_preprocessing.ipynb, cell `1 / 0`" in done.stderr
    assert "05_bert_fine_tuning was not run: it needs 04" in done.stderr
    assert not (place / "outputs/offline/05_bert_fine_tuning").exists()


def test_a_notebook_without_a_stage_is_one_line(place):
    known = stages.read_stages()
    [task] = tasks.plan("offline", ("01",))
    del known[NAME]
    with pytest.raises(UserError, match=f"stages.yaml has no entry {NAME}; a"):
        stages.dependencies(known, {task.label: task})


def test_a_clock_that_goes_backwards_changes_nothing(place, monkeypatch):
    assert run_once(place).status == "done"
    folder = place / "outputs" / "offline" / NAME
    content = json.loads((folder / "run.json").read_text())
    later = datetime.now(timezone.utc) + timedelta(days=400)
    content["started"] = later.isoformat()
    (folder / "run.json").write_text(json.dumps(content))
    for path in [folder / "metrics.json", folder.with_suffix(".ipynb")]:
        os.utime(path, (later.timestamp(), later.timestamp()))
    assert run_once(place).status == "unchanged"
    clock = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    result = run_once(place, force=True)
    assert result.status == "done" and result.seconds > 0


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch):
    here = psutil.virtual_memory().available
    groups, own = tmp_path, tmp_path / "own"
    monkeypatch.setattr(
        engine,
        "control_groups",
        functools.partial(engine.control_groups, groups, own),
    )
    assert pipeline.free_memory() == pytest.approx(here, rel=0.2)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 9\ninactive_file 400\nx 1\n")
    assert pipeline.free_memory() == 2400
    job = tmp_path / "slurm" / "job 7"  # a group in a group
    job.mkdir(parents=True)
    own.write_text("1:name=systemd:/\n0::/slurm/job 7\n")
    assert pipeline.free_memory() == 2400
    for name, content in (("current", "5"), ("max", "95"), ("stat", "")):
        (job / f"memory.{name}").write_text(content)
    assert pipeline.free_memory() == 90
    (job / "memory.max").write_text("max")
    (tmp_path / "memory.max").write_text("max\n")
    assert pipeline.free_memory() == pytest.approx(here, rel=0.2)
