import numpy as np
import pandas as pd
import pytest
from IPython.display import Image

from nlp_helpers import plots

SCORES = pd.DataFrame(
    {"macro_f1": [0.5, 0.7], "low": [0.4, 0.65], "high": [0.55, 0.8]},
    index=["words", "BERT"],
)
RELIABILITY = pd.DataFrame(
    {"confidence": [0.45, 0.95], "accuracy": [0.5, 0.9], "texts": [3, 40]}
)
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
    "loss": lambda: plots.loss_curves({"one": [1.1, 0.9, 0.7]}, 2, "t"),
    "losses": lambda: plots.loss_curves(
        {str(seed): [1.1, 0.9, 0.7 + seed / 10] for seed in range(6)}, 2, "t"
    ),
    "scores": lambda: plots.score_bars(SCORES, ("a human rater", 0.85), "t"),
    "reliability": lambda: plots.reliability_diagram(RELIABILITY, "t"),
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


def test_a_figure_needs_no_new_ipython(tmp_path, monkeypatch):
    class OldImage(Image):  # that of IPython 7, which Colab has
        def __init__(self, filename):
            super().__init__(filename=filename)

    monkeypatch.setattr(plots, "Image", OldImage)
    plots.save(FIGURES["loss"](), tmp_path / "loss.png")


def test_the_bars_are_as_long_as_the_probabilities_and_start_on_top():
    [axis] = plots.probability_bars(["a", "b"], [0.75, 0.25], "t").axes
    assert [bar.get_width() for bar in axis.patches] == [0.75, 0.25]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    low, high = axis.get_ylim()
    assert low > high


@pytest.mark.parametrize("longest", [5, 32, 64, 128, 203])
def test_lengths_that_are_equally_frequent_have_equal_bars(longest):
    lengths = list(range(3, longest + 1))
    [axis] = plots.length_histogram(lengths, longest, "t").axes
    heights = [bar.get_height() for bar in axis.patches]
    assert sum(heights) == len(lengths) and len(heights) <= plots.MAX_BARS
    assert len(set(heights[:-1])) == 1  # the last bar may be a part of one
    assert 0 <= heights[-1] <= heights[0]


def test_the_loss_curve_begins_at_step_1_and_is_a_running_mean():
    [axis] = plots.loss_curves({"one": [3, 1, 2]}, 2, "t").axes
    each, mean = (line.get_xydata().tolist() for line in axis.lines)
    assert each == [[1, 3], [2, 1], [3, 2]]
    assert mean == [[1, 3], [2, 2], [3, 1.5]]


def test_the_rows_of_the_confusion_matrix_are_the_true_classes():
    matrix = np.array([[5, 1], [2, 3]])
    [axis] = plots.confusion_matrix(matrix, ["a", "b"], "t").axes
    texts = {text.get_position(): text.get_text() for text in axis.texts}
    # x is the column (predicted), y the row (true)
    assert texts == {(0, 0): "5", (1, 0): "1", (0, 1): "2", (1, 1): "3"}
    assert axis.get_xlabel() == "predicted"


def test_the_bars_of_the_scores_carry_their_intervals():
    [axis] = plots.score_bars(SCORES, ("a human rater", 0.85), "t").axes
    assert [bar.get_width() for bar in axis.patches] == [0.5, 0.7]
    [intervals] = axis.collections
    ends = [segment[:, 0].tolist() for segment in intervals.get_segments()]
    assert ends == [pytest.approx([0.4, 0.55]), pytest.approx([0.65, 0.8])]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["words", "BERT"]


def test_the_reliability_diagram_draws_accuracy_over_confidence():
    left, right = plots.reliability_diagram(RELIABILITY, "t").axes
    assert left.lines[1].get_xydata().tolist() == [[0.45, 0.5], [0.95, 0.9]]
    assert [bar.get_height() for bar in right.patches] == [3, 40]


def test_the_numbers_below_side_by_side_bars_do_not_touch():
    tables = {name: (["man", "woman"], [0.15, 0.01]) for name in ("He", "She")}
    figure = plots.candidate_bars(tables, "t")
    figure.draw_without_rendering()
    for axis in figure.axes:
        labels = [
            label.get_window_extent() for label in axis.get_xticklabels()
        ]
        pairs = zip(labels, labels[1:], strict=False)
        assert all(one.x1 + 5 < other.x0 for one, other in pairs)
