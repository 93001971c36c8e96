"""What may go wrong with a run, done to real runs of real kernels."""

import faulthandler
import functools
import html
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import nbformat
import pandas as pd
import psutil
import pytest
from runs import NAME, WRITE_METRICS, command, write_notebook
from sklearn.linear_model import LogisticRegression

from nlp_helpers import parameters
from nlp_helpers.core import engine, folders
from nlp_helpers.core.errors import UserError
from nlp_helpers.runner import (
    client,
    execute,
    pipeline,
    record,
    secrets,
    stages,
    tasks,
)

SLOW = "import time\nfor _ in range(12): time.sleep(0.05)"


@pytest.fixture
def place(root, project):
    shutil.copytree(project / "params", root / "params")
    (root / "notebooks").mkdir()
    write_notebook(root / "notebooks" / f"{NAME}.ipynb", SLOW, WRITE_METRICS)
    return root


def run_once(root, force=False):
    """Run the notebook; the root is given, since processes are forked."""
    os.environ["NLP_HELPERS_ROOT"] = str(root)
    planned = tasks.plan("offline", ("01",))
    runner = pipeline.Runner(force=force, use_forkserver=False)
    [result] = runner.run(planned)
    return result


def check_nothing_is_half_written(root):
    """A finished record goes with all it names; any other with no result."""
    output = root / "outputs" / "offline" / f"{NAME}.ipynb"
    folder = output.with_suffix("")
    found = record.read_record(folder / "run.json")
    for path in root.rglob("*.json"):
        json.loads(path.read_text())
    if output.exists():
        json.loads(output.read_text())
    if found and found["status"] == "finished":
        assert record.artifacts(output) == found["artifacts"]
    else:
        description = {"profile": "offline", **(found or {"key": ""})}
        assert not pipeline.is_current(output, description)
    return found["status"] if found else None


def test_a_kernel_killed_at_ten_moments_is_never_a_success(place):
    generator = random.Random(1)
    ends = set()
    for _ in range(10):
        before = set(psutil.Process().children())
        timer = threading.Timer(
            generator.uniform(0.1, 1.6), kill_new_children, (before,)
        )
        timer.start()
        result = run_once(place, force=True)
        timer.join()
        status = check_nothing_is_half_written(place)
        assert (result.status, status) in (
            ("done", "finished"),
            ("failed", "failed"),
        )
        assert ("SIGKILL" in result.problem) == (status == "failed")
        ends.add(status)
    assert "failed" in ends
    assert run_once(place, force=True).status == "done"


def kill_new_children(before):
    for process in set(psutil.Process().children()) - before:
        with suppress(psutil.Error):  # it is gone already
            if "ipykernel_launcher" in " ".join(process.cmdline()):
                process.kill()


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


def test_two_runs_do_not_write_to_the_same_place(place):
    other = threading.Thread(target=run_once, args=(place, True))
    other.start()
    folder = place / "outputs" / "offline" / NAME
    while not (folder / "run.json").exists():
        time.sleep(0.02)
    result = run_once(place, force=True)
    other.join()
    assert result.status == "failed"
    assert "being written by another process; wait" in result.problem
    assert record.read_record(folder / "run.json")["status"] == "finished"


def test_a_hundred_megabytes_of_text_are_cut(place):
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        "for _ in range(1000): print('x' * 100_000)",
        WRITE_METRICS,
    )
    assert run_once(place).status == "done"
    output = place / "outputs" / "offline" / f"{NAME}.ipynb"
    assert 1e6 < output.stat().st_size < 1.1e6
    assert "[cut: this cell printed more than 1,000,000" in output.read_text()


def test_a_cell_may_print_a_little_very_often(place, monkeypatch):
    """Nothing is lost, though the reader falls behind by a second."""
    take = client.WatchedClient.output
    waits = iter([1])

    def take_late(self, *arguments):
        time.sleep(next(waits, 0))
        return take(self, *arguments)

    monkeypatch.setattr(client.WatchedClient, "output", take_late)
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        "for number in range(4000): print(number, flush=True)",
        "for _ in range(10): print('x' * 100_000, end='', flush=True)\n"
        "print('one more')",
        "from IPython.display import clear_output",
        "print('x' * 999_999); clear_output(); print('y' * 1_000_001)",
        WRITE_METRICS,
    )
    result = run_once(place)
    assert result.status == "done", result.problem
    cells = nbformat.read(result.output, 4).cells[2:]
    numbers, lines, _, cleared, _ = (c.outputs for c in cells)
    assert numbers[0].text.split() == list(map(str, range(4000)))
    assert [out.text for out in lines] == ["x" * 1_000_000 + client.CUT]
    assert cleared[-1].text == "y" * 1_000_000 + client.CUT


