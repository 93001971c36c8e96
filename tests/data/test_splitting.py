import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import reading, sources, splitting
from nlp_helpers.data.fields import Wanted


@pytest.fixture(scope="module")
def snippets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snippets") / "parts"
    reports = reading.read_reviews(
        sources.fetch_reviews("amazon-snippets", []), folder
    )
    assert sum(report.kept for report in reports) == 3708
    return folder


def make_parts(tmp_path, name, records, num_files=1, group_field=""):
    """Read records, dealt out to some files in turn."""
    paths = []
    for number in range(num_files):
        path = tmp_path / f"{name}{number}.json"
        lines = map(json.dumps, records[number::num_files])
        path.write_text("\n".join(lines))
        paths.append(path)
    scale = (1.0, 5.0)  # some lack the fives
    wanted = Wanted(rating_scale=scale, group_field=group_field)
    reading.read_reviews({"a": paths}, tmp_path / name, wanted=wanted)
    return tmp_path / name


def reviews_of(number, **fields):
    generator = np.random.default_rng(0)
    return [
        {
            "reviewText": f"text {n}",
            "overall": int(generator.choice([1, 3, 5], p=[0.2, 0.1, 0.7])),
            "asin": f"product {generator.integers(40)}",
            "reviewerID": f"reviewer {generator.integers(90)}",
            "shop": f"Shop {generator.integers(60)}",
            **fields,
        }
        for n in range(number)
    ]


def load(folder):
    return [
        pq.read_table(folder / f"{name}.parquet").to_pandas()
        for name in splitting.SPLITS
    ]


def test_duplicates_in_case_and_spaces_go_and_the_first_stays(tmp_path):
    texts = ["Good  one", "bad", "good one ", "BAD", "b\tad", "bad."]
    texts += ["good\u00a0one", "b\u3000a\vd", "\u2003\fBad", "\x85bad"]
    records = [{"reviewText": t, "overall": 5, "asin": t} for t in texts]
    parts = make_parts(tmp_path, "parts", records)
    counts = splitting.split(parts, tmp_path / "out", test_size=0.5)
    assert counts["duplicates"] == 7
    kept = {text for side in load(tmp_path / "out") for text in side["text"]}
    assert kept == {"Good  one", "bad", "bad."}


@pytest.mark.parametrize("group_by", sorted({*splitting.GROUPS} - {"time"}))
def test_no_group_stands_on_both_sides_and_the_classes_keep_their_share(
    tmp_path, group_by
):
    field = "shop" if group_by == "field" else ""
    parts = make_parts(tmp_path, "parts", reviews_of(3000), 3, field)
    counts = splitting.split(
        parts, tmp_path / "out", group_by=group_by, test_size=0.2, seed=1
    )
    train, validation = load(tmp_path / "out")
    assert counts["train"] == len(train)
    assert counts["validation"] == len(validation)
    assert sum(counts.values()) == 3000
    assert len(validation) / 3000 == pytest.approx(0.2, abs=0.03)
    shares = [
        side["label"].value_counts(normalize=True).sort_index()
        for side in (train, validation)
    ]
    bound = 0.002 if group_by == "none" else 0.05
    assert (shares[0] - shares[1]).abs().max() < bound
    if group_by in ("product", "reviewer"):
        assert not set(train[group_by]) & set(validation[group_by])
    if group_by == "review":
        pairs = [
            set(zip(side["reviewer"], side["product"], strict=True))
            for side in (train, validation)
        ]
        assert not pairs[0] & pairs[1]
    names = [
        splitting.read_groups(tmp_path / "out", side)
        for side in splitting.SPLITS
    ]
    assert list(map(len, names)) == [len(train), len(validation)]
    assert bool(set(names[0]) & set(names[1])) == (group_by == "none")
    if group_by in ("product", "reviewer", "field"):
        column = group_by.replace("field", "group_name")
        assert list(names[1]) == list(validation[column])
        assert validation[column].str.startswith("Shop").all() == bool(field)
    assert not set(train["text"]) & set(validation["text"])


def test_the_sentences_of_a_packaged_review_stay_together(snippets, tmp_path):
    splitting.split(snippets, tmp_path / "a", test_size=0.2, seed=2018)
    train, validation = load(tmp_path / "a")
    assert not set(train["review"]) & set(validation["review"])
    share = [
        side["label"].value_counts(normalize=True)
        for side in (train, validation)
    ]
    assert (share[0] - share[1]).abs().max() < 0.02
    splitting.split(snippets, tmp_path / "b", test_size=0.2, seed=2018)
    splitting.split(snippets, tmp_path / "c", test_size=0.2, seed=1)
    first, again, other = (
        (tmp_path / name / "train.parquet").read_bytes() for name in "abc"
    )
    assert first == again != other


