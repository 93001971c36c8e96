"""What decides whether a notebook is run again."""

import os
import shutil
import subprocess
from dataclasses import replace

from runs import NAME, run_once, write_notebook

from nlp_helpers.runner import record, stages, tasks


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


def test_reviews_behind_a_link_are_inputs(place):
    write_notebook(place / "notebooks" / "04_amazon_preprocessing.ipynb")
    [task] = tasks.plan("offline", ("04",))
    folder = {"review_source": str(place / "reviews")}
    task = replace(task, values=task.values | folder)
    stage = stages.read_stages()[task.notebook]

    def describe():
        return record.describe(task, stage)["reviews"]

    elsewhere = place / "disk" / "books"
    elsewhere.mkdir(parents=True)
    (place / "reviews").mkdir()
    (place / "reviews" / "Books").symlink_to(elsewhere)
    before = describe()
    (elsewhere / "part.jsonl").write_text("{}")
    after = describe()
    for name in ("round", "and round"):  # 2 ** 40 ways, if all were gone
        (elsewhere / name).symlink_to(place / "reviews")
    assert describe() == after
    other = place / "disk" / "films"
    shutil.copytree(elsewhere, other, symlinks=True)
    (place / "reviews" / "Books").unlink()
    (place / "reviews" / "Books").symlink_to(other)
    os.utime(other / "part.jsonl", (1, 1))
    assert describe() != after
    (place / "reviews" / "Films").symlink_to(other)
    two = describe()
    (place / "reviews" / "Films").unlink()
    (place / "reviews" / "Books").unlink()
    (place / "reviews" / "Books").symlink_to(elsewhere)
    assert two != describe() == after
    (elsewhere / "part.jsonl").write_text("{ }")
    changed = describe()
    assert len({before, after, changed}) == 3


def test_hidden_gpus_are_not_used(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(record.shutil, "which", lambda name: f"/bin/{name}")
    assert record.uses_gpu({"device": "auto"})
    assert not record.uses_gpu({"device": "cpu"})
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not record.uses_gpu({"device": "auto"})


PRINT_PACKAGES = """
from nlp_helpers.runner import record
print("papermill" in record.environment()["packages"])
"""


def test_a_package_without_a_name_keeps_nobody_from_running(
    python, tmp_path, monkeypatch
):
    """In a process of its own: the packages are read once in each."""
    (tmp_path / "broken-1.0.dist-info").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = subprocess.run(
        [python, "-c", PRINT_PACKAGES], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
