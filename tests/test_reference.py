"""What the notebooks left behind when nbval ran them, against the reference.

nbval compares the text of the cells; here the figures are compared, each
within its tolerance.
"""

import json

import pytest

from nlp_helpers.parameters import SCHEMAS

pytestmark = pytest.mark.after_notebooks

# Forward passes differ in the last digits from processor to processor.
FORWARD = 1e-3
# Training multiplies such differences; these are absolute.
TRAINING = {
    "accuracy": 0.04,
    "macro_f1": 0.05,
    "f1_neutral": 0.10,
    "loss_before": 0.01,
    "loss_after": 0.10,
}


def load(root, folder, notebook):
    path = root / "outputs" / folder / notebook / "metrics.json"
    if not path.exists():
        pytest.skip(f"nbval has not run {notebook}")
    return json.loads(path.read_text())


@pytest.mark.parametrize("notebook", SCHEMAS)
def test_the_figures_are_those_of_the_reference(
    notebook, project, notebook_root
):
    found = load(notebook_root, "offline", notebook)
    expected = load(project, "reference", notebook)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float):
            tolerance = TRAINING.get(name, FORWARD)
            assert found[name] == pytest.approx(value, abs=tolerance), name
        else:
            assert found[name] == value, name


def test_no_notebook_asked_for_the_network(notebook_root):
    if not (notebook_root / "outputs").exists():
        pytest.skip("nbval has run no notebook")
    log = notebook_root / "network.log"
    assert not log.exists(), log.read_text()
