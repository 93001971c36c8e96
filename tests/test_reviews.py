import gzip
import json

import pandas as pd
import pytest

from nlp_helpers import reviews
from nlp_helpers.errors import UserError


def write_lines(path, records):
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    content = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content)
    return path


def review(text="fine", overall=4.0, **fields):
    return {"asin": "A", "reviewText": text, "overall": overall, **fields}


@pytest.fixture(scope="module")
def snippets():
    table, counts = reviews.read(reviews.fetch("amazon-snippets", []))
    assert counts == {"kept": 3708}
    table["label"] = reviews.label_of(table["overall"])
    return table


@pytest.mark.parametrize(
    ("valence", "stars"),
    [(-4, 1), (-1.6, 1), (-1.4, 2), (-0.4, 3), (0.4, 3), (0.6, 4), (4, 5)],
)
def test_stars_follow_the_mean_rating(valence, stars):
    assert reviews.stars_from_valence(valence) == stars


def test_labels_follow_the_article():
    overall = pd.Series([0.0, 1.0, 2.0, 2.9, 3.0, 3.9, 4.0, 5.0])
    names = reviews.label_of(overall).map(reviews.ID2LABEL).tolist()
    assert names == ["negative"] * 4 + ["neutral"] * 2 + ["positive"] * 2
    assert reviews.ID2LABEL == {0: "neutral", 1: "positive", 2: "negative"}


def test_the_packaged_reviews_have_the_articles_form(snippets):
    files = reviews.fetch("amazon-snippets", ["phone"])
    [line, *rest] = files["phone"].read_text().splitlines()
    assert set(json.loads(line)) == {
        "reviewID",
        "asin",
        "reviewText",
        "overall",
    }
    assert snippets.groupby("category")["group"].nunique().to_dict() == {
        "dvd_player": 98,
        "camera_canon": 39,  # five numbers of the 44 have no sentence
        "camera_nikon": 33,
        "phone": 40,
        "music_player": 90,  # four numbers of the 94 have none
    }
    phone = snippets[snippets["category"] == "phone"]
    assert len(rest) + 1 == len(phone)
    assert phone["text"].str.contains("phone").mean() > 0.2


@pytest.mark.parametrize("name", ["reviews.jsonl", "reviews.jsonl.gz"])
def test_every_line_is_kept_or_counted_with_its_reason(tmp_path, name):
    records = [
        review(" good \n", 5),
        review("bad", 1.0, reviewerID="R", unknown=[1]),
        review(overall=None),
        review(overall="5.0"),
        review(overall=True),
        review(overall=5.5),
        '{"reviewText": "nan", "overall": NaN}',
        review(text="  "),
        review(text=None),
        '{"reviewText": "cut off',
        "[1, 2]",
    ]
    path = write_lines(tmp_path / name, records)
    table, counts = reviews.read({"phones": path})
    assert counts == {
        "kept": 2,
        "no rating": 3,
        "rating outside 0 to 5": 2,
        "no text": 2,
        "damaged JSON": 2,
    }
    assert sum(counts.values()) == len(records)
    assert table["text"].tolist() == ["good", "bad"]
    assert table["overall"].tolist() == [5.0, 1.0]
    assert table["group"].tolist() == ["phones/1", "phones/R on A"]


def test_a_sample_is_drawn_by_the_seed_and_counted(tmp_path):
    records = [review(f"text {number}") for number in range(50)]
    path = write_lines(tmp_path / "a.jsonl", records)
    first, counts = reviews.read({"a": path}, sample_per_category=7, seed=1)
    again, _ = reviews.read({"a": path}, sample_per_category=7, seed=1)
    other, _ = reviews.read({"a": path}, sample_per_category=7, seed=2)
    assert counts == {"kept": 7, "not sampled": 43}
    assert first.equals(again)
    assert not first.equals(other)


def test_duplicates_in_case_and_spaces_go_and_the_first_stays():
    table = pd.DataFrame({"text": ["Good  one", "bad", "good one ", "BAD."]})
    kept = reviews.drop_duplicates(table)
    assert kept["text"].tolist() == ["Good  one", "bad", "BAD."]


def test_no_review_stands_on_both_sides_and_the_classes_keep_their_share(
    snippets,
):
    training, validation = reviews.split(snippets, 0.2, seed=2018)
    assert len(training) + len(validation) == len(snippets)
    assert not set(training["group"]) & set(validation["group"])
    assert len(validation) / len(snippets) == pytest.approx(0.2, abs=0.02)
    shares = [
        part["label"].value_counts(normalize=True)
        for part in (training, validation)
    ]
    assert (shares[0] - shares[1]).abs().max() < 0.02
    again, _ = reviews.split(snippets, 0.2, seed=2018)
    other, _ = reviews.split(snippets, 0.2, seed=1)
    assert training.equals(again)
    assert not training["text"].equals(other["text"])


def test_a_share_that_no_folds_give_is_refused(snippets):
    with pytest.raises(UserError, match="test_size is 0.4; it must be one"):
        reviews.split(snippets, 0.4, seed=1)


def test_a_damaged_download_names_the_file(tmp_path):
    path = write_lines(tmp_path / "a.json.gz", [review()] * 999)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="a.json.gz is damaged.*delete it"):
        reviews.read({"a": path})
    path.write_text("<html>not found</html>")
    with pytest.raises(UserError, match="a.json.gz is damaged.*delete it"):
        reviews.read({"a": path})


def test_unknown_names_are_errors_that_list_the_known_ones():
    with pytest.raises(UserError, match="known: amazon-snippets, amazon-2014"):
        reviews.fetch("amazon", [])
    with pytest.raises(UserError, match="no category phones; it has dvd_pl"):
        reviews.fetch("amazon-snippets", ["phones"])


def test_a_failed_download_names_the_address_and_offline(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path))
    entries = reviews.registry()
    closed = "http://127.0.0.1:9/{category}.json.gz"
    entries["amazon-2014-5core"].url = closed
    monkeypatch.setattr(reviews, "registry", lambda: entries)
    with pytest.raises(UserError, match="127.0.0.1:9/Automotive.*offline"):
        reviews.fetch("amazon-2014-5core", ["Automotive"])
