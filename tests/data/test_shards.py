import json
import re
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from small_bert import small_config
from transformers import BertConfig, BertModel

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import reading, shards, splitting, tokenize_worker
from nlp_helpers.models import loading

TEXTS = ["good", "A really good camera, but heavy.", "no " * 30]
ROWS = 30_000


@pytest.fixture(scope="module")
def tokenizer():
    return loading.load_tokenizer("minilm-l6")


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Reviews made of the packaged ones' words, read and split."""
    folder = tmp_path_factory.mktemp("reviews")
    generator = np.random.default_rng(0)
    words = (TEXTS[1] + " the battery was unbelievably short-lived !").split()
    with (folder / "reviews.json").open("w") as file:
        for number in range(ROWS):
            text = " ".join(generator.choice(words, generator.integers(1, 60)))
            record = {
                "reviewText": f"{number} {text}",
                "overall": number % 5 + 1,
            }
            file.write(json.dumps(record) + "\n")
    reading.read_reviews({"a": [folder / "reviews.json"]}, folder / "parts")
    splitting.split(folder / "parts", folder / "splits", test_size=0.2)
    return folder / "splits"


@pytest.fixture(scope="module")
def written(splits):
    """The shards as this process writes them."""
    target = splits.parent / "shards"
    shards.write_shards(splits, target, "minilm-l6", 32)
    return target


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_texts_longer_than_the_model_reads_are_not_made(
    root, splits, tokenizer
):
    config = small_config(max_position_embeddings=64)
    BertModel(config).save_pretrained(root / "mine")
    tokenizer.save_pretrained(root / "mine")
    short = loading.load_tokenizer("mine")
    assert max(map(len, shards.encode(["no " * 99], short, 64))) == 64
    message = "max_length is 65, and the model reads 64 tokens .* set max_len"
    with pytest.raises(UserError, match=message):
        shards.encode(["no"], short, 65)
    with pytest.raises(UserError, match=message):
        shards.write_shards(splits, root / "shards", "mine", 65)


def test_texts_are_framed_cut_and_left_unpadded(tokenizer):
    rows = shards.encode(TEXTS, tokenizer, max_length=10)
    for row in rows:
        assert row[0] == tokenizer.cls_token_id
        assert row[-1] == tokenizer.sep_token_id
        assert tokenizer.pad_token_id not in row
    assert [len(row) for row in rows] == [3, 10, 10]


def test_shards_give_back_every_row_in_order(splits, written, tokenizer):
    for name in splitting.SPLITS:
        table = reading.query_parquet(
            "FROM rows", rows=splits / f"{name}.parquet"
        )
        tokens = shards.read_shards(written, name, "minilm-l6")
        assert len(tokens) == len(table)
        names = [tokens.names[label] for label in tokens.labels]
        assert names == table["label"].tolist()
        expected = shards.encode(table["text"][::97], tokenizer, 32)
        assert [i.tolist() for i in tokens.input_ids[::97]] == expected
    groups = len(list(written.glob("train-*.parquet")))
    assert groups == -(-24_000 // splitting.ROWS_PER_GROUP)


def test_the_description_counts_rows_and_lengths(splits, written):
    found = json.loads((written / "shards.json").read_text())
    assert sum(found["rows"].values()) == ROWS
    tokens = shards.read_shards(written, "validation", "minilm-l6")
    lengths = np.bincount([len(ids) for ids in tokens.input_ids], minlength=33)
    assert found["lengths"]["validation"] == lengths.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": 1},
        {"num_workers": 2},
        {"num_workers": 4},
    ],
    ids=str,
)
def test_shards_are_the_same_bytes_however_they_are_made(
    splits, written, tmp_path, options
):
    shards.write_shards(
        splits, tmp_path / "shards", "minilm-l6", 32, **options
    )
    assert contents(tmp_path / "shards") == contents(written)


