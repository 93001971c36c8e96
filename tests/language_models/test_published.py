import json

import pytest

from nlp_helpers.core.verdicts import CLOSE, DIFFERENT, SAME
from nlp_helpers.language_models import published
from nlp_helpers.models.registry import registry

ARTICLE = published.read_published()


def verdicts(notebook, values):
    found = published.compare(notebook, ARTICLE[notebook], values)
    return {difference.name: difference.verdict for difference in found}


def test_the_articles_models_are_known_and_pinned():
    models = registry()
    for entry in ARTICLE.values():
        assert models[entry.model].source == "hub"


def test_what_the_article_prints_is_the_same_as_itself():
    values = ARTICLE["02_fill_mask"].values
    found = verdicts("02_fill_mask", values)
    assert set(found.values()) == {SAME}
    assert len(found) == 2 * 5 * 4


@pytest.mark.parametrize(
    ("field", "value", "verdict"),
    [
        ("score", 0.0323577709, CLOSE),
        ("score", 0.0324577, CLOSE),
        ("score", 0.0325, DIFFERENT),
        ("token", 3960, DIFFERENT),
        ("token_str", "Dream", SAME),
        ("token_str", "nightmare", DIFFERENT),
    ],
)
def test_each_field_of_an_answer_is_judged(field, value, verdict):
    sentence = "This is a [MASK]."
    values = json.loads(json.dumps(ARTICLE["02_fill_mask"].values))
    values[sentence][0][field] = value
    found = verdicts("02_fill_mask", values)
    assert found.pop(f"{sentence} 1 {field}") == verdict
    assert set(found.values()) == {SAME}


def test_a_missing_value_is_different():
    sentence = "He is a [MASK]."
    answers = ARTICLE["02_fill_mask"].values[sentence]
    found = verdicts("02_fill_mask", {sentence: answers[:4]})
    assert found[f"{sentence} 4 score"] == SAME
    assert found[f"{sentence} 5 score"] == DIFFERENT
    assert found["This is a [MASK]. 1 score"] == DIFFERENT


@pytest.mark.parametrize(
    ("best", "verdict"),
    [
        ([" parliament", " flag"], SAME),
        ([" who", "flag"], CLOSE),
        ([" who", " flags"], DIFFERENT),
        ([], DIFFERENT),
    ],
)
def test_any_of_the_named_words_may_be_the_best(best, verdict):
    [prompt] = ARTICLE["01_next_token"].values
    assert verdicts("01_next_token", {prompt: best}) == {prompt: verdict}


def test_another_model_is_not_compared(tmp_path, capsys):
    table = published.compare_published(
        "02_fill_mask", "minilm-l6-mlm", {}, tmp_path
    )
    assert table is None
    assert "the article's values are bert-base-uncased's" in (
        capsys.readouterr().out
    )
    assert not list(tmp_path.iterdir())


def test_only_what_was_asked_is_shown_and_all_is_kept(tmp_path):
    values = {"masked index": 8, "tokens": "none", "own": 1}
    table = published.compare_published(
        "03_masked_bert", "bert-base-uncased", values, tmp_path
    )
    assert dict(table["verdict"]) == {
        "masked index": SAME,
        "tokens": DIFFERENT,
    }
    kept = json.loads((tmp_path / published.VALUES).read_text())
    assert kept == values
