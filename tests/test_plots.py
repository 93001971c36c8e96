import numpy as np
import pandas as pd
import pytest

from nlp_helpers import plots

FIGURES = {
    "bars": lambda: plots.probability_bars(
        ["$x_$", "_", "a"], [0.5, 0.3, 0], "$x_$"
    ),
    "candidates": lambda: plots.candidate_bars(
        {"$He_$": (["a", "b"], [0.5, 0.2]), "She": (["c"], [0.4])}, "t"
    ),
    "balance": lambda: plots.class_balance(
        pd.Series({"neutral": 3, "positive": 5}), "t"
    ),
    "lengths": lambda: plots.length_histogram([3, 4, 9, 12], 12, "t"),
    "loss": lambda: plots.loss_curve([1.1, 0.9, 0.7], 2, "t"),
    "confusion": lambda: plots.confusion_matrix(
        np.array([[1, 0], [2, 3]]), ["a", "b"], "t"
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_and_equal_figures_are_equal_files(name, tmp_path):
    image = plots.save(FIGURES[name](), tmp_path / "folder" / "one.png")
    plots.save(FIGURES[name](), tmp_path / "two.png")
    content = (tmp_path / "two.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 3000
    assert (tmp_path / "folder" / "one.png").read_bytes() == content
    assert image.alt in ("t", "$x_$")


def test_the_bars_are_as_long_as_the_probabilities_and_start_on_top():
    [axis] = plots.probability_bars(["a", "b"], [0.75, 0.25], "t").axes
    assert [bar.get_width() for bar in axis.patches] == [0.75, 0.25]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    low, high = axis.get_ylim()
    assert low > high


def test_the_rows_of_the_confusion_matrix_are_the_true_classes():
    matrix = np.array([[5, 1], [2, 3]])
    [axis] = plots.confusion_matrix(matrix, ["a", "b"], "t").axes
    texts = {text.get_position(): text.get_text() for text in axis.texts}
    # x is the column (predicted), y the row (true)
    assert texts == {(0, 0): "5", (1, 0): "1", (0, 1): "2", (1, 1): "3"}
    assert axis.get_xlabel() == "predicted"
