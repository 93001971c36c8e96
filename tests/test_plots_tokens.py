import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from nlp_helpers import plots, plots_tokens

STEPS = pd.DataFrame(
    {
        "text so far": ["$The$ cup", "$The$ cup of", "$The$ cup of <0xE2>"],
        "token": [" of", " <0xE2>", "<0x98>"],
        "probability": [0.25, 0.0625, 1.0],
        "instead": ["' in' 0.125", "' tea' 0.031", "'$x_$' <0.001"],
    },
    index=pd.RangeIndex(1, 4, name="step"),
)
WEIGHTS = np.array([[0.75, 0.25, 0.0], [0.125, 0.5, 0.375]])
FIGURES = {
    "boxes": lambda: plots_tokens.token_boxes(
        {
            "one": [("$x_$", 1), (" <0xE2>", 20), ("\n", 300), (" €", 4)],
            "many": [("word", 12345)] * 40,
        },
        "t",
    ),
    "steps": lambda: plots_tokens.token_steps(STEPS, "t"),
    "mass": lambda: plots_tokens.mass_curves(
        {
            0.5: np.array([0.75, 0.1875, 0.0625, 0.0]),
            1.0: np.array([0.5, 0.25, 0.125, 0.125]),
        },
        0.8,
        "t",
    ),
    "attention": lambda: plots_tokens.attention_table(
        WEIGHTS, ["[MASK]", "$"], ["[CLS]", "$", "[SEP]"], 2, "t"
    ),
    "panels": lambda: plots_tokens.token_panels(
        ["$x_$", "_", "a", "b"],
        {"$one$": [0.5, 0.25, 0, 0.125], "fall": [0.0, 0.25, -0.5, 0.0625]},
        "t",
    ),
}
DESCRIPTIONS = {
    "boxes": "Tokens in boxes, each above its id. t. one: $x_$, ␣E2, ⏎, ␣€;"
    " many: word, word, word, word, word, and 35 more.",
    "steps": "Text that grows by one token a line. t. Chosen, each with its"
    " probability: ␣of 0.250, ␣E2 0.062, 98 1.000.",
    "mass": "Line chart. t. To reach top_p 0.8: temperature 0.5: keeps 2"
    " tokens; temperature 1: keeps 3 tokens. Probability that the best"
    " 1/10/100/1000 have together: 0.750 at temperature 0.5; 0.500 at"
    " temperature 1.",
    "attention": "Table of attention weights. t. Each token looks most:"
    " [MASK] at [CLS] with 0.75, $ at $ with 0.50.",
    "panels": "Bar charts side by side. t. The largest two of each: $one$:"
    " $x_$ 0.500, _ 0.250; fall: a -0.500, _ 0.250.",
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_and_says_what_it_shows(name, tmp_path):
    picture = plots.save(FIGURES[name](), tmp_path / "one.png")
    plots.save(FIGURES[name](), tmp_path / "two.png")
    assert (tmp_path / "two.png").read_bytes() == picture.png
    assert picture.png.startswith(b"\x89PNG") and len(picture.png) > 3000
    assert picture.alt == DESCRIPTIONS[name]


def drawn_texts(axis):
    return [text.get_text() for text in axis.texts]


def boxes(axis):
    """Return left end, right end, face and edge of each box, and its line."""
    [collection] = axis.collections
    faces, edges = collection.get_facecolors(), collection.get_edgecolors()
    for path, face, edge in zip(
        collection.get_paths(), faces, edges, strict=True
    ):
        (left, top), (right, _) = path.get_extents().get_points()
        yield left, right, int(top), tuple(face), tuple(edge)


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" cup", "␣cup"),
        ("\n\t", "⏎⇥"),
        (" <0xE2><0x98>", "␣E2 98"),
        ("你<0xE5>", "你E5"),
        ("x" * 30, "..." + "x" * 20),
    ],
)
def test_spaces_and_bytes_can_be_seen(token, shown):
    assert plots_tokens.visible(token) == shown


def test_a_part_of_a_character_has_another_box_than_a_character():
    [axis] = FIGURES["boxes"]().axes
    edges = [edge for *_, edge in boxes(axis)]
    assert edges[1] == to_rgba(plots.ORANGE)
    assert {*edges[:1], *edges[2:]} == {to_rgba(plots.BLUE)}
    assert {"␣E2", "20", "300", "12345"} <= {*drawn_texts(axis)}


def test_boxes_stand_side_by_side_in_lines_that_fit():
    [axis] = FIGURES["boxes"]().axes
    found = list(boxes(axis))
    assert len(found) == 44
    for one, other in zip(found, found[1:], strict=False):
        assert one[2] < other[2] or one[1] < other[0]
    lines = {top for _, _, top, *_ in found}
    assert len(lines) > 3  # forty words take several lines
    assert max(right for _, right, *_ in found) <= axis.get_xlim()[1]
    assert max(lines) + 2 < axis.get_ylim()[0]  # with the ids below


def test_the_newest_token_stands_in_one_column_and_is_bluer_if_surer():
    [axis] = FIGURES["steps"]().axes
    found = list(boxes(axis))
    assert len({(left, right) for left, right, *_ in found}) == 1
    red = [face[0] for *_, face, _ in found]  # of white 1, of blue 0
    assert red[1] > red[0] > red[2]
    texts = drawn_texts(axis)
    assert {"␣of", "␣E2", "98", "0.250", "0.062", "1.000"} <= {*texts}
    assert "$The$␣cup␣of" in texts and "' in' 0.125" in texts


