"""What the set-up cell of a hosted machine calls."""

import importlib.metadata
import zipfile

import pytest

from nlp_helpers import hosted


def test_results_are_kept_where_one_asks(tmp_path, capsys):
    folder = tmp_path / "05_bert_fine_tuning"
    (folder / "figures").mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    (folder / "figures" / "a.png").write_bytes(b"png")
    hosted.keep(folder, "")
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    hosted.keep(folder, "zip")
    with zipfile.ZipFile(tmp_path / f"{folder.name}.zip") as archive:
        assert {"metrics.json", "figures/a.png"} <= set(archive.namelist())
    for _ in range(2):  # the second time over the first
        hosted.keep(folder, str(tmp_path / "drive"))
        kept = tmp_path / "drive" / folder.name
        assert (kept / "figures" / "a.png").read_bytes() == b"png"


def test_what_is_too_old_is_named_and_the_rest_is_not(monkeypatch):
    assert not [
        text for text in hosted._required() if hosted._is_too_old(text)
    ]
    assert hosted._is_too_old("numpy>=99")
    assert not hosted._is_too_old("not-installed>=1")
    assert not hosted._is_too_old("torch<9,>=2.9")  # a build is no release
    required = {
        hosted.re.split("[<>]", text)[0] for text in hosted._required()
    }
    assert {"torch", "transformers", "duckdb"} <= required


def test_a_pip_that_fails_is_one_line(monkeypatch):
    monkeypatch.setitem(hosted.PACKAGES, "01_next_token", ["no-such==0.0.0.1"])
    monkeypatch.setattr(hosted, "PINS", {})
    monkeypatch.setattr(hosted, "INSTALL", [*hosted.INSTALL, "--no-index"])
    with pytest.raises(hosted.SetupError) as error:
        hosted.install("01_next_token")
    [line] = error.value._render_traceback_()
    assert line.startswith("error: pip could not install no-such==0.0.0.1")
    assert "run this cell again" in line


def test_nothing_missing_installs_nothing(capsys):
    hosted.install("01_next_token")
    out = capsys.readouterr().out
    assert "installed nothing more in" in out
    assert importlib.metadata.version("torch") in out


def test_a_missing_requirement_is_installed(monkeypatch, capsys):
    """Of those that such a machine has as a rule, openpyxl is not there."""
    absent = {"openpyxl", "tokenizers"}
    version = hosted._version
    commands = []

    def run(command, **options):
        commands.append(command)
        absent.clear()
        return hosted.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(
        hosted,
        "_version",
        lambda name: None if name in absent else version(name),
    )
    monkeypatch.setattr(hosted.subprocess, "run", run)
    hosted.install("01_next_token")
    [command] = commands
    assert command[:-2] == hosted.INSTALL
    assert command[-2:] == ["tokenizers", "openpyxl>=3.1"]
    assert "installed tokenizers, openpyxl>=3.1 in" in capsys.readouterr().out


def test_a_pinned_requirement_is_installed_once(monkeypatch):
    monkeypatch.setattr(hosted, "_version", lambda name: None)
    commands = []

    def run(command, **options):
        commands.append(command)
        return hosted.subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(hosted.subprocess, "run", run)
    with pytest.raises(hosted.SetupError):
        hosted.install("01_next_token")
    names = [hosted._name(text) for text in commands[0][len(hosted.INSTALL) :]]
    assert len(names) == len(set(names))
    assert {"ruamel-yaml", "vadersentiment", "torch"} <= set(names)
