import json

import pytest

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import downloads, reading, sources
from nlp_helpers.data.labels import stars_from_valence


@pytest.mark.parametrize(
    ("valence", "stars"),
    [(-4, 1), (-1.6, 1), (-1.4, 2), (-0.4, 3), (0.4, 3), (0.6, 4), (4, 5)],
)
def test_stars_follow_the_mean_rating(valence, stars):
    assert stars_from_valence(valence) == stars


def test_the_packaged_reviews_have_the_articles_form(tmp_path):
    files = sources.fetch_reviews("amazon-snippets", ["phone"])
    [line, *rest] = files["phone"][0].read_text().splitlines()
    assert set(json.loads(line)) == {
        "reviewID",
        "asin",
        "reviewText",
        "overall",
    }
    parts = tmp_path / "parts"
    reports = reading.read_reviews(
        sources.fetch_reviews("amazon-snippets", []), parts
    )
    assert sum(report.kept for report in reports) == 3708
    assert not any(report.dropped for report in reports)
    table = reading.query_parquet("FROM parts", parts=parts)
    assert table.groupby("category")["review"].nunique().to_dict() == {
        "dvd_player": 98,
        "camera_canon": 39,  # five numbers of the 44 have no sentence
        "camera_nikon": 33,
        "phone": 40,
        "music_player": 90,  # four numbers of the 94 have none
    }
    phone = table[table["category"] == "phone"]
    assert len(rest) + 1 == len(phone)
    assert phone["text"].str.contains("phone").mean() > 0.2


def test_a_folder_of_your_own_files_is_a_source(root):
    (root / "mine" / "Books").mkdir(parents=True)
    for name in ("Phones.json", "Phones.2018.json.gz", "Books/1.json"):
        (root / "mine" / name).touch()
    (root / "mine" / ".hidden").touch()
    (root / "mine" / "Books" / ".DS_Store").touch()
    (root / "mine" / "Books" / "_SUCCESS").touch()
    (root / "mine" / "_SUCCESS").touch()
    (root / "mine" / ".cache").mkdir()
    found = sources.fetch_reviews("mine", [])
    names = {
        category: [path.name for path in paths]
        for category, paths in found.items()
    }
    assert names == {
        "Books": ["1.json"],
        "Phones": ["Phones.2018.json.gz", "Phones.json"],
    }
    assert list(sources.fetch_reviews("mine", ["Books"])) == ["Books"]
    with pytest.raises(UserError, match="mine has no category Toys; it has B"):
        sources.fetch_reviews("mine", ["Toys"])
    (root / "mine" / "Toys" / "deeper").mkdir(parents=True)
    with pytest.raises(UserError, match="mine/Toys has no file of reviews"):
        sources.fetch_reviews("mine", [])
    (root / "empty").mkdir()
    with pytest.raises(UserError, match="has no file of reviews"):
        sources.fetch_reviews("empty", [])


def test_unknown_names_are_errors_that_list_the_known_ones():
    with pytest.raises(
        UserError, match="known: amazon-snippets, sms-spam, amazon-2014"
    ):
        sources.fetch_reviews("amazon", [])
    with pytest.raises(UserError, match="no category phones; it has dvd_pl"):
        sources.fetch_reviews("amazon-snippets", ["phones"])


def test_a_category_has_an_address_and_a_number_of_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path))
    asked = []

    def remember(url, target, rows):
        asked.append((url, target.name, rows))
        return target

    monkeypatch.setattr(downloads, "download", remember)
    sources.fetch_reviews("amazon-2014-5core", ["Automotive"])
    [(url, name, rows)] = asked
    assert name == "reviews_Automotive_5.json.gz" and rows == 20473
    # What comes first is trusted, so nobody must be able to change it.
    assert url.startswith("https://") and url.endswith(name)
