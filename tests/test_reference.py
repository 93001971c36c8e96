"""What the notebooks left behind when nbval ran them, against the reference.

nbval compares the text of the cells; here the metrics are compared, each
within its tolerance.
"""

import json

import pytest

from nlp_helpers.parameters import SCHEMAS
from nlp_helpers.runner import verify

pytestmark = pytest.mark.after_notebooks


def load(root, folder, notebook):
    path = root / "outputs" / folder / notebook / "metrics.json"
    return json.loads(path.read_text())


def read_metrics(notebook_root, notebook):
    """Return what nbval's run wrote; skip if nbval did not run it."""
    if not (notebook_root / "outputs" / "offline" / notebook).exists():
        pytest.skip(f"nbval has not run {notebook}")
    return load(notebook_root, "offline", notebook)


@pytest.mark.parametrize("notebook", SCHEMAS)
def test_the_metrics_are_those_of_the_reference(
    notebook, project, notebook_root
):
    found = read_metrics(notebook_root, notebook)
    expected = load(project, "reference", notebook)
    assert found.keys() == expected.keys()
    different = [
        one
        for one in verify.compare_metrics(notebook, expected, found)
        if one.verdict == verify.DIFFERENT
    ]
    assert not different


@pytest.mark.parametrize("notebook", SCHEMAS)
def test_no_notebook_asked_for_the_network(notebook, notebook_root):
    read_metrics(notebook_root, notebook)  # it ran
    log = notebook_root / "network.log"
    assert not log.exists(), log.read_text()
    guarded = (notebook_root / "network.log.guarded").read_text()
    # A kernel, or the process that the kernels are copies of.
    assert "ipykernel_launcher" in guarded or "forkserver" in guarded


@pytest.mark.parametrize("notebook", ["05_bert_fine_tuning"])
def test_the_model_beats_the_baselines(notebook, notebook_root):
    metrics = read_metrics(notebook_root, notebook)
    best = max(metrics["macro_f1_vader"], metrics["macro_f1_tfidf"])
    assert metrics["macro_f1"] > best + 0.1
    assert metrics["macro_f1"] > metrics["macro_f1_frozen"] + 0.05
    assert metrics["gain_low"] > 0
    assert best > metrics["macro_f1_majority"] + 0.3
    assert metrics["loss_after"] < metrics["loss_before"] - 0.4
    assert metrics["f1_neutral"] > 0.45
    assert metrics["accuracy_without_neutral"] > metrics["accuracy"] + 0.05


@pytest.mark.parametrize("notebook", ["06_serving_and_tweets"])
def test_tweets_cost_what_the_notebook_says(notebook, notebook_root):
    metrics = read_metrics(notebook_root, notebook)
    assert metrics["macro_f1"] < metrics["macro_f1_reviews"] - 0.08
    assert metrics["macro_f1"] < metrics["macro_f1_vader"] - 0.05
    assert metrics["macro_f1_cleaned"] > metrics["macro_f1"]
    assert metrics["macro_f1_further_2048"] > metrics["macro_f1_vader"]
    assert metrics["macro_f1_frozen_2048"] < metrics["macro_f1_vader"]


@pytest.mark.parametrize("notebook", ["03_masked_bert"])
def test_the_masked_word_comes_from_the_question(notebook, notebook_root):
    metrics = read_metrics(notebook_root, notebook)
    assert metrics["predicted_token"] == "expert"
    # Found whatever the segment ids say, as the notebook's text has it.
    assert metrics["probability"] > 0.5
    assert metrics["probability_segments_all_0"] > 0.5
    assert metrics["probability_segments_swapped"] > 0.5
    assert metrics["probability_without_question"] < 0.01
    assert metrics["probability_by_position"] < 0.01
