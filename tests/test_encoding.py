import numpy as np
import pytest

from nlp_helpers import encoding, models, session
from nlp_helpers.errors import UserError

TEXTS = ["good", "A really good camera, but heavy.", "no " * 30]


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_tokenizer("minilm-l6")


@pytest.fixture
def shards(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "ROWS_PER_SHARD", 4)
    generator = np.random.default_rng(0)
    rows = [
        generator.integers(0, 30522, size).tolist() for size in range(1, 11)
    ]
    labels = [index % 3 for index in range(10)]
    folder = tmp_path / "shards"
    splits = {"train": (rows, labels), "validation": (rows[:2], labels[:2])}
    encoding.write_shards(folder, splits, "minilm-l6", 512)
    return folder, rows, labels


def test_texts_are_framed_cut_and_left_unpadded(tokenizer):
    rows = encoding.encode(TEXTS, tokenizer, max_length=10)
    for row in rows:
        assert row[0] == tokenizer.cls_token_id
        assert row[-1] == tokenizer.sep_token_id
        assert tokenizer.pad_token_id not in row
    assert [len(row) for row in rows] == [3, 10, 10]


def test_shards_give_back_every_row_in_order(shards):
    folder, rows, labels = shards
    assert len(list(folder.glob("train-*.parquet"))) == 3
    tokens = encoding.read_shards(folder, "train", "minilm-l6")
    assert [ids.tolist() for ids in tokens.input_ids] == rows
    assert tokens.labels.tolist() == labels
    assert len(tokens) == 10


def test_a_lost_shard_is_noticed(shards):
    folder, _, _ = shards
    (folder / "train-00001.parquet").unlink()
    with pytest.raises(UserError, match="6 rows of train, 10 were written"):
        encoding.read_shards(folder, "train", "minilm-l6")


def test_shards_of_another_tokenizer_are_refused(shards):
    folder, _, _ = shards
    with pytest.raises(UserError, match="tokenizer of minilm-l6, not of gpt2"):
        encoding.read_shards(folder, "train", "gpt2")


def test_missing_shards_name_the_notebook_to_run(tmp_path):
    with pytest.raises(UserError, match="run notebook 04 first"):
        encoding.read_shards(tmp_path, "train", "minilm-l6")


def test_padding_equals_the_tokenizers_and_the_articles(tokenizer):
    session.start(1, "cpu")  # tells Keras to use torch
    from keras.utils import pad_sequences

    rows = encoding.encode(TEXTS, tokenizer, max_length=12)
    ours = encoding.pad(rows, tokenizer.pad_token_id)
    theirs = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    assert ours["input_ids"].equal(theirs["input_ids"])
    assert ours["attention_mask"].equal(theirs["attention_mask"])
    keras = pad_sequences(rows, maxlen=12, padding="post", truncating="post")
    assert np.array_equal(ours["input_ids"], keras)
    mask = [[float(i > 0) for i in row] for row in keras]  # the article's
    assert np.array_equal(ours["attention_mask"], mask)
