import numpy as np
import pandas as pd
import pytest
from runs import command

from nlp_helpers.classification import suspect_labels
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import preparing, reading, sources, splitting
from nlp_helpers.data.fields import Wanted


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Return the splits of the packaged text messages, spam or not."""
    folder = tmp_path_factory.mktemp("sms")
    reading.read_reviews(
        sources.fetch_reviews("sms-spam", []),
        folder / "parts",
        wanted=Wanted(label_field="spam", label_rule="values"),
    )
    splitting.split(folder / "parts", folder / "splits", group_by="none")
    return folder / "splits"


def test_labels_that_were_turned_on_purpose_are_found(splits):
    sides = [splits / f"{side}.parquet" for side in splitting.SPLITS]
    table = pd.concat(map(pd.read_parquet, sides), ignore_index=True)
    labels = table["label"].astype(int).to_numpy()
    generator = np.random.default_rng(0)
    turned = generator.random(len(labels)) < 0.05
    given = np.where(turned, 1 - labels, labels)
    probabilities = suspect_labels.judge(table["text"], given, table.index)
    assert probabilities.shape == (len(labels), 2)
    found = suspect_labels.find_suspects(given, probabilities)
    assert turned[found.index[:100]].mean() > 0.9  # by chance: 0.05
    assert (found["suggested"] == 1 - given[found.index]).all()
    margin = found["p_label"] - found["p_suggested"]
    assert margin.is_monotonic_increasing


def test_a_class_counts_where_it_is_as_probable_as_for_its_own_texts():
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array(
        # Means: 0.6 for the texts of class 0, 0.5 for those of class 1.
        [[0.9, 0.1], [0.5, 0.5], [0.4, 0.6], [0.1, 0.9], [0.55, 0.45],
         [0.85, 0.15]]
    )  # fmt: skip
    found = suspect_labels.find_suspects(labels, probabilities)
    assert list(found.index) == [5, 2]  # not 4: 0.55 is less than usual
    assert found["suggested"].tolist() == [0, 1]
    assert found["p_label"].tolist() == [0.15, 0.4]
    assert found["p_suggested"].tolist() == [0.85, 0.6]


def test_no_text_is_judged_by_another_of_its_group():
    """A word that stands in one group alone says nothing of its label."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60).repeat(4)
    groups = np.arange(60).repeat(4)
    texts = [f"word{group} and" for group in groups]
    apart = suspect_labels.judge(texts, labels, groups)
    together = suspect_labels.judge(texts, labels, np.arange(240))
    rows = np.arange(240)
    assert together[rows, labels].mean() > 0.6  # others of the group tell
    assert apart[rows, labels].mean() < 0.55


def test_the_command_lists_them_and_leaves_the_labels(splits):
    before = {p.name: p.read_bytes() for p in splits.iterdir()}
    done = command("suspects", "--data", str(splits.parent), "--show", "3")
    assert done.returncode == 0, done.stderr
    assert {p.name: p.read_bytes() for p in splits.iterdir()} == before
    table = pd.read_csv(splits.parent / "suspects.csv")
    assert f"{len(table)} suspect labels" in done.stdout
    assert "suspects.csv" in done.stdout
    assert list(table) == [
        *("text", "label", "suggested", "p_label", "p_suggested"),
        *("category", "record"),
    ]
    assert (table["label"] != table["suggested"]).all()
    assert "Hello darling" in done.stdout


def test_sentences_are_judged_without_their_review(tmp_path):
    preparing.prepare(preparing.OFFLINE, tmp_path)
    found = suspect_labels.judge_splits(tmp_path / "splits")
    assert 0 < len(found) < 1000
    assert set(found["label"]) <= {"negative", "neutral", "positive"}


def test_what_cannot_be_judged_is_one_line(tmp_path):
    done = command("suspects", "--data", str(tmp_path))
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "has no texts; run notebook 04 first" in line
    labels = np.array([0] * 20 + [1] * 3)
    with pytest.raises(UserError, match="a class has texts in 3 groups alone"):
        suspect_labels.judge(["a b c"] * 23, labels, np.arange(23))


def test_labels_are_flipped_to_another_class_as_often_as_asked():
    labels = np.random.default_rng(1).integers(0, 3, 4000)
    given, flipped = suspect_labels.flip_labels(labels, 0.1, seed=0)
    assert ((given != labels) == flipped).all()
    assert flipped.mean() == pytest.approx(0.1, abs=0.02)
    assert set(given) == {0, 1, 2}
    moves = np.bincount((given - labels)[flipped] % 3, minlength=3)
    assert moves[1] == pytest.approx(moves[2], rel=0.3)
