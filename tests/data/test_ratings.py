"""Ratings as people publish them: their spellings and their scales."""

import json

import pytest

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import reading, sources, splitting
from nlp_helpers.data.fields import Wanted
from nlp_helpers.data.ratings import read_rating, to_stars


@pytest.mark.parametrize(
    ("value", "rating"),
    [
        (4, 4.0),
        (4.5, 4.5),
        ("4", 4.0),
        (" 4.0 ", 4.0),
        ("-1", -1.0),
        ("4.0 out of 5 stars", 4.0),
        ("4 out of 5", 4.0),
        ("Rated 4 out of 5", 4.0),
        ("4/5", 4.0),
        ("4,0 von 5 Sternen", 4.0),
        ("4,0 sur 5 étoiles", 4.0),
        ("4,0 étoiles sur 5", 4.0),
        ("4,0 de 5 estrellas", 4.0),
        ("4,0 su 5 stelle", 4.0),
        ("4,0 van 5 sterren", 4.0),
        ("5つ星のうち4.0", 4.0),
        ("1 star", 1.0),
        ("4 Stars", 4.0),
        ("4-star", 4.0),
        ("4,5", 4.5),
        ("★★★★☆", 4.0),
        ("⭐⭐⭐⭐", 4.0),
        ("4/10", None),  # no rating of five
        ("four", None),
        ("", None),
        ("1_0", None),
        ("1e0", None),
        ("5/5/2020", None),
        (True, None),
        (None, None),
        ([4], None),
    ],
)
def test_a_rating_is_read_in_its_usual_spellings(value, rating):
    assert read_rating(value) == rating


def test_a_scale_is_mapped_to_stars():
    assert [to_stars(r, (0, 10)) for r in (0, 5, 10)] == [1, 3, 5]
    assert [to_stars(r, (-1, 1)) for r in (-1, 0, 1)] == [1, 3, 5]
    assert to_stars(4.1, (1.0, 5.0)) == 4.1


def write(path, ratings, spelling="{}"):
    lines = [
        json.dumps({"text": f"text {n}", "rating": spelling.format(r)})
        for n, r in enumerate(ratings)
    ]
    path.write_text("\n".join(lines))
    return {"a": [path]}


def labels(tmp_path, review_files, **wanted):
    reports = reading.read_reviews(
        review_files, tmp_path / "parts", wanted=Wanted(**wanted)
    )
    rows = reading.query_parquet(
        "SELECT overall, label FROM parts ORDER BY record",
        parts=tmp_path / "parts",
    )
    return dict(zip(rows["overall"], rows["label"], strict=True)), reports


@pytest.mark.parametrize("spelling", ["{}", "{} stars"])  # DuckDB, Python
@pytest.mark.parametrize(
    ("ratings", "scale", "expected"),
    [
        ([1, 2, 3, 4, 5], (), "negative negative neutral positive positive"),
        ([1, 2, 3], (1, 3), "negative neutral positive"),
        ([0, 1, 2], (0, 2), "negative neutral positive"),
        ([0, 40, 50, 80], (0, 100), "negative negative neutral positive"),
    ],
)
def test_every_scale_gives_the_classes_of_its_stars(
    tmp_path, spelling, ratings, scale, expected
):
    found, reports = labels(
        tmp_path,
        write(tmp_path / "a.json", ratings * 30, spelling),
        rating_scale=scale,
    )
    assert list(found) == ratings
    assert " ".join(found.values()) == expected
    table = reading.tabulate(reports)
    assert table["ratings"].tolist() == [f"{ratings[0]} to {ratings[-1]}"]


@pytest.mark.parametrize("spelling", ["{}", "{} stars"])
@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ([0, 1], r"ratings are 0 and 1, not from 1 to 5; two values"),
        ([1, 2], r"ratings are 1 and 2, not from 1 to 5; two values"),
        ([1, 2, 3], r"are 1, 2 and 3, .* rating_scale: \[1, 3\]"),
        ([0, 1, 2, 3, 4, 5], r"rating_scale: \[0, 5\]; if 0 means that none"),
        ([1, 1.9, 4.9], r"are 1, 1.9 and 4.9.*for stars that never reach"),
        (range(1, 11), r"10 values from 1 to 10.* rating_scale: \[1, 10\]"),
        (range(0, 101, 7), r"15 values from 0 to 98.* rating_scale: \[0, 98"),
    ],
)
def test_another_scale_than_stars_is_refused(
    tmp_path, spelling, ratings, message
):
    many = [r for r in ratings for _ in range(30)]
    with pytest.raises(UserError, match=message):
        labels(tmp_path, write(tmp_path / "a.json", many, spelling))


def test_few_ratings_off_the_scale_are_counted(tmp_path):
    """Goodreads writes 0 where somebody gave none."""
    found, [report] = labels(
        tmp_path, write(tmp_path / "a.json", [5, 4, 1] * 50 + [0])
    )
    assert report.dropped == {"rating off the scale": 1} and 0 not in found


def test_a_class_without_a_review_is_an_error(tmp_path):
    review_files = write(tmp_path / "a.json", [0, 1] * 50)
    labels(tmp_path, review_files, rating_scale=(0, 1))
    splitting.split(tmp_path / "parts", tmp_path / "splits", group_by="none")
    with pytest.raises(UserError, match="no training review is neutral: "):
        splitting.check_classes(tmp_path / "splits")
    labels(tmp_path, write(tmp_path / "a.json", [1, 3, 5] * 50))
    splitting.split(tmp_path / "parts", tmp_path / "splits", group_by="none")
    splitting.check_classes(tmp_path / "splits")


def test_the_packaged_reviews_are_stars(tmp_path):
    review_files = sources.fetch_reviews("amazon-snippets", [])
    found, _ = labels(tmp_path, review_files)
    assert sorted(found) == [1, 2, 3, 4, 5]


def test_a_folder_can_be_sorted_by_stars(tmp_path):
    """Then no file but one has a five."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for stars in range(1, 6):
        write(folder / f"{stars}.json", [stars] * 60)
    found, _ = labels(tmp_path, sources.fetch_reviews(str(folder), []))
    assert len(found) == 5
