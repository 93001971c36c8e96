import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModel

from nlp_helpers.core import yaml_files
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading
from nlp_helpers.vectors import sentences


def reviews(keys):
    return pd.DataFrame({"text": list(keys)}, index=pd.Index(keys))


def all_keys():
    entries = yaml_files.read_yaml(sentences.QUERIES)
    return sorted({key for entry in entries for key in entry["answers"]})


def test_a_vector_is_the_mean_of_the_tokens_and_has_length_1():
    tokenizer, model = loading.load_model("minilm-l6", AutoModel)
    texts = ["A good camera.", "Nobody ever answers the telephone there."]
    found = sentences.encode(texts, tokenizer, model)
    for text, vector in zip(texts, found, strict=True):
        with torch.no_grad():
            encoded = tokenizer(text, return_tensors="pt")
            mean = model(**encoded).last_hidden_state[0].mean(dim=0)
        assert np.allclose(vector, mean / mean.norm(), atol=2e-3)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_the_judgements_stand_in_the_rows_of_their_sentences():
    keys = ["other/1", *all_keys()]
    queries, grades = sentences.read_judgements(reviews(keys))
    assert len(queries) == 10 and grades.shape == (10, len(keys))
    assert grades[:, 0].sum() == 0 and set(np.unique(grades)) == {0, 1, 2}
    assert (grades > 0).sum(axis=1).min() >= 5
    entries = yaml_files.read_yaml(sentences.QUERIES)
    for row, entry in zip(grades, entries, strict=True):
        named = {keys[i]: int(row[i]) for i in row.nonzero()[0]}
        assert named == entry["answers"]


def test_reviews_without_a_judged_sentence_are_refused():
    with pytest.raises(UserError, match="the reviews have no sentence .*/"):
        sentences.read_judgements(reviews(all_keys()[1:]))


def test_both_splits_are_read_and_named_by_product_and_record(tmp_path):
    (tmp_path / "splits").mkdir()
    for name, record in (("train", 3), ("validation", 4)):
        row = {"text": [name], "product": ["phone"], "record": [record]}
        path = tmp_path / "splits" / f"{name}.parquet"
        pd.DataFrame(row).to_parquet(path)
    table = sentences.read_reviews(tmp_path)
    assert table["text"].to_dict() == {
        "phone/3": "train",
        "phone/4": "validation",
    }
    assert table["split"].tolist() == table["text"].tolist()


def test_the_order_of_the_best_counts():
    grades = np.array([[2, 0, 1, 0, 0, 0, 0]] * 3)
    scores = np.array(
        [[7, 0, 6, 1, 2, 3, 4], [6, 0, 7, 1, 2, 3, 4], [0, 7, 1, 6, 5, 4, 3]]
    )
    best, swapped, none = sentences.ndcg_per_query(grades, scores)
    ideal = 2 + 1 / np.log2(3)
    assert best == 1 and none == 0
    assert swapped == pytest.approx((1 + 2 / np.log2(3)) / ideal)


def test_the_interval_is_of_the_mean():
    same = sentences.mean_with_interval(np.full(10, 0.5), seed=1)
    assert same == (0.5, 0.5, 0.5)
    mean, low, high = sentences.mean_with_interval(np.arange(10) / 10, seed=1)
    assert mean == pytest.approx(0.45) and 0.2 < low < 0.35 < 0.55 < high


def test_equal_texts_are_no_near_duplicates():
    vectors = np.array([[1, 0], [1, 0], [0.96, 0.28], [0, 1]])
    texts = ["same", "same", "nearly", "other"]
    table = sentences.near_duplicates(vectors, texts)
    assert (
        table[["first", "second"]].to_numpy().tolist()
        == [["same", "nearly"]] * 2
    )
    assert table["cosine"].tolist() == pytest.approx([0.96, 0.96])


def test_neighbours_do_not_count_the_text_itself():
    angles = np.array([0, 0.1, 0.2, 1.4, 1.5])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    share = sentences.neighbour_agreement(vectors, list("aabbb"), top_k=1)
    assert share == pytest.approx(4 / 5)
