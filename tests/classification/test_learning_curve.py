"""Draws of labelled texts, and a small BERT trained further on them."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_bert import small_config
from transformers import BertForSequenceClassification

from nlp_helpers.classification import encoders, evaluation, learning_curve
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.shards import TokenSet

LABELS = np.repeat([1, 2, 0], [56, 26, 18])


def test_groups_stay_on_one_side_and_nothing_is_lost():
    groups = [str(number // 4) for number in range(100)]
    pool, held_out = learning_curve.hold_out(groups, 0.24, seed=1)
    assert sorted([*pool, *held_out]) == [*range(100)]
    assert len(held_out) == 24
    assert {r // 4 for r in pool}.isdisjoint(r // 4 for r in held_out)
    again, _ = learning_curve.hold_out(groups, 0.24, seed=1)
    other, _ = learning_curve.hold_out(groups, 0.24, seed=2)
    assert (again == pool).all() and set(other) != set(pool)


def test_a_draw_has_the_classes_of_the_pool_in_its_shares():
    pool = np.arange(100)
    rows = learning_curve.draw(pool, LABELS, 50, seed=0)
    assert len(set(rows)) == 50
    assert np.bincount(LABELS[rows]).tolist() == [9, 28, 13]
    few = learning_curve.draw(pool, LABELS, 8, seed=0)
    assert set(LABELS[few]) == {0, 1, 2}
    other = learning_curve.draw(pool, LABELS, 8, seed=1)
    assert set(few) != set(other)


def test_a_draw_takes_rows_of_the_pool_alone():
    pool = np.arange(0, 100, 2)
    rows = learning_curve.draw(pool, LABELS, 20, seed=0)
    assert set(rows) <= set(pool)


def test_a_pool_that_is_too_small_is_refused():
    with pytest.raises(UserError, match="num_labels asks for 99 texts, and"):
        learning_curve.draw(np.arange(100), LABELS, 99, seed=0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = small_config(
        num_labels=3, initializer_range=0.2, hidden_dropout_prob=0.1
    )
    return encoders.wrap(BertForSequenceClassification(config).eval())


def make_tokens():
    """Return texts whose class is their second token."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 48)
    ids = [
        np.array([101, 2000 + label, *generator.integers(3000, 3050, 3), 102])
        for label in labels
    ]
    return TokenSet(ids, labels)


def test_a_copy_learns_and_the_model_stays_as_it_was(model):
    tokens = make_tokens()
    before = model.predict_logits(tokens.input_ids)
    trained = learning_curve.train_further(
        model, tokens, 12, 8, 3e-3, seed=5, device="cpu"
    )
    after = model.predict_logits(tokens.input_ids)
    assert (before == after).all() and not model.training
    right = before.argmax(axis=1) == tokens.labels
    learned = trained.predict_logits(tokens.input_ids)
    assert right.mean() < 0.7
    assert (learned.argmax(axis=1) == tokens.labels).mean() > 0.95


def test_the_same_seed_gives_the_same_weights(model):
    tokens = make_tokens()
    logits = [
        learning_curve.train_further(
            model, tokens, 1, 8, 1e-3, seed=seed, device="cpu"
        ).predict_logits(tokens.input_ids)
        for seed in (5, 5, 6)
    ]
    assert (logits[0] == logits[1]).all()
    assert (logits[0] != logits[2]).any()


def test_a_loss_that_is_no_number_ends_it(model):
    with torch.no_grad():
        model.model.classifier.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="no longer a finite number"):
        learning_curve.train_further(
            model, make_tokens(), 1, 8, 1e-3, seed=5, device="cpu"
        )


@pytest.mark.parametrize(
    ("scores", "smallest"),
    [
        ({8: [0.5, 0.6], 32: [0.7, 0.8], 128: [0.8, 0.9]}, 32),
        ({8: [0.8, 0.9], 32: [0.5, 0.6], 128: [0.8, 0.9]}, 128),
        ({8: [0.8, 0.9], 32: [0.8, 0.9]}, 8),
        ({8: [0.8, 0.9], 32: [0.7, 0.7]}, None),
    ],
)
def test_a_rival_is_beaten_from_some_number_of_labels_on(scores, smallest):
    rows = [(n, f1) for n, draws in scores.items() for f1 in draws]
    points = pd.DataFrame(rows, columns=["labels", "macro_f1"])
    found = learning_curve.labels_to_beat(points, "macro_f1", 0.7)
    assert found == smallest


def test_each_draw_is_scored_beside_the_rival():
    labels = np.tile([0, 1, 2, 1], 25)
    rival = np.where(np.arange(100) < 60, labels, (labels + 1) % 3)
    worse = (labels + 1) % 3
    points = learning_curve.score_draws(
        labels, {"good": {8: [labels, rival]}, "bad": {32: [worse]}}, rival
    )
    assert points["method"].tolist() == ["good", "good", "bad"]
    assert points["labels"].tolist() == [8, 8, 32]
    assert points["accuracy"].tolist() == [1, 0.6, 0]
    score = evaluation.score(labels, rival)["macro_f1"]
    assert points["gain"].tolist() == pytest.approx([1 - score, 0, -score])
    assert points["gain_low"][0] > 0 > points["gain_high"][2]
    assert points["gain_low"][1] == 0 == points["gain_high"][1]
