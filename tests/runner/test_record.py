"""What decides whether a notebook is run again."""

import os
import shutil

from runs import NAME, run_once

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


def test_hidden_gpus_are_not_used(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(record.shutil, "which", lambda name: f"/bin/{name}")
    assert record.uses_gpu({"device": "auto"})
    assert not record.uses_gpu({"device": "cpu"})
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not record.uses_gpu({"device": "auto"})


def test_a_package_without_a_name_keeps_nobody_from_running(
    tmp_path, monkeypatch
):
    (tmp_path / "broken-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert "papermill" in record._packages.__wrapped__()