def kill_workers(folder, marker, processes, killed):
    """Kill the processes that `marker` fits once the first shard is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(folder.glob(".shards-*/*.parquet")):
            for process in processes():
                if not process.is_running():
                    continue
                if re.search(marker, " ".join(process.cmdline())):
                    # As if it had been writing just then.
                    [work] = folder.glob(".shards-*")
                    (work / f".x.parquet-{process.pid}").touch()
                    process.send_signal(signal.SIGKILL)
                    killed.append(process.pid)
            if killed:
                return
        time.sleep(0.01)


def write_while_killing(splits, folder, marker, processes, **options):
    killed = []
    killer = threading.Thread(
        target=kill_workers, args=(folder, marker, processes, killed)
    )
    killer.start()
    shards.write_shards(splits, folder / "shards", "minilm-l6", 32, **options)
    killer.join()
    assert killed


def test_killed_workers_shards_are_done_again(splits, written, tmp_path):
    write_while_killing(
        splits,
        tmp_path,
        "multiprocessing.spawn",
        psutil.Process().children,  # and nobody else's
        num_workers=2,
    )
    assert contents(tmp_path / "shards") == contents(written)


@pytest.mark.slow
def test_ray_makes_the_same_shards_though_its_workers_are_killed(
    splits, written, tmp_path, cluster
):
    write_while_killing(
        splits,
        tmp_path,
        "^ray::tokenise_group",
        lambda: cluster.children(recursive=True),
        engine="ray",
    )
    assert contents(tmp_path / "shards") == contents(written)


def test_two_calls_at_once_do_not_undo_each_other(splits, tmp_path):
    def write(max_length):
        target = tmp_path / "shards"
        found = shards.write_shards(splits, target, "minilm-l6", max_length)
        return found["max_length"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, [8, 9, 8, 9])) == [8, 9, 8, 9]
    assert not list(tmp_path.glob(".shards-*"))


def test_an_interrupted_call_goes_on_with_what_is_missing(
    splits, written, tmp_path, monkeypatch
):
    done = []
    original = tokenize_worker.tokenise_group
    lock = threading.Lock()  # several threads make shards

    def stop_at_third(path, group, target, *rest):
        with lock:
            if len(done) == 3:
                raise KeyboardInterrupt
            done.append(target.name)
        return original(path, group, target, *rest)

    target = tmp_path / "shards"
    monkeypatch.setattr(tokenize_worker, "tokenise_group", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        shards.write_shards(splits, target, "minilm-l6", 32)
    assert not target.exists() and len(done) == 3
    monkeypatch.setattr(tokenize_worker, "tokenise_group", original)
    [work] = tmp_path.glob(".shards-*")
    before = {p: p.stat().st_mtime_ns for p in work.glob("*.parquet")}
    assert len(before) == 3
    shards.write_shards(splits, target, "minilm-l6", 32)
    assert contents(target) == contents(written)
    for path, changed in before.items():
        assert (target / path.name).stat().st_mtime_ns == changed
    stamps = {p.name: p.stat().st_mtime_ns for p in target.iterdir()}
    shards.write_shards(splits, target, "minilm-l6", 32)
    again = {p.name: p.stat().st_mtime_ns for p in target.iterdir()}
    assert stamps == again  # nothing was to be done
    shards.write_shards(splits, target, "minilm-l6", 16)
    assert contents(target) != contents(written)


def test_a_lost_shard_is_noticed(splits, tmp_path):
    target = tmp_path / "shards"
    shards.write_shards(splits, target, "minilm-l6", 32)
    (target / "train-00001.parquet").unlink()
    with pytest.raises(UserError, match="rows of train, 24000 were written"):
        shards.read_shards(target, "train", "minilm-l6")
    shards.write_shards(splits, target, "minilm-l6", 32)
    assert len(shards.read_shards(target, "train", "minilm-l6")) == 24000


def test_another_vocabulary_under_the_same_name_makes_other_shards(
    splits, root, tokenizer
):
    tokenizer.save_pretrained(root / "mine")
    BertConfig().save_pretrained(root / "mine")
    shards.write_shards(splits, root / "shards", "mine", 8)
    before = shards.read_shards(root / "shards", "train", "mine")
    rules = root / "mine" / "tokenizer.json"
    good, but = tokenizer.convert_tokens_to_ids(["good", "but"])
    swapped = json.loads(rules.read_text())
    words = swapped["model"]["vocab"]
    words["good"], words["but"] = but, good
    rules.write_text(json.dumps(swapped))
    with pytest.raises(UserError, match="tokenizer of mine has changed sin"):
        shards.read_shards(root / "shards", "train", "mine")
    shards.write_shards(splits, root / "shards", "mine", 8)
    after = shards.read_shards(root / "shards", "train", "mine")
    changed = np.concatenate(before.input_ids) != np.concatenate(
        after.input_ids
    )
    ids = np.concatenate(before.input_ids)[changed]
    assert set(ids.tolist()) == {good, but}


def test_shards_of_another_tokenizer_are_refused(written):
    with pytest.raises(UserError, match="tokenizer of minilm-l6, not of gpt2"):
        shards.read_shards(written, "train", "gpt2")


def test_missing_shards_name_the_notebook_to_run(tmp_path):
    with pytest.raises(UserError, match="run notebook 04 first"):
        shards.read_shards(tmp_path, "train", "minilm-l6")


def test_shards_of_other_texts_than_lie_beside_them_are_refused(
    written, tmp_path
):
    for name in ("splits", "shards"):
        shutil.copytree(written.parent / name, tmp_path / name)
    shards.read_shards(tmp_path / "shards", "train", "minilm-l6")
    # As if notebook 04 had been stopped between the two.
    validation = tmp_path / "splits" / "validation.parquet"
    validation.replace(tmp_path / "splits" / "train.parquet")
    with pytest.raises(
        UserError, match="another train.parquet .* notebook 04"
    ):
        shards.read_shards(tmp_path / "shards", "train", "minilm-l6")


def test_no_shards_are_written_for_what_cannot_be_trained(root):
    with pytest.raises(UserError, match="gpt2 is of type gpt2, which note"):
        shards.write_shards(root, root / "shards", "gpt2", 32)
    assert not (root / "shards").exists()