def test_lost_messages_are_a_failure_with_a_copy(place, monkeypatch):
    """Where too much is printed, the word that a cell ended may be lost."""
    monkeypatch.setattr(client, "OUTPUT_TIMEOUT", 1)
    process = client.WatchedClient.process_message

    def lose(self, msg, cell, cell_index):
        if "lost" in cell.source and msg["msg_type"] == "status":
            return None
        return process(self, msg, cell, cell_index)

    monkeypatch.setattr(client.WatchedClient, "process_message", lose)
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb", "print('kept')", "'lost'"
    )
    result = run_once(place)
    assert "faster than could be read" in result.problem
    assert "kept" in result.output.read_text()


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


def test_paths_may_be_long_and_have_braces(place, monkeypatch):
    moved = place / ("a{b}" + "c" * 90)
    moved.mkdir()
    for name in ("params", "notebooks"):
        (place / name).rename(moved / name)
    monkeypatch.setattr(tempfile, "tempdir", str(moved))
    result = run_once(moved)
    assert result.status == "done", result.problem
    assert result.output.is_relative_to(moved)


def test_a_run_that_has_no_kernel_leaves_no_older_copy(place, monkeypatch):
    output = run_once(place).output
    assert output.exists()
    monkeypatch.setattr(
        execute.Execution, "_execute", lambda self, hidden: ": no kernel"
    )
    assert run_once(place, force=True).status == "failed"
    assert not output.exists()


def test_what_decides_the_figures_decides_whether_to_run(place, monkeypatch):
    assert run_once(place).status == "done"
    assert run_once(place).status == "unchanged"
    monkeypatch.delenv("NLP_HELPERS_FLOAT32")
    assert run_once(place).status == "done"
    monkeypatch.setattr(record, "uses_gpu", lambda values: True)
    assert run_once(place).status == "done"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert run_once(place).status == "done"
    [task] = tasks.plan("offline", ("01",))
    stage = stages.read_stages()[NAME]
    stricter = stage.model_copy(update={"artifacts": ["figures/new.png"]})
    keys = {record.describe(task, one)["key"] for one in (stage, stricter)}
    assert len(keys) == 2


def test_a_checkpoint_that_another_notebook_reads_is_an_input(tmp_path):
    path = tmp_path / "checkpoint" / "model.safetensors"
    path.parent.mkdir()
    hashes = set()
    for content in ("one training", "another"):
        path.write_text(content)
        hashes.add(record.hash_outputs(tmp_path, "05_bert_fine_tuning"))
    assert len(hashes) == 2


