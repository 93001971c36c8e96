import numpy as np
import pytest
import torch

from nlp_helpers.classification import deletion
from nlp_helpers.classification.attribution import Attribution

WEIGHTS = {1: 2.0, 2: 1.0, 3: 0.0, 4: -1.0}  # of the ids, for class 1


class Sum:
    """A classifier whose second logit is the sum of its tokens' weights."""

    def predict_logits(self, texts):
        sums = [sum(WEIGHTS.get(i, 0.0) for i in ids) for ids in texts]
        return np.array([[0.0, total] for total in sums], np.float32)


def attributed(ids):
    return Attribution(
        input_ids=[101, *ids, 102],
        tokens=[*map(str, (101, *ids, 102))],
        words=range(1, 1 + len(ids)),
        label=1,
        scores=np.array([0, *map(WEIGHTS.get, ids), 0], float),
        difference=float(sum(map(WEIGHTS.get, ids))),
    )


def probability(logit):
    return float(torch.sigmoid(torch.tensor(logit)))


def test_a_fraction_is_at_least_one_token_and_at_most_all():
    counts = [deletion.num_removed(f, 10) for f in (0.01, 0.1, 0.34, 1)]
    assert counts == [1, 1, 3, 10]
    assert deletion.num_removed(0.9, 1) == 1
    assert deletion.num_removed(0.5, 0) == 0


def test_the_highest_score_goes_first_and_added_tokens_stay():
    scores = np.array([9, 0.1, 0.5, -2, 0.5, 9])
    order = deletion.order_by(scores, range(1, 5))
    assert order.tolist() == [2, 4, 1, 3]


def test_drops_by_hand():
    texts = [attributed([3, 1, 4]), attributed([2, 2])]
    orders = [deletion.order_by(a.scores, a.words) for a in texts]
    drops = deletion.measure_drops(Sum(), texts, orders, [0.3, 1])
    p = probability
    expected = [[p(1) - p(-1), p(1) - p(0)], [p(2) - p(1), p(2) - p(0)]]
    np.testing.assert_allclose(drops, expected, atol=1e-6)


def test_random_drops_are_the_mean_over_orders():
    texts = [attributed([1, 4])]
    drops = deletion.measure_random_drops(Sum(), texts, [0.5], 200, 0)
    p = probability
    either = [p(1) - p(-1), p(1) - p(2)]
    assert drops.shape == (1, 1)
    assert drops[0, 0] == pytest.approx(np.mean(either), abs=0.05)
    again = deletion.measure_random_drops(Sum(), texts, [0.5], 200, 0)
    assert again == drops


def test_each_token_is_left_out_once():
    texts = [attributed([3, 1, 4]), attributed([2])]
    first, second = deletion.leave_one_out(Sum(), texts)
    p = probability
    expected = [0, 0, p(1) - p(-1), p(1) - p(2), 0]
    np.testing.assert_allclose(first, expected, atol=1e-6)
    np.testing.assert_allclose(second, [0, p(1) - p(0), 0], atol=1e-6)
