"""Every figure, from plain arrays and tables.

The functions use matplotlib's Figure, not pyplot: nothing is kept open and no
back end is chosen. Colours are from the Okabe-Ito palette, which colour-blind
readers can tell apart.
"""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nlp_helpers.core import files

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#999999"
CLASS_COLOURS = {"neutral": GREY, "positive": GREEN, "negative": ORANGE}
MAX_BARS = 50  # of a histogram


def save(figure: Figure, path: Path) -> Image:
    """Write a figure as PNG and return it for display in the notebook."""
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without the Software entry, equal figures are equal files.
        figure.savefig(path, dpi=100, metadata={"Software": None})
    image = Image(filename=str(path))
    image.alt = figure.get_suptitle()  # no argument in Colab's IPython 7
    return image


def _figure(
    title: str,
    width: float = 7.0,
    height: float = 3.5,
    columns: int = 1,
    sharex: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with one row of axes without the box."""
    figure = Figure(figsize=(width, height), layout="constrained")
    # Prompts and tokens are data: a "$" in them must not start a formula.
    figure.suptitle(title, parse_math=False)
    axes = list(figure.subplots(1, columns, squeeze=False, sharex=sharex)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_probabilities(
    axis: Axes, tokens: Sequence[str], probabilities: Sequence[float]
) -> None:
    """Draw one horizontal bar a token, the first on top."""
    rows = np.arange(len(tokens))
    bars = axis.barh(rows, probabilities, color=BLUE)
    axis.set_yticks(rows, tokens, family="monospace", parse_math=False)
    axis.bar_label(bars, fmt="{:.2g}", padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_xlabel("probability")


def probability_bars(
    tokens: Sequence[str], probabilities: Sequence[float], title: str
) -> Figure:
    """Draw one bar a token, first token on top."""
    figure, [axis] = _figure(title, height=0.9 + 0.28 * len(tokens))
    _draw_probabilities(axis, tokens, probabilities)
    return figure


def candidate_bars(
    tables: dict[str, tuple[Sequence[str], Sequence[float]]], title: str
) -> Figure:
    """Draw several top-k lists side by side: name -> (tokens, scores)."""
    rows = max(len(tokens) for tokens, _ in tables.values())
    # One scale for all, so that long bars mean sure answers.
    figure, axes = _figure(
        title, 3.6 * len(tables), 1.3 + 0.28 * rows, len(tables), sharex=True
    )
    for axis, (name, (tokens, scores)) in zip(
        axes, tables.items(), strict=True
    ):
        _draw_probabilities(axis, tokens, scores)
        axis.set_title(name, fontsize="medium", parse_math=False)
        axis.locator_params(axis="x", nbins=4)  # more would touch
    return figure


def class_balance(counts: pd.Series, title: str) -> Figure:
    """Draw the number of rows of each class (index: class names)."""
    figure, [axis] = _figure(title, height=2.2)
    colours = [CLASS_COLOURS[name] for name in counts.index]
    bars = axis.barh(list(counts.index), counts.to_numpy(), color=colours)
    axis.bar_label(bars, fmt="{:,.0f}", padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.set_xlabel("rows")
    return figure


def length_histogram(
    lengths: Sequence[int], max_length: int, title: str
) -> Figure:
    """Draw the distribution of text lengths in tokens."""
    figure, [axis] = _figure(title, height=3.0)
    first, last = min(lengths), max(lengths)
    # Whole tokens to a bar: else one bar counts one length, the next two.
    width = -(-(last - first + 1) // MAX_BARS)
    edges = np.arange(first, last + width + 1, width) - 0.5
    axis.hist(lengths, bins=edges.tolist(), color=BLUE)
    median = float(np.median(lengths))
    axis.axvline(median, color=ORANGE, label=f"median {median:.0f}")
    if last >= max_length:
        axis.axvline(max_length, color=GREY, ls="--", label="max_length")
    axis.set(xlabel="tokens, [CLS] and [SEP] included", ylabel="rows")
    axis.legend(frameon=False)
    return figure


def loss_curves(
    losses: dict[str, Sequence[float]], window: int, title: str
) -> Figure:
    """Draw the training loss of each run as the running mean of its steps.

    Args:
        losses: name of a run -> loss of every step. One run alone is drawn
            step by step too.
        window: steps of the running mean.
        title: of the figure.
    """
    figure, [axis] = _figure(title)
    for (name, values), colour in zip(
        losses.items(), cycle((BLUE, ORANGE, GREEN, GREY)), strict=False
    ):
        steps = np.arange(1, len(values) + 1)
        if len(losses) == 1:
            axis.plot(
                steps, values, color=colour, alpha=0.25, label="each step"
            )
        smooth = pd.Series(values).rolling(window, min_periods=1).mean()
        label = f"{name}, mean of {window} steps"
        axis.plot(steps, smooth, color=colour, label=label)
    axis.set(xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, None))
    axis.legend(frameon=False)
    return figure


def confusion_matrix(
    matrix: np.ndarray, names: Sequence[str], title: str
) -> Figure:
    """Draw counts, rows the true classes, columns the predicted ones."""
    figure, [axis] = _figure(title, 4.2, 3.8)
    fractions = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        axis.text(
            column,
            row,
            f"{matrix[row, column]}",
            ha="center",
            va="center",
            color="white" if fractions[row, column] > 0.5 else "black",
        )
    ticks = range(len(names))
    axis.set_xticks(ticks, names)
    axis.set_yticks(ticks, names)
    axis.set(xlabel="predicted", ylabel="true")
    return figure


def score_bars(
    scores: pd.DataFrame, reference: tuple[str, float], title: str
) -> Figure:
    """Draw a bar for each row of `scores`, with its interval.

    Args:
        scores: columns `macro_f1`, `low` and `high`; index: names.
        reference: name and macro-F1 of what is drawn as a line.
        title: of the figure.
    """
    figure, [axis] = _figure(title, height=1.3 + 0.4 * len(scores))
    macro_f1 = scores["macro_f1"]
    # With few texts the figure itself can lie outside of its interval.
    spread = np.maximum(
        [macro_f1 - scores["low"], scores["high"] - macro_f1], 0
    )
    axis.barh(list(scores.index), macro_f1, xerr=spread, color=BLUE, capsize=3)
    for row, value in enumerate(macro_f1):
        axis.text(0.01, row, f"{value:.2f}", va="center", color="white")
    name, height = reference
    axis.axvline(height, color=ORANGE, ls="--", label=name)
    axis.set(xlabel="macro-F1, with 95 % interval", xlim=(0, 1))
    # Above the bars, which can be as long as the axis.
    axis.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    axis.invert_yaxis()
    return figure


def reliability_diagram(table: pd.DataFrame, title: str) -> Figure:
    """Draw accuracy against confidence, and how many texts stand behind.

    Args:
        table: columns `confidence`, `accuracy` and `texts`.
        title: of the figure.
    """
    figure, [left, right] = _figure(title, 7.6, 3.4, columns=2)
    left.plot([0, 1], [0, 1], color=GREY, ls="--", label="as sure as right")
    left.plot(table["confidence"], table["accuracy"], color=BLUE, marker="o")
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    left.legend(frameon=False)
    right.bar(table["confidence"], table["texts"], width=0.06, color=BLUE)
    right.set(xlabel="confidence", ylabel="texts", xlim=(0, 1))
    return figure


def sweep(
    table: pd.DataFrame, parameters: Sequence[str], metric: str, title: str
) -> Figure:
    """Draw a metric of every run against each parameter, with the means.

    Args:
        table: a row for each run; columns `parameters` and `metric`.
        parameters: what was varied.
        metric: what is drawn.
        title: of the figure.
    """
    figure, axes = _figure(
        title, 1.5 + 3 * len(parameters), columns=len(parameters)
    )
    for axis, name in zip(axes, parameters, strict=True):
        labels = table[name].map(str)  # a value may be a list
        values = list(dict.fromkeys(labels))
        positions = [values.index(value) for value in labels]
        axis.plot(positions, table[metric], "o", color=BLUE, alpha=0.6)
        means = table.groupby(labels, sort=False)[metric].mean()
        axis.plot(range(len(values)), means[values], color=ORANGE, ls="--")
        axis.set_xticks(range(len(values)), values)
        axis.set(xlabel=name, ylabel=metric)
    return figure
