"""The answers of notebook 04's tasks are those of the notebook's own code."""

import pytest

from nlp_helpers.course import few_reviews, models
from nlp_helpers.course.tasks import review_splits
from nlp_helpers.data import fields, reading, shards, splitting


@pytest.mark.parametrize("max_length", [3, 6, 8, 9, 10, 30])
def test_truncating_is_what_the_tokenizer_does(max_length):
    tokenizer = models.encoder_tokenizer()
    text = few_reviews.table()["text"][0]
    whole, cut = (
        shards.encode([text], tokenizer, limit)[0]
        for limit in (512, max_length)
    )
    assert review_splits.truncate(list(whole), max_length) == list(cut)


def test_copies_are_what_notebook_4_drops_as_duplicates(tmp_path):
    """Its split counts as many as we do, over all rows."""
    names = {"review": "reviewID", "text": "reviewText"}
    rows = few_reviews.table().rename(columns=names)
    path = tmp_path / "few.jsonl"
    columns = [*names.values(), "overall"]
    rows[columns].to_json(path, orient="records", lines=True)
    parts = tmp_path / "parts"
    wanted = fields.Wanted("", "", (), "stars", "")
    reading.read_reviews({"few": [path]}, parts, 0.0, "local", 0, wanted)
    query = "SELECT label FROM parts ORDER BY text"
    labels = reading.query_parquet(query, parts=parts)["label"]
    assert labels.tolist() == rows.sort_values("reviewText")["label"].tolist()
    counts = splitting.split(
        parts,
        tmp_path / "splits",
        group_by="none",
        test_size=0.3,
        sample_per_category=0,
        seed=2018,
    )
    assert counts["duplicates"] == len(review_splits.copies())


def test_the_split_has_what_the_tasks_look_for():
    table = few_reviews.table()
    assert set(table["side"]) == {"train", "validation"}
    assert review_splits.reviews_on_both_sides() < set(table["review"])
    exact = review_splits.copies(plain=str)
    assert set(exact) < set(review_splits.copies())