def test_hidden_gpus_are_not_used(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(record.shutil, "which", lambda name: f"/bin/{name}")
    assert record.uses_gpu({"device": "auto"})
    assert not record.uses_gpu({"device": "cpu"})
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not record.uses_gpu({"device": "auto"})


def test_a_notebook_without_a_stage_is_one_line(place):
    known = stages.read_stages()
    [task] = tasks.plan("offline", ("01",))
    del known[NAME]
    with pytest.raises(UserError, match=f"stages.yaml has no entry {NAME}; a"):
        stages.dependencies(known, {task.label: task})


def test_reviews_behind_a_link_are_inputs(place):
    elsewhere = place / "disk" / "books"
    elsewhere.mkdir(parents=True)
    (place / "reviews").mkdir()
    (place / "reviews" / "Books").symlink_to(elsewhere)
    before = record._describe_folder(str(place / "reviews"))
    (elsewhere / "part.jsonl").write_text("{}")
    after = record._describe_folder(str(place / "reviews"))
    for name in ("round", "and round"):  # 2 ** 40 ways, if all were gone
        (elsewhere / name).symlink_to(place / "reviews")
    assert record._describe_folder(str(place / "reviews")) == after
    other = place / "disk" / "films"
    shutil.copytree(elsewhere, other, symlinks=True)
    (place / "reviews" / "Books").unlink()
    (place / "reviews" / "Books").symlink_to(other)
    os.utime(other / "part.jsonl", (1, 1))
    assert record._describe_folder(str(place / "reviews")) != after
    (place / "reviews" / "Films").symlink_to(other)
    two = record._describe_folder(str(place / "reviews"))
    (place / "reviews" / "Films").unlink()
    (place / "reviews" / "Books").unlink()
    (place / "reviews" / "Books").symlink_to(elsewhere)
    assert two != record._describe_folder(str(place / "reviews")) == after
    (elsewhere / "part.jsonl").write_text("{ }")
    changed = record._describe_folder(str(place / "reviews"))
    assert len({before, after, changed}) == 3


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


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder of 1 MB; skip where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount).returncode:
        pytest.skip("this user cannot mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def move_outputs_to(place, folder):
    (place / "outputs").mkdir(exist_ok=True)
    (place / "outputs" / "offline").symlink_to(folder)


def test_a_full_disk_is_one_line_and_no_result(place, small_disk):
    move_outputs_to(place, small_disk)
    fill = "files.write_text(folder / 'large', 'x' * 2_000_000)"
    write_notebook(place / "notebooks" / f"{NAME}.ipynb", WRITE_METRICS, fill)
    done = command("run", "--plain-kernels", "01")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert check_nothing_is_half_written(place) == "failed"
    (small_disk / "filler").write_bytes(bytes(1000 * 1000))
    done = command("run", "--plain-kernels", "01")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_outputs_that_cannot_be_written_are_one_line(place, small_disk):
    move_outputs_to(place, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = command("run", "--plain-kernels", "01")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "Read-only file system" in line and "outputs/offline" in line


def test_a_cache_that_cannot_be_written_is_one_line(
    place, monkeypatch, small_disk
):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(small_disk))
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        "from nlp_helpers.models import loading",
        "loading.fetch_model('minilm-l6-mlm')",
    )
    result = run_once(place)
    assert "Read-only file system" in result.problem
    assert "NLP_HELPERS_CACHE" in result.problem


def test_parameters_that_are_not_yaml_are_one_line(place):
    path = place / "params" / "offline" / f"{NAME}.yaml"
    path.write_text("prompt: [unclosed\n")
    done = command("run", "01")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert f"{NAME}.yaml is not YAML" in line and "line 2" in line


def test_a_missing_kernel_is_one_line(place, monkeypatch):
    def nothing(self, name):
        raise execute.NoSuchKernel(name)

    monkeypatch.setattr(
        "jupyter_client.kernelspec.KernelSpecManager.get_kernel_spec", nothing
    )
    result = run_once(place)
    assert result.status == "failed"
    assert "no kernel python3" in result.problem
    assert "ipykernel install" in result.problem


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


def test_secrets_are_neither_taken_nor_kept(place, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", 'correct-"horse"-battery')
    token = "hf_" + "a1B2" * 9
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        f"import os; print(os.environ['MY_API_KEY'], 'hf_' + '{token[3:]}')",
        "for word in ('BEGIN', 'END'): print(f'-----{word} PRIVATE KEY-----')",
        WRITE_METRICS,
    )
    result = run_once(place)
    text = (place / "outputs" / "offline" / f"{NAME}.ipynb").read_text()
    assert "horse" not in text and token not in text
    assert "[removed] [removed]" in text and "END PRIVATE KEY" not in text
    assert "$MY_API_KEY" in result.problem
    assert "a Hugging Face token" in result.problem
    with pytest.raises(UserError, match="looks like a secret"):
        parameters.validate(NAME, {"hub_token": "x"}, "here")
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        f"raise ValueError('hf_' + '{token[3:]}')",
    )
    assert "ValueError: [removed]" in run_once(place).problem
    record_text = (place / "outputs/offline" / NAME / "run.json").read_text()
    assert token not in record_text


