"""What killed runs leave, and what of it is removed."""

import json
import shutil

import pytest
from runs import NAME, command, run_once

from nlp_helpers.core import folders


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
