"""What may go wrong with a kernel or a disk, done to real runs."""

import json
import random
import subprocess
import tempfile
import threading
import time
from contextlib import suppress

import papermill
import psutil
import pytest
from runs import (
    NAME,
    WRITE_METRICS,
    check_nothing_is_half_written,
    command,
    run_once,
    write_notebook,
)

from nlp_helpers.runner import execute


@pytest.mark.slow
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


def test_a_run_that_has_no_kernel_leaves_the_older_copy(place, monkeypatch):
    output = run_once(place).output
    good = output.read_bytes()

    def fail(*arguments, **settings):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    result = run_once(place, force=True)
    assert result.status == "failed" and "no kernel" in result.problem
    assert output.read_bytes() == good
    assert result.output == output  # there is no notebook of this run


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


def test_paths_may_be_long_and_have_braces(place, monkeypatch):
    moved = place / ("a{b}" + "c" * 90)
    moved.mkdir()
    for name in ("params", "notebooks"):
        (place / name).rename(moved / name)
    monkeypatch.setattr(tempfile, "tempdir", str(moved))
    result = run_once(moved)
    assert result.status == "done", result.problem
    assert result.output.is_relative_to(moved)


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


def test_a_system_error_of_a_cell_is_one_line(place):
    """Reading this file fails with a number that nobody thinks of."""
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        "from nlp_helpers import session; session.start(7, 'cpu')",
        "from nlp_helpers.core import files; from pathlib import Path",
        "files.sha256(Path('/proc/self/mem'))",
    )
    result = run_once(place)
    assert result.problem.endswith(
        "OSError: [Errno 5] Input/output error: '/proc/self/mem'"
    )
    cells = json.loads(result.output.read_text())["cells"]
    assert cells[-1]["outputs"][-1]["traceback"] == [
        "OSError: /proc/self/mem: Input/output error; check the disk, or move"
        " the project elsewhere"
    ]


def test_a_file_in_the_place_of_outputs_is_one_line(place):
    (place / "outputs").touch()
    done = command("run", "--plain-kernels", "01")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert f"{place}/outputs" in line and "Not a directory" in line


def test_outputs_may_be_a_link_to_another_disk(place, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk") / "results"
    (place / "outputs").symlink_to(disk)
    done = command("run", "--plain-kernels", "01")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "outputs: File exists; it is a link that leads nowhere" in line
    disk.mkdir()
    assert run_once(place).status == "done"
    assert run_once(place).status == "unchanged"
    assert run_once(place, force=True).status == "done"
    assert (disk / "offline" / NAME / "metrics.json").exists()
    assert f"offline/{NAME}" in command("status").stdout
    assert "0.0 MB were removed" in command("clean").stdout
