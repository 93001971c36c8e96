import os
import signal
import subprocess

import pytest

from nlp_helpers import files
from nlp_helpers.errors import UserError

HALF_WRITTEN = """
import sys, time
from pathlib import Path
from nlp_helpers import files
with files.staged_folder(Path(sys.argv[1])) as folder:
    (folder / "first").write_text("new")
    print("staged", flush=True)
    time.sleep(60)
"""


def test_a_staged_folder_replaces_the_old_one(tmp_path):
    target = tmp_path / "result"
    for content in ("old", "new"):
        with files.staged_folder(target) as folder:
            (folder / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / "result"
    with files.staged_folder(target) as folder:
        (folder / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), files.staged_folder(target) as new:
        (new / "new").write_text("new")
        _ = 1 / 0
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_an_old_folder_that_cannot_be_removed_costs_nothing(
    tmp_path, monkeypatch
):
    target = tmp_path / "result"
    with files.staged_folder(target) as folder:
        (folder / "old").write_text("old")
    monkeypatch.setattr(files.shutil, "rmtree", lambda *_, **__: None)
    with files.staged_folder(target) as folder:
        (folder / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_killed_process_leaves_the_old_folder(tmp_path, python):
    target = tmp_path / "result"
    with files.staged_folder(target) as folder:
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
    files.check_sha256(path, right)  # FIPS 180-2, appendix B.1
    path.write_bytes(b"abd")
    with pytest.raises(UserError, match="weights has sha256.*make distclean"):
        files.check_sha256(path, right)