def test_metrics_keep_no_secrets_and_parameters_take_none(place, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "correct-horse")
    monkeypatch.setenv("OTHER_TOKEN", "correct-horse-battery")
    leak = "metrics | {'key': [os.environ['OTHER_TOKEN']]}"
    source = "import os\n" + WRITE_METRICS.replace("metrics)", f"{leak})")
    write_notebook(place / "notebooks" / f"{NAME}.ipynb", source)
    assert "metrics.json held" in run_once(place).problem
    metrics = place / "outputs" / "offline" / NAME / "metrics.json"
    assert json.loads(metrics.read_text())["key"] == ["[removed]"]
    path = place / "params" / "offline" / f"{NAME}.yaml"
    path.write_text(
        path.read_text().replace("what is name", "correct-horse-battery is")
    )
    problem = run_once(place).problem
    assert f"{NAME}: prompt holds the value of $" in problem
    assert "horse" not in problem + metrics.with_name("run.json").read_text()


def test_lists_and_halves_of_keys_are_secret_too(monkeypatch):
    monkeypatch.setenv("MY_SECRET", 'correct-"hörse"')
    with pytest.raises(UserError, match="x: sentences holds the value of"):
        secrets.refuse({"sentences": ["a", 'is correct-"hörse"']}, "x")
    start = "-----BEGIN RSA PRIVATE KEY-----"
    half = "\n".join([start, "MIIEpAIBAAKCAQEA" * 4, "mZ7Y" * 16])
    for text in (half, repr(half)):
        kept, kinds = secrets.remove(f"{text} and so on")
        assert "mZ7Y" not in kept and "MIIE" not in kept
        assert kept.endswith("and so on") and kinds == ["a private key"]


def test_a_private_key_goes_to_its_last_line():
    key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----x\nmZ7Y\n"
    key += "-----END PRIVATE KEY-----"
    text = f"a {key} b {key.replace('mZ7Y', 'Z7Ym')} c"
    assert secrets.remove(text)[0] == "a [removed] b [removed] c"


SEARCH = """
from nlp_helpers.runner import secrets
for text in ("sk-" * 10**5, "-----BEGIN PRIVATE KEY-----x " * 10**5):
    secrets.remove(text)
"""


def test_no_text_is_searched_again_from_each_of_its_places(python):
    """Else this would take minutes: once it stopped a whole run."""
    subprocess.run([python, "-c", SEARCH], check=True, timeout=60)


def test_a_secret_in_html_or_json_is_one_too(monkeypatch):
    monkeypatch.setenv("MY_PASSWORD", 'a&b-"correct"-horse')
    for text in (
        pd.DataFrame([os.environ["MY_PASSWORD"]])._repr_html_(),
        html.escape('<td>a&b-"correct"-horse</td>'),
        json.dumps({"key": 'a&b-"correct"-horse'}),
    ):
        kept, kinds = secrets.remove(text)
        assert "horse" not in kept and kinds == ["the value of $MY_PASSWORD"]
    value = 'it\'s-a-"long"-one'
    monkeypatch.setenv("MY_PASSWORD", value)
    assert "long" not in secrets.remove(repr(value))[0]


def test_html_of_scikit_learn_is_no_secret():
    html = LogisticRegression()._repr_html_()
    assert "sk-toggleable__label-arrow" in html
    assert secrets.remove(html) == (html, [])
    key = "sk-proj-" + "aB3-" * 8
    assert secrets.remove(f"'{key}'") == ("'[removed]'", ["an API key"])


