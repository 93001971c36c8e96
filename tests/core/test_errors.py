"""What the system says reaches the reader as one line with a file's name."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from nlp_helpers import session
from nlp_helpers.core import errors, files, folders
from nlp_helpers.core.errors import UserError, run_command


def read_what_has_no_bytes(place):
    files.sha256(Path("/proc/self/mem"))


def write_below_a_file(place):
    (place / "file").touch()
    files.write_json(place / "file" / "metrics.json", {})


def write_in_the_place_of_a_ring(place):
    (place / "ring").symlink_to(place / "ring")
    with folders.atomic_folder(place / "ring" / "parts"):
        pass


def read_a_ring(place):
    (place / "ring").symlink_to(place / "ring")
    files.read_json(place / "ring")


def write_a_long_name(place):
    files.write_json(place / ("a" * 250), {})  # the hidden one is longer


def read_a_folder(place):
    files.read_json(place)


def run_a_missing_program(place):
    subprocess.run([place / "program"])


@pytest.mark.parametrize(
    ("act", "name", "cause", "remedy"),
    [
        (read_what_has_no_bytes, "/proc/self/mem", errno.EIO, "check the d"),
        (write_below_a_file, "file", errno.ENOTDIR, "remove the file that"),
        (write_in_the_place_of_a_ring, "ring", errno.EEXIST, "leads nowhere"),
        (read_a_ring, "ring", errno.ELOOP, "remove the links"),
        (write_a_long_name, ".aaa", errno.ENAMETOOLONG, "give it a shorter"),
        (read_a_folder, "", errno.EISDIR, "remove the folder that stands"),
        (run_a_missing_program, "program", errno.ENOENT, "correct the path"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the numbers of Linux")
def test_a_command_ends_with_one_line(
    tmp_path, capsys, act, name, cause, remedy
):
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: act(tmp_path))
    [line] = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    where = name if name.startswith("/") else f"{tmp_path}/{name}".rstrip("/")
    assert line.startswith(f"error: {where}")
    assert os.strerror(cause) in line and remedy in line


def test_every_number_has_a_remedy():
    for number in errno.errorcode:
        line = errors.explain(OSError(number, os.strerror(number), "a.json"))
        assert line.startswith(f"a.json: {os.strerror(number)}; ")
    assert "writable, or move the project" in errors.explain(
        PermissionError(errno.EACCES, "no", "a")
    )
    both = OSError(errno.EXDEV, "no", "a", None, "b")
    assert errors.explain(both).startswith("a to b: no; see whether its disk")
    assert errors.explain(OSError("two\nlines")) == "two lines"


def test_a_mistake_of_the_program_keeps_its_traceback():
    for mistake in (ValueError, AssertionError, TypeError):

        def fail(mistake=mistake):
            raise mistake("a bug")

        with pytest.raises(mistake):
            run_command(fail)


def test_a_broken_connection_is_not_taken_for_a_broken_disk(tmp_path):
    with pytest.raises(ConnectionResetError):
        with files.writing(tmp_path / "file"):
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset")
    with pytest.raises(UserError, match="file: Input/output error; check"):
        with files.writing(tmp_path / "file"):
            raise OSError(errno.EIO, "Input/output error")


def test_a_cell_shows_one_line(tmp_path, monkeypatch, capsys):
    shell = InteractiveShell()
    monkeypatch.setattr(session, "get_ipython", lambda: shell)
    session.start(7, "cpu")
    shell.run_cell("import os\nfrom nlp_helpers.core import files\n")
    capsys.readouterr()
    shell.run_cell(f"files.read_json(files.Path({str(tmp_path)!r}))")
    shown = capsys.readouterr()
    [line] = (shown.out + shown.err).strip().splitlines()
    assert f"IsADirectoryError: {tmp_path}: Is a directory; remove" in line
    assert type(shell.last_execution_result.error_in_exec) is IsADirectoryError
    shell.run_cell("os.listdir('no such folder')")
    shown = capsys.readouterr()
    assert "Traceback" in shown.out and "no such folder" in shown.out
