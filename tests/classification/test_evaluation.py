import numpy as np
import pytest

from nlp_helpers.classification import evaluation
from nlp_helpers.core.errors import UserError

LABELS = np.array([0, 1, 1, 1, 2, 2])
PREDICTIONS = np.array([1, 1, 1, 0, 2, 1])


def macro_f1(counts):
    """Of confusion counts, (..., 3, 3) -> (...)."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    return evaluation.macro_f1(right, counts.sum(-1) + counts.sum(-2))


def test_scores_by_hand():
    scores = evaluation.score(LABELS, PREDICTIONS)
    # F1: neutral 0, positive 2*2/(3+4), negative 2*1/(2+1)
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert scores["macro_f1"] == pytest.approx((0 + 4 / 7 + 2 / 3) / 3)


def test_per_class_table_by_hand():
    table = evaluation.per_class_table(LABELS, PREDICTIONS)
    assert table.index.tolist() == ["neutral", "positive", "negative"]
    assert table.loc["positive"].tolist() == pytest.approx(
        [2 / 4, 2 / 3, 4 / 7, 3]
    )
    assert table.loc["neutral", "f1"] == 0


def test_a_class_that_is_never_predicted_counts_as_zero():
    scores = evaluation.score(LABELS, np.ones(6, int))
    assert scores["macro_f1"] == pytest.approx((0 + 2 / 3 + 0) / 3)


def test_macro_f1_of_counts_is_that_of_the_predictions():
    counts = evaluation.confusion_counts(LABELS, PREDICTIONS)
    assert counts.tolist() == [[0, 1, 0], [1, 2, 0], [0, 1, 1]]
    expected = evaluation.score(LABELS, PREDICTIONS)["macro_f1"]
    assert macro_f1(counts) == pytest.approx(expected)
    twice = macro_f1(np.stack([counts, np.diag([1, 2, 3])]))
    assert twice.tolist() == pytest.approx([expected, 1])


def test_a_class_that_does_not_occur_is_left_out_of_the_mean_everywhere():
    labels = np.array([1, 2] * 15)
    predictions = labels.copy()
    predictions[0] = 2
    score = evaluation.score(labels, predictions)["macro_f1"]
    low, high = evaluation.bootstrap(labels, predictions)
    assert score == pytest.approx(0.966, abs=1e-3)
    assert 0.85 < low < score < high == 1


@pytest.fixture
def many():
    """Return labels of 400 texts and two predictions, 80 and 60 % right."""
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, 400)
    wrong = (labels + generator.integers(1, 3, 400)) % 3
    right = generator.random(400)
    return (
        labels,
        np.where(right < 0.8, labels, wrong),
        np.where(right < 0.6, labels, wrong),
    )


def test_the_interval_is_that_of_texts_drawn_one_by_one(many):
    labels, predictions, baseline = many
    generator = np.random.default_rng(5)
    scores, gains = [], []
    for _ in range(2000):
        rows = generator.integers(0, len(labels), len(labels))
        counts = [
            evaluation.confusion_counts(labels[rows], found[rows])
            for found in (predictions, baseline)
        ]
        first, second = map(macro_f1, counts)
        scores.append(first)
        gains.append(first - second)
    for found, drawn in (
        (evaluation.bootstrap(labels, predictions), scores),
        (evaluation.bootstrap(labels, predictions, baseline), gains),
    ):
        assert found == pytest.approx(
            np.percentile(drawn, [2.5, 97.5]), abs=0.01
        )
        assert 0.03 < found[1] - found[0] < 0.15


def test_texts_of_one_group_are_drawn_together(many):
    labels, predictions, baseline = many
    groups = [f"review {row // 40}" for row in range(len(labels))]
    groups[-3:] = [None, float("nan"), None]  # of no review: three groups
    numbers = [row // 40 for row in range(397)] + [10, 11, 12]
    members = [np.flatnonzero(np.equal(numbers, n)) for n in range(13)]
    generator = np.random.default_rng(5)
    scores, gains = [], []
    for _ in range(2000):
        drawn = generator.integers(0, len(members), len(members))
        rows = np.concatenate([members[number] for number in drawn])
        first, second = (
            macro_f1(evaluation.confusion_counts(labels[rows], found[rows]))
            for found in (predictions, baseline)
        )
        scores.append(first)
        gains.append(first - second)
    for found, expected in (
        (
            evaluation.bootstrap(labels, predictions, groups=groups),
            scores,
        ),
        (evaluation.bootstrap(labels, predictions, baseline, groups), gains),
    ):
        assert found == pytest.approx(
            np.percentile(expected, [2.5, 97.5]), abs=0.01
        )


def test_copies_make_nothing_surer_where_they_are_one_group(many):
    labels, predictions, _ = (np.repeat(rows, 9) for rows in many)
    names = [str(row) for row in range(400) for _ in range(9)]
    apart = evaluation.bootstrap(many[0], many[1])
    together = evaluation.bootstrap(labels, predictions, groups=names)
    singly = evaluation.bootstrap(labels, predictions)
    assert together == pytest.approx(apart, abs=0.003)
    assert np.ptp(singly) < np.ptp(together) / 2
    nameless = [None] * len(labels)
    assert evaluation.bootstrap(labels, predictions, groups=nameless) == singly
    table = evaluation.compare(labels, {"it": predictions}, names)
    assert table.loc["it", ["low", "high"]].tolist() == list(together)


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ([1, 1, 1], [0, 1, 2], "all training texts are of one class; run"),
        ([0, 1, 2], [0, 0], "no validation text is positive or neg"),
        ([0, 1], [2, 2], None),
    ],
)
def test_labels_that_teach_or_show_nothing_are_refused(
    train, validation, message
):
    arrays = np.array(train), np.array(validation)
    if message is None:
        return evaluation.check_classes(*arrays)
    with pytest.raises(UserError, match=message):
        evaluation.check_classes(*arrays)


def test_the_gain_over_itself_is_nothing(many):
    assert evaluation.bootstrap(many[0], many[1], many[1]) == (0, 0)


def test_calibration_by_hand():
    probabilities = np.array(
        [[0.9, 0.05, 0.05], [0.96, 0.02, 0.02], [0.2, 0.55, 0.25]]
    )
    logits = np.log(probabilities).astype(np.float32)
    table = evaluation.reliability(np.array([0, 2, 1]), logits)
    assert table["confidence"].tolist() == pytest.approx([0.55, 0.93])
    assert table["accuracy"].tolist() == pytest.approx([1, 0.5])
    assert table["texts"].tolist() == [1, 2]
    error = (0.45 * 1 + 0.43 * 2) / 3
    assert evaluation.calibration_error(table) == pytest.approx(error)


def test_without_neutral_only_two_answers_count():
    logits = np.array([[9, 1, 0], [9, 0, 1], [0, 5, 1], [0, 1, 2]], np.float32)
    labels = np.array([1, 2, 0, 1])
    # Neutral is the highest of the first two, and not asked; the third text
    # is neutral and left out; the fourth is wrong.
    assert evaluation.without_neutral(labels, logits) == pytest.approx(2 / 3)


def test_mistakes_come_worst_first():
    logits = np.array([[0, 9, 0], [0, 0, 5], [3, 0, 0]], dtype=np.float32)
    table = evaluation.worst_mistakes(
        ["right", "wrong", "very wrong"], np.array([1, 1, 2]), logits, 2
    )
    assert table["text"].tolist() == ["wrong", "very wrong"]
    assert table["loss"].tolist() == pytest.approx([5.013, 3.095], abs=1e-3)
    assert table["label"].tolist() == ["positive", "negative"]
    assert table["predicted"].tolist() == ["negative", "neutral"]
    several = evaluation.worst_mistakes(
        ["right", "wrong", "very wrong"], np.array([1, 1, 2]), logits, 8
    )
    assert several.equals(table)  # what is right is no mistake


def test_the_interval_of_a_mean_is_wider_for_texts_that_go_together():
    values = np.repeat(np.random.default_rng(0).normal(size=50), 8)[:, None]
    names = np.repeat([f"review {n}" for n in range(50)], 8)
    [low], [high] = evaluation.bootstrap_mean(values)
    [lower], [higher] = evaluation.bootstrap_mean(values, names)
    mean, error = values.mean(), values[::8].std() / 50**0.5
    assert lower < low < mean < high < higher
    assert higher - lower == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_the_interval_of_a_mean_weighs_groups_by_their_texts():
    values = np.array([[0.0, 1.0]] * 9 + [[1.0, 0.0]])
    low, high = evaluation.bootstrap_mean(values, ["a"] * 9 + ["b"])
    assert low.tolist() == [0, 0] and high.tolist() == [1, 1]
    low, high = evaluation.bootstrap_mean(values)
    assert high[0] < 0.5 and low[1] > 0.5


def test_losses_take_arrays_that_cannot_be_written(recwarn):
    """As pandas hands them out."""
    labels, logits = np.array([0, 1]), np.eye(2, dtype=np.float32)
    labels.flags.writeable = logits.flags.writeable = False
    expected = np.log(1 + np.exp(-1))
    assert evaluation.losses(labels, logits) == pytest.approx(expected)
    assert not [str(each.message) for each in recwarn]


def test_the_nearest_text_by_cosine_decides():
    vectors = np.array([[1, 0], [9, 1], [0, 1], [0.1, 1], [1, 0.9]])
    labels = np.array([0, 0, 1, 1, 1])
    # The last one's nearest points the way of the first two.
    assert evaluation.neighbour_agreement(vectors, labels) == 0.8
