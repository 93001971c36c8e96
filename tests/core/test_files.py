import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from nlp_helpers.core import files, folders
from nlp_helpers.core.errors import UserError

HALF_WRITTEN = """
import sys, time
from pathlib import Path
from nlp_helpers.core import files, folders
with folders.atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "first").write_text("new")
    print("staged", flush=True)
    time.sleep(60)
"""


def test_a_staged_folder_replaces_the_old_one(tmp_path):
    target = tmp_path / "result"
    for content in ("old", "new"):
        with folders.atomic_folder(target, locked=False) as folder:
            (folder / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / "result"
    with folders.atomic_folder(target, locked=False) as folder:
        (folder / "old").write_text("old")
    with (
        pytest.raises(ZeroDivisionError),
        folders.atomic_folder(target, locked=False) as new,
    ):
        (new / "new").write_text("new")
        _ = 1 / 0
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_an_old_folder_that_cannot_be_removed_costs_nothing(
    tmp_path, monkeypatch
):
    target = tmp_path / "result"
    with folders.atomic_folder(target) as folder:
        (folder / "old").write_text("old")
    monkeypatch.setattr(folders.shutil, "rmtree", lambda *_, **__: None)
    with folders.atomic_folder(target) as folder:
        (folder / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_killed_process_leaves_the_old_folder(tmp_path, python):
    target = tmp_path / "result"
    with folders.atomic_folder(target) as folder:
        (folder / "old").write_text("old")
    process = subprocess.Popen(
        [python, "-c", HALF_WRITTEN, str(target)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "staged\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [path.name for path in target.iterdir()] == ["old"]


MADE_ONCE = """
import sys, time
from pathlib import Path
from nlp_helpers.core import files, folders
def make(folder):
    print("made", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "content").write_text("whole")
assert (folders.cached_folder(Path(sys.argv[1]), make) / "content").is_file()
"""


def test_of_several_processes_one_makes_a_folder(tmp_path, python):
    target = tmp_path / "model[1]"
    killed = subprocess.Popen(
        [python, "-c", MADE_ONCE, str(target), "60"], stdout=subprocess.PIPE
    )
    assert killed.stdout.readline() == b"made\n"
    assert list(tmp_path.glob(".*-*"))
    killed.kill()
    killed.wait()
    killed.stdout.close()
    processes = [
        subprocess.Popen(
            [python, "-c", MADE_ONCE, str(target), "0.5"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(said) == ["", "", "", "made\n"]
    assert {path.name for path in tmp_path.iterdir()} <= {
        "model[1]",
        ".model[1].lock",
    }


def test_a_failed_rename_puts_the_old_folder_back(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").touch()
    with pytest.raises(FileNotFoundError):
        folders.replace_folder(tmp_path / "missing", tmp_path / "target")
    assert (tmp_path / "target" / "old").is_file()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from nlp_helpers.core import files, folders
from nlp_helpers.core.errors import run_command
def main():
    with folders.atomic_folder(Path(sys.argv[1]), locked=False) as folder:
        save_file({"a": torch.zeros(10**6)}, folder / "model.safetensors")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))
run_command(main)
"""


def test_weights_that_find_no_room_are_one_line(tmp_path, python):
    done = subprocess.run(
        [python, "-c", FULL_DISK, str(tmp_path / "model")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "free some space, or move the cache" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_the_umask_says_who_may_read(tmp_path, mask, mode):
    (tmp_path / "elsewhere").touch(0o640)
    before = os.umask(mask)
    try:
        with folders.atomic_folder(tmp_path / "result") as folder:
            (folder / "inner").mkdir()
            secret = folder / "inner" / "weights"
            secret.write_text("like safetensors")
            secret.chmod(0o600)
            (folder / "link").symlink_to(tmp_path / "elsewhere")
    finally:
        os.umask(before)
    found = tmp_path / "result" / "inner" / "weights"
    assert found.stat().st_mode & 0o777 == mode
    assert found.parent.stat().st_mode & 0o777 == 0o777 & ~mask
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_process_left_goes_when_it_is_made_again(tmp_path):
    (tmp_path / ".parts-0a1b").mkdir()
    with folders.atomic_folder(tmp_path / "parts") as folder:
        (folder / "part").touch()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [
        "parts"
    ]


def test_who_waits_long_for_another_process_says_so(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(folders, "PATIENCE", 0)
    target = tmp_path / "parts"
    taken = threading.Event()

    def make():
        with FileLock(files.HalfMade(target).lock_path):
            taken.set()
            time.sleep(0.5)

    other = threading.Thread(target=make)
    other.start()
    taken.wait()
    with folders.lock(target):
        other.join()
    assert f"remove {tmp_path}/.parts.lock" in capsys.readouterr().err


def test_json_that_cannot_be_written_is_one_line(tmp_path):
    code = """
import errno, sys
from pathlib import Path
from nlp_helpers.core import files, folders
from nlp_helpers.core.errors import run_command
def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")
Path.write_text = full
run_command(lambda: files.write_json(Path(sys.argv[1]), {}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "metrics.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "metrics.json: No space left on device; free" in done.stderr


def test_json_is_written_whole_and_without_nan(tmp_path):
    path = tmp_path / "folder" / "metrics.json"
    files.write_json(path, {"a": 0.5})
    with pytest.raises(ValueError):
        files.write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n  "a": 0.5\n}\n'
    assert [path.name for path in path.parent.iterdir()] == ["metrics.json"]


def test_a_wrong_hash_names_the_file_and_the_remedy(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    files.check_sha256(path, right, "")  # FIPS 180-2, appendix B.1
    path.write_bytes(b"abd")
    with pytest.raises(UserError, match="weights has sha256.*; get it again"):
        files.check_sha256(path, right, "get it again")
    path.unlink()
    with pytest.raises(UserError, match="weights is missing; get it again"):
        files.check_sha256(path, right, "get it again")


def test_a_kill_between_two_renames_costs_no_good_folder(tmp_path):
    """Even if the next attempt fails too."""
    target = tmp_path / "parts"
    with folders.atomic_folder(target) as folder:
        (folder / "good").touch()
    staging = files.HalfMade(target).path()
    target.rename(staging.with_name(f"{staging.name}-old"))
    staging.mkdir()  # the kill comes here
    for hidden in files.HalfMade(target).leftovers():
        assert files.HalfMade.of(hidden) == files.HalfMade(target)
    with pytest.raises(ZeroDivisionError):
        with folders.atomic_folder(target):
            _ = 1 / 0
    assert [path.name for path in target.iterdir()] == ["good"]
    assert not files.HalfMade(target).leftovers()