def test_what_a_kernel_started_ends_with_it(place):
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        "import os, signal, subprocess, time, pathlib",
        "sleeper = subprocess.Popen(['sleep', '60'])",
        f"pathlib.Path({str(place)!r}, 'pid').write_text(str(sleeper.pid))",
        "time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)",
    )
    assert "SIGKILL" in run_once(place).problem
    pid = int((place / "pid").read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_is_cleaned_of_a_run_that_goes_on_somewhere(place):
    path = place / "outputs" / "offline" / NAME / "run.json"
    run_once(place)
    content = json.loads(path.read_text()) | {"status": "running"}
    path.write_text(json.dumps(content | {"host": "elsewhere", "pid": 1}))
    half = path.parent.with_name(f".{NAME}.ipynb")
    half.write_text("{")
    with folders.exclusive(path.parent):  # a lock reaches other machines
        assert "running" in command("status").stdout
        command("clean")
        assert half.exists()
    assert "stale" in command("status").stdout
    command("clean")
    assert not half.exists()


@pytest.mark.parametrize("text", ["[]", "{}", '{"pid": 1}', "{"])
def test_a_damaged_record_is_shown_as_such(place, text):
    path = place / "outputs" / "offline" / NAME / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    done = command("status")
    assert done.returncode == 0 and "unreadable" in done.stdout
    assert "0.0 MB were removed" in command("clean").stdout


def test_a_package_without_a_name_keeps_nobody_from_running(
    tmp_path, monkeypatch
):
    (tmp_path / "broken-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert "papermill" in record._packages.__wrapped__()


def test_a_second_signal_does_not_block_the_first(place):
    """Stopping an execution takes a while; here it takes a signal."""
    runner = pipeline.Runner(use_forkserver=False)
    stopped = []

    def stop():
        stopped.append(len(stopped))
        if len(stopped) == 1:
            signal.raise_signal(signal.SIGTERM)

    runner.active = {"01": SimpleNamespace(stop=stop)}
    with pytest.raises(SystemExit) as ended, runner._interruptible():
        faulthandler.dump_traceback_later(20, exit=True)
        signal.raise_signal(signal.SIGTERM)
    faulthandler.cancel_dump_traceback_later()
    assert ended.value.code == 128 + 15
    assert stopped == [0, 1]


def test_status_and_clean_know_what_a_killed_run_left(place):
    folder = place / "outputs" / "offline" / NAME
    run_once(place)
    content = json.loads((folder / "run.json").read_text())
    content |= {"status": "running"}
    (folder / "run.json").write_text(json.dumps(content))
    half = folder.with_name(f".{NAME}.ipynb")
    half.write_text("{")
    unfinished = [folder / ".shards-0123", folder / "training/1/checkpoints"]
    unfinished += [folder / ".ipynb_checkpoints"]  # JupyterLab's
    going_on = [folder / "training/2" / p for p in ("checkpoints", ".best-01")]
    for work in (*unfinished, *going_on):
        work.mkdir(parents=True)
        (work / "work").write_text("")
    (folder / "training/1/history.json").write_text("{}")
    done = command("status")
    assert f"offline/{NAME}" in done.stdout and "stale" in done.stdout
    dry = command("clean", "--dry-run")
    assert f".{NAME}.ipynb" in dry.stdout and half.exists()
    assert f".{NAME}.ipynb" in command("clean").stdout
    assert not half.exists()
    assert all((work / "work").exists() for work in unfinished)
    run_once(place, force=True)
    with folders.lock(folder / "shards"):  # a notebook is at it
        command("clean")
        assert unfinished[0].exists()
    with folders.atomic_folder(folder / "parts") as staging:
        command("clean")
        assert staging.exists()
    shutil.rmtree(folder / "parts")
    command("clean")
    assert not any(work.exists() for work in unfinished)
    assert all((work / "work").exists() for work in going_on)
    history = folder / "training/1/history.json"
    unfinished[1].mkdir()
    history.write_text('{"of": "a later training"}')
    command("clean")
    assert unfinished[1].exists()
    history.write_text("{}")
    command("clean")
    assert not unfinished[1].exists()
    assert run_once(place).status == "unchanged"
    assert (folder / "metrics.json").exists()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("at http://robot:hunter2@proxy:80", "at http://[removed]@proxy:80"),
        ("redis://:hunter2@host", "redis://[removed]@host"),
        ("at http://proxy:80/a:b@c", None),
        ("http://localhost:8888?user=joe@example.org", None),
        ('{"url":"http://host:8080","email":"me@x.com"}', None),
        ("http://x:1@h and {x:1}", None),
        ("github_pat_" + "a1B2" * 10, "[removed]"),
        ("glpat-" + "a1B2" * 5, "[removed]"),
        ("pypi-" + "a1B2" * 20, "[removed]"),
        ("AIza" + "a1B2c" * 7, "[removed]"),
        ("MY_SSH_KEY is correct-horse", "MY_SSH_KEY is [removed]"),
        ("in correct-pony", "in [removed]"),
    ],
)
def test_other_forms_of_secrets(monkeypatch, text, kept):
    monkeypatch.setenv("MY_SSH_KEY", "correct-horse")
    monkeypatch.setenv("MYSQL_PWD", "correct-pony")
    monkeypatch.setenv("PWD", "http://proxy:80")  # a folder, no password
    assert secrets.remove(text)[0] == (kept or text)
    node = {"best": {text: 1}}
    assert bool(secrets.remove_from(node)) == bool(kept)
    assert node == {"best": {kept or text: 1}}