def test_the_sample_is_the_same_rows_in_however_many_files(tmp_path):
    found = []
    for num_files in (1, 4):
        parts = make_parts(
            tmp_path, f"parts{num_files}", reviews_of(500), num_files
        )
        target = tmp_path / f"out{num_files}"
        counts = splitting.split(parts, target, sample_per_category=70, seed=5)
        assert counts["not sampled"] == 430
        assert counts["train"] + counts["validation"] == 70
        found.append({t for side in load(target) for t in side["text"]})
    assert found[0] == found[1]
    splitting.split(parts, tmp_path / "other", sample_per_category=70, seed=6)
    other = {t for side in load(tmp_path / "other") for t in side["text"]}
    assert other != found[0]


@pytest.mark.parametrize(
    "group_by", sorted({*splitting.GROUPS} - {"field", "time"})
)
def test_the_split_is_the_same_in_any_folder(tmp_path, group_by):
    nameless = {} if group_by == "reviewer" else {"reviewerID": None}
    records = reviews_of(600, **nameless)
    sides = []
    for name in ("there", "th[e]re"):
        (tmp_path / name).mkdir()
        parts = make_parts(tmp_path / name, "parts", records, num_files=2)
        splitting.split(parts, tmp_path / name / "out", group_by=group_by)
        sides.append(load(tmp_path / name / "out")[1]["text"].tolist())
    assert len(sides[0]) > 60 and sides[0] == sides[1]


@pytest.mark.parametrize("sample", [1, 30, 39, 40, 10**6])
def test_the_sample_is_what_was_asked_for(tmp_path, sample):
    paths = {}
    for category in ("a", "b'c"):
        path = tmp_path / f"{category}.json"
        records = [
            {"reviewText": f"{category} {n}", "overall": n % 5 + 1}
            for n in range(40)
        ]
        path.write_text("\n".join(map(json.dumps, records)))
        paths[category] = [path]
    reading.read_reviews(paths, tmp_path / "parts")
    counts = splitting.split(
        tmp_path / "parts",
        tmp_path / "out",
        sample_per_category=sample,
        test_size=0.5,
    )
    assert counts["not sampled"] == 2 * (40 - min(40, sample))
    table = pd.concat(load(tmp_path / "out"))
    assert set(table["category"].value_counts()) == {min(40, sample)}


