import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from pages import export_images

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
    "validated": lambda: plots.loss_curves(
        {"one": [1.1, 0.9, 0.7]}, 2, "t", {"one": [(2, 0.95), (3, 0.9)]}
    ),
    "scores": lambda: plots.score_bars(SCORES, ("a human rater", 0.85), "t"),
    "reliability": lambda: plots.reliability_diagram(RELIABILITY, "t"),
    "tokens": lambda: plots.token_scores(
        [
            ("one", ["[CLS]", "$", "not", "$"], [0, 0.5, -2, 1]),
            ("two", ["good"] * 40, [1] * 40),
        ],
        "score",
        "t",
    ),
    "intervals": lambda: plots.interval_lines(
        [0.1, 0.2],
        {
            "a": tuple(np.array([[0.5, 0.6], [0.4, 0.5], [0.6, 0.7]])),
            "b": tuple(np.array([[0.1, 0.2], [0.0, 0.1], [0.2, 0.3]])),
        },
        ("fraction", "drop"),
        "t",
    ),
    "confusion": lambda: plots.confusion_matrix(
        np.array([[1, 0], [2, 3]]), ["a", "b"], "t"
    ),
    "accuracy": lambda: plots.accuracy_by(
        pd.DataFrame({"BERT": [0.4, 0.9], "words": [0.3, 0.8]}, [0.25, 1.0]),
        "agreement",
        "t",
    ),
    "learning": lambda: plots.learning_curve(
        pd.DataFrame(
            {
                "method": ["further"] * 3 + ["frozen"],
                "labels": [8, 8, 32, 8],
                "macro_f1": [0.5, 0.7, 0.75, 0.25],
            }
        ),
        {"words": 0.625},
        "t",
    ),
    "service": lambda: plots.service_bars(
        pd.DataFrame(
            {
                "median": [5.0, 40.25],
                "slowest 5 %": [9.0, 60.0],
                "texts a second": [200.0, 800.0],
            },
            ["1 text", "32 texts"],
        ),
        "t",
    ),
    "senses": lambda: plots.sense_layers(
        pd.DataFrame(
            {
                "within": [0.1, 0.2],
                "between": [0.1, 0.4],
                "accuracy": [0.4, 0.9],
            }
        ),
        {"chance": 0.444},
        "t",
    ),
    "map": lambda: plots.text_map(
        np.array([[0, 0], [1, 1], [2, 0]]),
        {"product": ["b", "a", "b"], "class": ["positive"] * 3},
        "t",
    ),
    "class maps": lambda: plots.class_maps(
        {
            "before": np.array([[0, 0], [1, 1], [2, 0]]),
            "after": np.array([[0, 0], [1, 2], [2, 0]]),
        },
        ["b", "a", "b"],
        "t",
    ),
    "batch": lambda: plots.batch_layout([3, 5], "t"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_and_equal_figures_are_equal_files(name, tmp_path):
    image = plots.save(FIGURES[name](), tmp_path / "folder" / "one.png")
    plots.save(FIGURES[name](), tmp_path / "two.png")
    content = (tmp_path / "two.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 3000
    assert (tmp_path / "folder" / "one.png").read_bytes() == content
    assert image.png == content


DESCRIPTIONS = {
    "bars": "Bar chart. $x_$: probability of $x_$ 0.500, _ 0.300, a 0.000.",
    "candidates": "Bar charts side by side. t. $He_$: a 0.500, b 0.200;"
    " She: c 0.400.",
    "balance": "Bar chart. t: neutral 3, positive 5.",
    "lengths": "Histogram. t, in tokens: from 3 to 12, median 6; max_length"
    " is 12.",
    "loss": "Line chart. t. one, mean of 2 steps: from 1.100 to 0.800.",
    "validated": "Line chart. t. one, mean of 2 steps: from 1.100 to 0.800;"
    " one, validation: 0.950, 0.900.",
    "scores": "Bar chart with 95 % intervals. t: words 0.500 (0.400 to"
    " 0.550); BERT 0.700 (0.650 to 0.800). A dashed line at 0.850: a human"
    " rater.",
    "reliability": "Line chart and histogram. t. Confidence and accuracy,"
    " point by point: 0.450 and 0.500, 0.950 and 0.900. Most texts are at"
    " confidence 0.950.",
    "tokens": "Texts, each token coloured by its score. t. The strongest three"
    " of each: one: $ 0.500, not -2.000, $ 1.000; two: good 1.000, good 1.000,"
    " good 1.000.",
    "intervals": "Line chart with 95 % intervals. t. a: 0.500 at 0.1, 0.600 at"
    " 0.2; b: 0.100 at 0.1, 0.200 at 0.2.",
    "senses": "Line charts. t. Layer by layer, from the embeddings on,"
    " within: 0.100, 0.200; between: 0.100, 0.400; accuracy: 0.400, 0.900."
    " Dashed lines: chance 0.444.",
    "map": "Maps side by side. t: 3 points in two dimensions, coloured by"
    " product: a, b; class: positive.",
    "confusion": "Table of shares. t. What the texts of each class were taken"
    " for: of the a texts, a 1.000, b 0.000; of the b texts, a 0.400, b"
    " 0.600.",
    "accuracy": "Line chart. t. At 0.250, 1.000, BERT: 0.400, 0.900; words:"
    " 0.300, 0.800.",
    "learning": "Line chart. t. further: 0.600 at 8, 0.750 at 32; frozen:"
    " 0.250 at 8; words: 0.625 without labels.",
    "service": "Bar charts side by side. t. Median time of a request, and"
    " texts a second. 1 text: 5.0 ms, 200.0 texts; 32 texts: 40.2 ms, 800.0"
    " texts. Marks: 5 % of the requests take longer.",
    "class maps": "Maps side by side. t: 3 texts in two dimensions, before,"
    " after, coloured by class: b, a.",
    "batch": "Bars side by side. t: 2 texts of 3, 5 tokens. Padded to the"
    " longest they fill a rectangle of 10 tokens, end to end a row of 8.",
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_figure_says_what_it_shows(name, tmp_path):
    picture = plots.save(FIGURES[name](), tmp_path / "one.png")
    assert picture.alt == DESCRIPTIONS[name]


def test_a_description_of_many_bars_is_one_sentence(tmp_path):
    tokens = [f"t{number}" for number in range(20)]
    figure = plots.probability_bars(tokens, [0.05] * 20, "t")
    assert figure.description.endswith("t4 0.050, and 15 more.")


def test_a_figure_of_matplotlib_is_read_by_its_title(tmp_path):
    figure = Figure()
    figure.suptitle("mine")
    assert plots.save(figure, tmp_path / "one.png").alt == "mine"


def test_the_description_arrives_in_an_exported_page(tmp_path):
    """Those of image/png do not: the default template has no alt."""
    picture = plots.save(
        plots.probability_bars(['"<b>"', "&"], [0.5, 0.3], "t"),
        tmp_path / "one.png",
    )
    data, metadata = picture._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("figure", outputs=[output])
    path = tmp_path / "one.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    [image] = export_images([path], tmp_path)["one"]
    assert image["alt"] == (
        'Bar chart. t: probability of "<b>" 0.500, & 0.300.'
    )
    assert image["src"] == f"data:image/png;base64,{data['image/png']}"


def luminance(colour):
    """Relative luminance, as WCAG 2.2 defines it."""
    channels = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in to_rgba(colour)[:3]
    )
    return np.dot([0.2126, 0.7152, 0.0722], list(channels))


def contrast(one, other):
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_is_that_of_the_guidelines():
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)
    assert contrast("#E69F00", "white") == pytest.approx(2.25, abs=0.01)


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_drawn_stands_out_from_the_page(name):
    for axis in FIGURES[name]().axes:
        drawn = [line.get_color() for line in axis.lines]
        drawn += [bar.get_facecolor() for bar in axis.patches]
        assert drawn or axis.images or axis.collections
        for colour in drawn:
            assert to_rgba(colour)[3] == 1  # pale lines are hard to see
            assert contrast(colour, "white") >= 3, colour


def test_white_text_on_bars_can_be_read():
    [axis] = plots.score_bars(SCORES, ("a human rater", 0.85), "t").axes
    for text, bar in zip(axis.texts, axis.patches, strict=True):
        assert contrast(text.get_color(), bar.get_facecolor()) >= 4.5


@pytest.mark.parametrize("percent", range(101))
def test_every_count_of_the_confusion_matrix_can_be_read(percent):
    matrix = np.array([[percent, 100 - percent], [0, 1]])
    [axis] = plots.confusion_matrix(matrix, ["a", "b"], "t").axes
    [image] = axis.images
    assert isinstance(image, ScalarMappable)
    for text in axis.texts:
        column, row = text.get_position()
        field = image.to_rgba(image.get_array()[row, column])
        assert contrast(text.get_color(), field) >= 4.5


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


def test_the_validation_losses_stand_at_their_steps():
    [axis] = FIGURES["validated"]().axes
    [points] = [line for line in axis.lines if line.get_marker() == "D"]
    assert points.get_xydata().tolist() == [[2, 0.95], [3, 0.9]]
    assert points.get_label() == "one, validation"


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


def test_the_senses_are_drawn_layer_by_layer():
    left, right = FIGURES["senses"]().axes
    between, within = left.lines
    assert between.get_ydata().tolist() == [0.1, 0.4]
    assert within.get_ydata().tolist() == [0.1, 0.2]
    accuracy, chance = right.lines
    assert accuracy.get_ydata().tolist() == [0.4, 0.9]
    assert chance.get_ydata() == [0.444, 0.444] and right.get_ylim() == (0, 1)


def test_the_map_has_each_text_once_in_the_colour_of_its_name():
    product, label = FIGURES["map"]().axes
    drawn = {line.get_label(): line.get_xydata() for line in product.lines}
    assert drawn["a"].tolist() == [[1, 1]]
    assert drawn["b"].tolist() == [[0, 0], [2, 0]]
    [line] = label.lines
    assert line.get_color() == plots.CLASS_COLOURS["positive"]
