"""Other right ways to solve the tasks of notebook 05 are right too."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import get_linear_schedule_with_warmup

from nlp_helpers.course import checking
from nlp_helpers.course.tasks import bert_evaluation, bert_training


def verdict(number, *answers):
    return checking.judge(checking.find_task(number), *answers).problem


def train_clearing_first(model, optimizer, batches):
    losses = []
    for inputs, labels in batches:
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())  # tensors in place of numbers
    return losses


def train_keeping_losses(model, optimizer, batches):
    losses = []
    for inputs, labels in batches:
        loss = cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)  # with its gradient, as it comes
    return losses


def test_a_loop_may_return_the_losses_as_tensors():
    assert verdict("05.5", train_keeping_losses) == ""


def test_a_loop_may_clear_the_gradients_first():
    assert verdict("05.5", train_clearing_first) == ""


def test_the_schedule_is_that_of_transformers():
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=0.5)
    scheduler = get_linear_schedule_with_warmup(optimizer, 10, 100)
    rates = []
    for _ in range(101):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    ours = [bert_training.learning_rate(n, 100, 10, 0.5) for n in range(101)]
    assert ours == pytest.approx(rates)
    assert verdict("05.6", lambda step, *others: rates[step]) == ""


@pytest.mark.parametrize("seed", range(5))
def test_a_bootstrap_with_another_seed_is_right(seed):
    groups = list(bert_evaluation.BY_REVIEW.values())
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(10_000):
        drawn = generator.integers(len(groups), size=len(groups))
        digits = "".join(groups[number] for number in drawn)
        draws.append(digits.count("1") / len(digits))
    low, high = np.percentile(draws, [2.5, 97.5])
    assert verdict("05.11", low) == ""
    assert verdict("05.11", high) == "this is the upper end"


def test_few_draws_are_seldom_right():
    """By one number they cannot be told from luck."""
    groups = list(bert_evaluation.BY_REVIEW.values())
    sizes = np.array([len(digits) for digits in groups])
    sums = np.array([digits.count("1") for digits in groups])

    def fraction_right(num_draws, seeds):
        right = 0
        for seed in seeds:
            generator = np.random.default_rng(seed)
            drawn = generator.integers(len(groups), size=(num_draws, 16))
            accuracies = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
            low = np.percentile(accuracies, 2.5)
            right += verdict("05.11", low) == ""
        return right / len(seeds)

    assert fraction_right(100, range(200)) < 0.3
    assert fraction_right(10_000, range(50)) == 1


def test_a_complaint_must_be_one_that_vader_takes_for_praise():
    problem = verdict("05.13", "It is bad and broken and ugly.", -0.9)
    assert problem.startswith("VADER does not take this sentence for")


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["one", "two"], "hand in 3 to 20"),
        (["one", "two", ""], "not empty"),
        (["one", "two", "six"], "different lengths"),
        ("one two three", "a list"),
        (["one", "two", "long " * 300], "1000 characters"),
    ],
)
def test_own_texts_are_looked_at(texts, said):
    assert said in verdict("05.12", texts, [0, 3])
