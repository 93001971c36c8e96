"""Labels of your own: from a table to token shards."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import reading, shards, splitting
from nlp_helpers.data.fields import Wanted
from nlp_helpers.data.labels import order_labels

VALUES = Wanted(label_rule="values")
TOPICS = ["delivery", "price", "quality & fit", "[other]", "Ärger"]


def prepare(tmp_path, records, name="mine.csv", wanted=VALUES, **how):
    """Do what notebook 4 does; return the splits, and the reports."""
    path = tmp_path / name
    if name.endswith("csv"):
        pd.DataFrame(records).to_csv(path, index=False)
    else:
        path.write_text("\n".join(map(json.dumps, records)))
    reports = reading.read_reviews(
        {"mine": [path]}, tmp_path / "parts", wanted=wanted
    )
    splitting.split(tmp_path / "parts", tmp_path / "splits", **how)
    splitting.check_classes(tmp_path / "splits")
    return tmp_path / "splits", reports


def records_of(labels, number=400, field="label"):
    return [
        {"sentence": f"text {n} about it", field: labels[n % len(labels)]}
        for n in range(number)
    ]


@pytest.mark.parametrize("missing", [math.nan, math.inf, 10**18])
@pytest.mark.parametrize("name", ["mine.json", "mine.parquet"])
def test_a_missing_label_is_no_class(tmp_path, name, missing):
    # json.dumps writes NaN, which DuckDB turns into text.
    records = records_of([0.0, 1.0, missing], 30)
    path = tmp_path / name
    if name == "mine.json":
        path.write_text("\n".join(map(json.dumps, records)))
    else:
        table = {name: [row[name] for row in records] for name in records[0]}
        table["label"] = pa.array(map(float, table["label"]))  # NaN, not null
        pq.write_table(pa.table(table), path)
    report = reading.read_file(path, "mine", tmp_path / "part", VALUES)
    assert report.labels == {"0": 10, "1": 10}
    assert report.dropped == {"no label": 10}


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["ham", "spam"], ["ham", "spam"]),
        (TOPICS, sorted(TOPICS, key=str.casefold)),
        ([10, 2, 1, 0], ["0", "1", "2", "10"]),
        ([0.5, 1.0, 2], ["0.5", "1", "2"]),
        ([f"class {n:03d}" for n in range(100)], None),
    ],
)
def test_every_value_is_a_class_with_its_name(
    tmp_path, name, labels, expected
):
    records = records_of(labels, max(400, 8 * len(labels)))
    splits, [report] = prepare(tmp_path, records, name)
    assert not report.dropped
    assert splitting.read_labels(splits) == (expected or labels)
    written = shards.write_shards(splits, tmp_path / "sh", "minilm-l6", 32)
    assert written["labels"] == (expected or labels)
    for side in splitting.SPLITS:
        tokens = shards.read_shards(tmp_path / "sh", side, "minilm-l6")
        table = pd.read_parquet(splits / f"{side}.parquet")
        found = [tokens.names[label] for label in tokens.labels]
        assert found == table["label"].tolist()
        for text, label in zip(table["text"], table["label"], strict=True):
            given = labels[int(text.split()[1]) % len(labels)]
            assert label == (f"{given:g}" if given in (1.0, 2) else str(given))


def test_both_readers_give_the_same_classes(tmp_path, monkeypatch):
    prepare(tmp_path, records_of([*TOPICS, "7", "7.0", "x&amp;y"]))
    strict = pq.read_table(tmp_path / "parts" / "00000.parquet").to_pylist()
    monkeypatch.setattr(reading, "_is_for_duckdb", lambda report: False)
    prepare(tmp_path, records_of([*TOPICS, "7", "7.0", "x&amp;y"]))
    lenient = pq.read_table(tmp_path / "parts" / "00000.parquet").to_pylist()

    def by_record(rows):
        return sorted(rows, key=lambda row: row["record"])

    assert by_record(strict) == by_record(lenient)
    assert {row["label"] for row in strict} == {*TOPICS, "7", "x&y"}


def test_both_sides_have_the_shares_of_every_class(tmp_path):
    generator = np.random.default_rng(0)
    labels = generator.choice(TOPICS, 3000, p=[0.4, 0.3, 0.2, 0.05, 0.05])
    records = [
        {"text": f"text {n}", "category": "x", "label": label}
        for n, label in enumerate(labels)
    ]
    splits, _ = prepare(tmp_path, records)
    shares = [
        pd.read_parquet(splits / f"{side}.parquet")["label"].value_counts(
            normalize=True
        )
        for side in splitting.SPLITS
    ]
    assert (shares[0] - shares[1]).abs().max() < 0.02


@pytest.mark.parametrize(
    ("records", "wanted", "message"),
    [
        (records_of(["one"]), VALUES, "has 1 different values .'one'."),
        (records_of(range(600), 1200), VALUES, "has 600 different values"),
        (records_of("ab", field="kind"), VALUES, "hold the label; the fields"),
        (
            records_of("ab"),
            Wanted(label_field="label"),
            "rule to values if it",
        ),
        (records_of(["a", None]), VALUES, "200 no label"),
        (records_of(["text", "image"]), VALUES, "is called text, under"),
    ],
)
def test_what_are_no_classes_is_one_line(tmp_path, records, wanted, message):
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, records, wanted=wanted)


def test_numbers_are_ordered_by_value_and_before_words():
    assert order_labels(["b", "10", "9", "A", "-1"]) == [
        *("-1", "9", "10"),
        *("A", "b"),
    ]