def test_of_a_long_text_the_newest_words_are_drawn():
    long = STEPS.copy()
    long["text so far"] = ["word " * 30 + "newest"] * 3
    long["instead"] = ["' alternative' 0.001, " * 9] * 3
    [axis] = plots_tokens.token_steps(long, "t").axes
    texts = drawn_texts(axis)
    [before] = {text for text in texts if text.endswith("␣newest")}
    assert before.startswith("...") and len(before) < plots_tokens.CONTEXT
    [instead] = {text for text in texts if text.startswith("' alt")}
    assert instead.endswith("...") and len(instead) == plots_tokens.MAX_INSTEAD


def test_nothing_of_a_step_lies_on_its_neighbour():
    long = STEPS.copy()
    long["text so far"] = ["m" * 90] * 3
    long["token"] = ["m" * 30, " <0xE2><0x98>", "m" * 9]
    figure = plots_tokens.token_steps(long, "t")
    figure.draw_without_rendering()
    [axis] = figure.axes
    lines = {}
    for text in axis.texts:
        extent = text.get_window_extent()
        lines.setdefault(round(extent.y0 + extent.y1), []).append(extent)
    assert sorted(map(len, lines.values())) == [3, 5, 5, 5]
    for extents in lines.values():
        extents.sort(key=lambda extent: extent.x0)
        for one, other in zip(extents, extents[1:], strict=False):
            assert one.x1 < other.x0
        assert extents[-1].x1 <= figure.bbox.x1


def test_a_long_continuation_says_how_much_of_it_is_drawn():
    many = pd.concat([STEPS] * 30)
    many.index = pd.RangeIndex(1, 91, name="step")
    figure = plots_tokens.token_steps(many, "t")
    [axis] = figure.axes
    assert len(list(boxes(axis))) == plots_tokens.MAX_STEPS
    assert figure.get_suptitle() == "t (the first 60 of 90 steps)"


def test_the_curves_add_up_and_are_marked_where_top_p_cuts():
    [axis] = FIGURES["mass"]().axes
    sharp, cut, flat, other_cut, level = axis.lines
    assert sharp.get_ydata().tolist() == [0.75, 0.9375, 1, 1]
    assert flat.get_ydata().tolist() == [0.5, 0.75, 0.875, 1]
    assert sharp.get_xdata().tolist() == [1, 2, 3, 4]
    assert cut.get_xydata().tolist() == [[2, 0.9375]]
    assert other_cut.get_xydata().tolist() == [[3, 0.875]]
    assert level.get_ydata() == [0.8, 0.8]
    assert sharp.get_linestyle() != flat.get_linestyle()


def test_a_top_p_of_1_keeps_what_is_too_small_to_count():
    tiny = np.array([1, 1e-20, 1e-20])
    figure = plots_tokens.mass_curves({1.0: tiny}, 1.0, "t")
    assert "temperature 1: keeps 3 tokens." in figure.description


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, 1), (0.5, 1), (0.51, 2), (0.875, 3), (1, 4)]
)
def test_the_cut_keeps_as_many_as_top_p_sampling_does(top_p, kept):
    probabilities = np.array([0.5, 0.25, 0.125, 0.125])
    figure = plots_tokens.mass_curves({1.0: probabilities}, top_p, "t")
    noun = "token" if kept == 1 else "tokens"
    assert f"temperature 1: keeps {kept} {noun}." in figure.description


def test_the_table_of_attention_has_each_weight_in_its_place():
    [axis] = FIGURES["attention"]().axes
    written = {text.get_position(): text.get_text() for text in axis.texts}
    # x is the token that is looked at, y the one that looks
    assert written == {
        (0, 0): "0.75",
        (1, 0): "0.25",
        (0, 1): "0.12",
        (1, 1): "0.50",
        (2, 1): "0.38",
    }
    assert axis.get_xlabel() == "looked at"
    assert axis.lines[0].get_xdata() == [1.5, 1.5]  # after two columns


def test_a_large_table_of_attention_has_no_numbers_and_fits(tmp_path):
    names = ["word"] * 200
    weights = np.full((200, 200), 0.005)
    figure = plots_tokens.attention_table(weights, names, names, 100, "t")
    [axis] = figure.axes
    assert not axis.texts and figure.get_figwidth() <= 14
    assert "word" not in [t.get_text() for t in axis.get_xticklabels()]
    assert not axis.get_yticklabels()
    figure = plots_tokens.attention_table(
        weights[:2], ["a", "b"], names, 100, "t"
    )
    [axis] = figure.axes
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]


def test_the_panels_share_one_scale_and_begin_on_top():
    one, fall = FIGURES["panels"]().axes
    assert [bar.get_width() for bar in one.patches] == [0.5, 0.25, 0, 0.125]
    assert [bar.get_width() for bar in fall.patches][2] == -0.5
    assert one.get_xlim() == fall.get_xlim()
    fall.figure.draw_without_rendering()
    frame = fall.get_window_extent()
    for label in fall.texts:  # of short bars too, on either side of zero
        assert frame.x0 < label.get_window_extent().x0
    assert [t.get_text() for t in one.get_yticklabels()][0] == "$x_$"
    low, high = one.get_ylim()
    assert low > high
