"""What the notebooks left behind when nbval ran them, against the reference.

nbval compares the text of the cells; here the figures are compared, each
within its tolerance.
"""

import json

import pytest

from nlp_helpers.parameters import SCHEMAS

pytestmark = pytest.mark.after_notebooks

# Forward passes differ in the last digits from processor to processor.
FORWARD = {"rel": 0.01, "abs": 1e-7}
# Training multiplies such differences; a count can move by a few. Absolute.
TOLERANCES = {
    "tokens_in_nucleus": 3,
    "accuracy": 0.04,
    "macro_f1": 0.05,
    "f1_neutral": 0.10,
    "loss_before": 0.01,
    "loss_after": 0.10,
}


def load(root, folder, notebook):
    path = root / "outputs" / folder / notebook / "metrics.json"
    return json.loads(path.read_text())


def found_figures(notebook_root, notebook):
    """Return what nbval's run wrote; skip if nbval did not run it."""
    if not (notebook_root / "outputs" / "offline" / notebook).exists():
        pytest.skip(f"nbval has not run {notebook}")
    return load(notebook_root, "offline", notebook)


@pytest.mark.parametrize("notebook", SCHEMAS)
def test_the_figures_are_those_of_the_reference(
    notebook, project, notebook_root
):
    found = found_figures(notebook_root, notebook)
    expected = load(project, "reference", notebook)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name in TOLERANCES:
            bound = {"rel": 0, "abs": TOLERANCES[name]}
            assert found[name] == pytest.approx(value, **bound), name
        elif isinstance(value, float):
            assert found[name] == pytest.approx(value, **FORWARD), name
        else:
            assert found[name] == value, name


def test_no_notebook_asked_for_the_network(notebook_root):
    ran = [*notebook_root.glob("outputs/offline/*/metrics.json")]
    if not ran:
        pytest.skip("nbval has run no notebook")
    log = notebook_root / "network.log"
    assert not log.exists(), log.read_text()
    guarded = (notebook_root / "network.log.guarded").read_text()
    assert guarded.count("ipykernel_launcher") >= len(ran)


def test_the_model_beats_the_baselines(notebook_root):
    figures = found_figures(notebook_root, "05_bert_fine_tuning")
    assert figures["macro_f1"] > figures["macro_f1_tfidf"] + 0.08
    assert figures["macro_f1_tfidf"] > figures["macro_f1_majority"] + 0.3
    assert figures["loss_after"] < figures["loss_before"] - 0.4
    assert figures["f1_neutral"] > 0.4


def test_the_masked_word_comes_from_the_question(notebook_root):
    figures = found_figures(notebook_root, "03_masked_bert")
    assert figures["predicted_token"] == "expert"
    # Found whatever the segment ids say, as the notebook's text has it.
    assert figures["probability"] > 0.5
    assert figures["probability_segments_all_0"] > 0.5
    assert figures["probability_segments_swapped"] > 0.5
    assert figures["probability_without_question"] < 0.01
    assert figures["probability_by_position"] < 0.01
