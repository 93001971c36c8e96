import numpy as np
import pytest
from small_bert import save_classifier

from nlp_helpers.classification import evaluation, other_texts, predicting
from nlp_helpers.data import rated_texts
from nlp_helpers.data.labels import LABEL2ID


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = save_classifier(tmp_path_factory.mktemp("other") / "model")
    return predicting.load_classifier(str(folder))


def test_each_kind_is_scored_as_its_texts_alone(classifier):
    table = other_texts.score_other_texts(*classifier, max_texts=60, seed=3)
    assert tuple(table.index) == other_texts.KINDS
    assert (table["texts"] == 60).all()
    assert (table["low"] <= table["macro_f1"]).all()
    rated = rated_texts.read("tweets").sample(60, random_state=3)
    answers = predicting.classify(rated["text"].tolist(), *classifier)
    predicted = np.array([LABEL2ID[answer["label"]] for answer in answers])
    labels = rated["label"].map(LABEL2ID).to_numpy()
    expected = evaluation.score(labels, predicted)
    for name, value in expected.items():
        assert table.loc["tweets", name] == pytest.approx(value)


def test_another_seed_draws_other_texts(classifier):
    tables = [
        other_texts.score_other_texts(*classifier, max_texts=60, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