def test_rows_keep_their_order_and_groups_of_the_file_their_size(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(splitting, "ROWS_PER_GROUP", 100)
    monkeypatch.setattr(reading, "BATCH_ROWS", 33)
    parts = make_parts(tmp_path, "parts", reviews_of(999))
    splitting.split(parts, tmp_path / "out", group_by="none")
    for side in load(tmp_path / "out"):
        assert side["record"].is_monotonic_increasing
    file = pq.ParquetFile(tmp_path / "out" / "train.parquet").metadata
    sizes = [file.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes[:-1] == [100] * (len(sizes) - 1) and 0 < sizes[-1] <= 100


def test_what_cannot_be_split_is_refused_and_leaves_nothing(tmp_path):
    parts = make_parts(tmp_path, "parts", reviews_of(30, asin="only one"))
    target = tmp_path / "out"
    with pytest.raises(UserError, match="group_by is 'author'; it can be"):
        splitting.split(parts, target, group_by="author")
    with pytest.raises(UserError, match="no review is left for"):
        splitting.split(parts, target, group_by="product")
    parts = make_parts(tmp_path, "nameless", reviews_of(30, reviewerID=None))
    with pytest.raises(UserError, match="no review names its reviewer; set"):
        splitting.split(parts, target, group_by="reviewer")
    assert not target.exists()


def test_a_row_that_names_no_product_stays_with_its_review(tmp_path):
    records = reviews_of(600)
    for number, record in enumerate(records):
        record["reviewID"] = f"review {number // 4}"
        record["asin"] = record["asin"] if number < 60 else None
    parts = make_parts(tmp_path, "parts", records)
    splitting.split(parts, tmp_path / "out", group_by="product")
    reviews = [
        set(side.loc[side["product"].isna(), "review"])
        for side in load(tmp_path / "out")
    ]
    assert all(reviews) and not reviews[0] & reviews[1]


@pytest.mark.parametrize("missing", [1, 3, 5])
def test_a_class_without_reviews_spoils_no_split(tmp_path, missing):
    records = [r for r in reviews_of(400) if r["overall"] != missing]
    for number, record in enumerate(records):  # products of unequal size
        record["asin"] = f"product {int(number**0.5)}"
    parts = make_parts(tmp_path, "parts", records)
    for seed in range(8):
        counts = splitting.split(
            parts, tmp_path / "out", group_by="product", seed=seed
        )
        share = counts["validation"] / len(records)
        assert share == pytest.approx(0.2, abs=0.02)


def test_a_folder_may_have_an_apostrophe(tmp_path):
    folder = tmp_path / "bob's"
    folder.mkdir()
    parts = make_parts(folder, "parts", reviews_of(20))
    assert splitting.split(parts, folder / "out")["validation"]


def test_rows_of_many_parts_keep_the_order_in_which_they_were_read(tmp_path):
    parts = make_parts(tmp_path, "parts", reviews_of(600), num_files=150)
    splitting.split(parts, tmp_path / "out", group_by="none", seed=3)
    paths = sorted(parts.glob("*.parquet"))
    read = [
        t for path in paths for t in pq.read_table(path)["text"].to_pylist()
    ]
    places = {text: number for number, text in enumerate(read)}
    found = [side["text"].map(places) for side in load(tmp_path / "out")]
    assert all(side.is_monotonic_increasing for side in found)
    assert sorted(np.concatenate(found)) == list(range(600))


TIMES = {
    "seconds": lambda day: 1_393_545_600 + 86_400 * day,
    "text of a number": lambda day: f"{1_393_545_600 + 86_400 * day}.5",
    "date": lambda day: str(
        pd.Timestamp("2014-02-20") + pd.Timedelta(day, "D")
    ),
    "with an offset": lambda day: (
        f"2014-{1 + day // 28:02}-{1 + day % 28:02}T01:00:00+02:00"
    ),
    "Amazon's": lambda day: f"{1 + day // 28:02} {1 + day % 28:02}, 2014",
}


@pytest.mark.parametrize("form", TIMES)
def test_the_latest_texts_are_held_out(tmp_path, form):
    generator = np.random.default_rng(1)
    days = generator.integers(0, 200, 1000)
    records = reviews_of(1000)
    for record, day in zip(records, days.tolist(), strict=True):
        record["when"] = TIMES[form](day)
    parts = make_parts(tmp_path, "parts", records, 2, "when")
    out = tmp_path / "out"
    counts = splitting.split(parts, out, group_by="time", test_size=0.2)
    assert sum(counts.values()) == 1000
    day_of = dict(zip((r["reviewText"] for r in records), days, strict=True))
    train, validation = (
        [day_of[t] for t in side["text"]] for side in load(out)
    )
    assert max(train) < min(validation)
    assert len(validation) / 1000 == pytest.approx(0.2, abs=0.01)
    names = [set(splitting.read_groups(out, s)) for s in splitting.SPLITS]
    assert not names[0] & names[1]


def test_what_has_no_time_is_neither_past_nor_future(tmp_path):
    records = reviews_of(100)
    for number, record in enumerate(records):
        record["when"] = ("yesterday", None, f"2014-03-{number % 28 + 1:02}")[
            min(number // 10, 2)
        ]
    parts = make_parts(tmp_path, "parts", records, group_field="when")
    out = tmp_path / "out"
    counts = splitting.split(parts, out, group_by="time", test_size=0.2)
    assert counts["without time"] == 20
    assert sum(counts.values()) == 100
    train, validation = load(out)
    assert max(train["group_name"]) < min(validation["group_name"])


def test_a_last_moment_with_more_than_enough_is_held_out_alone(tmp_path):
    records = reviews_of(100)
    for number, record in enumerate(records):
        record["when"] = min(number, 40)
    parts = make_parts(tmp_path, "parts", records, group_field="when")
    out = tmp_path / "out"
    counts = splitting.split(parts, out, group_by="time", test_size=0.2)
    assert counts["validation"] == 60
    assert set(load(out)[1]["group_name"]) == {"40"}


def test_a_field_without_anything_to_group_by_is_refused(tmp_path):
    records = reviews_of(20, when="yesterday", nobody="")
    for group_by, field, message in (
        ("time", "when", "no number and no date such as 2014-03-31; set it"),
        ("field", "nobody", "that group_field names is empty; set it to revi"),
    ):
        parts = make_parts(tmp_path, field, records, group_field=field)
        with pytest.raises(UserError, match=message):
            splitting.split(parts, tmp_path / "out", group_by=group_by)
        assert not (tmp_path / "out").exists()
    with pytest.raises(
        UserError,
        match="'whn', which group_field names; .* did you mean 'when'",
    ):
        make_parts(tmp_path, "wrong", records, group_field="whn")
