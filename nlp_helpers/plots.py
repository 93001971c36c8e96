"""Every figure, from plain arrays and tables.

The functions use matplotlib's Figure, not pyplot: nothing is kept open and no
back end is chosen. Colours are from the Okabe-Ito palette, which colour-blind
readers can tell apart, those of it that stand out from white. Each figure has
a description, for readers who cannot see it.
"""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nlp_helpers.core import files, fonts
from nlp_helpers.formatting import count, decimal

# On white: lines and bars 3 to 1 or more, text 4.5 to 1 (WCAG 2.2).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
CLASS_COLOURS = {"neutral": GREY, "positive": GREEN, "negative": ORANGE}
MAP_COLOURS = (BLUE, ORANGE, GREEN, "#000000", GREY)
MAX_BARS = 50  # of a histogram
MAX_CLASSES = 12  # of a chart that writes a number for each
MAX_NAMED = 5  # bars of a chart that its description names
# Of texts that are drawn token by token; inches, and characters of a line.
LINE_WIDTH, LINE_HEIGHT, LINE_CHARACTERS = 8.0, 0.24, 96


class Chart(Figure):
    """A figure, and a sentence that says what it shows."""

    description = ""


class Picture:
    """A PNG and its description, for any notebook viewer.

    JupyterLab, nbconvert and Sphinx draw an `image/png` without alternative
    text, whatever its metadata say; in HTML the text arrives. Whoever cannot
    show HTML takes the PNG.
    """

    def __init__(self, png: bytes, title: str, alt: str) -> None:
        """Take the content of a PNG file, and what is to be read for it."""
        self.png, self.title, self.alt = png, title, alt

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Return the picture in each form, and metadata, for IPython."""
        png = base64.b64encode(self.png).decode("ascii")
        alt, source = html.escape(self.alt), f"data:image/png;base64,{png}"
        forms = {
            "text/html": f'<img alt="{alt}" src="{source}">',
            "image/png": png,
            "text/plain": f"<figure: {self.title}>",
        }
        return forms, {"image/png": {"alt": self.alt}}


def save(figure: Figure, path: Path) -> Picture:
    """Write a figure as PNG and return it for display in the notebook."""
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without the Software entry, equal figures are equal files.
        fonts.save_figure(figure, path, dpi=100, metadata={"Software": None})
    title = figure.get_suptitle()
    description = getattr(figure, "description", "")  # of a Figure: none
    return Picture(path.read_bytes(), title, description or title)


def new_figure(
    title: str,
    width: float = 7.0,
    height: float = 3.5,
    columns: int = 1,
    sharex: bool = False,
) -> tuple[Chart, list[Axes]]:
    """Return a figure with one row of axes without the box."""
    figure = Chart(figsize=(width, height), layout="constrained")
    # Prompts and tokens are data: a "$" in them must not start a formula.
    figure.suptitle(title, parse_math=False)
    axes = list(figure.subplots(1, columns, squeeze=False, sharex=sharex)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def join_named(parts: Iterable[str]) -> str:
    """Return the parts of a description as a list in a sentence."""
    first = list(parts)
    more = len(first) - MAX_NAMED
    if more > 0:
        first = [*first[:MAX_NAMED], f"and {more} more"]
    return ", ".join(first)


def name_bars(names: Iterable[str], values: Iterable[float]) -> str:
    """Return the bars of a chart, each with its length."""
    pairs = zip(names, values, strict=True)
    return join_named(f"{name} {decimal(value)}" for name, value in pairs)


def _draw_probabilities(
    axis: Axes, tokens: Sequence[str], probabilities: Sequence[float]
) -> None:
    """Draw one horizontal bar a token, the first on top."""
    rows = np.arange(len(tokens))
    bars = axis.barh(rows, probabilities, color=BLUE)
    axis.set_yticks(rows, tokens, family="monospace", parse_math=False)
    axis.bar_label(bars, fmt=decimal, padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_xlabel("probability")


def probability_bars(
    tokens: Sequence[str], probabilities: Sequence[float], title: str
) -> Chart:
    """Draw one bar a token, first token on top."""
    figure, [axis] = new_figure(title, height=0.9 + 0.28 * len(tokens))
    _draw_probabilities(axis, tokens, probabilities)
    named = name_bars(tokens, probabilities)
    figure.description = f"Bar chart. {title}: probability of {named}."
    return figure


def candidate_bars(
    tables: dict[str, tuple[Sequence[str], Sequence[float]]], title: str
) -> Chart:
    """Draw several top-k lists side by side: name -> (tokens, scores)."""
    rows = max(len(tokens) for tokens, _ in tables.values())
    # One scale for all, so that long bars mean sure answers.
    figure, axes = new_figure(
        title, 3.6 * len(tables), 1.3 + 0.28 * rows, len(tables), sharex=True
    )
    for axis, (name, (tokens, scores)) in zip(
        axes, tables.items(), strict=True
    ):
        _draw_probabilities(axis, tokens, scores)
        axis.set_title(name, fontsize="medium", parse_math=False)
        axis.locator_params(axis="x", nbins=4)  # more would touch
    named = "; ".join(
        f"{name}: {name_bars(tokens, scores)}"
        for name, (tokens, scores) in tables.items()
    )
    figure.description = f"Bar charts side by side. {title}. {named}."
    return figure


def class_balance(counts: pd.Series, title: str) -> Chart:
    """Draw the number of rows of each class (index: class names)."""
    figure, [axis] = new_figure(title, height=max(2.2, 1 + 0.25 * len(counts)))
    colours = [CLASS_COLOURS.get(name, BLUE) for name in counts.index]
    bars = axis.barh(list(counts.index), counts.to_numpy(), color=colours)
    axis.bar_label(bars, fmt="{:,.0f}", padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.set_xlabel("rows")
    shown = counts if len(counts) <= MAX_CLASSES else counts.nlargest(3)
    named = join_named(f"{name} {number:,}" for name, number in shown.items())
    if len(shown) < len(counts):
        named = f"of {len(counts)} classes the largest are {named}"
    figure.description = f"Bar chart. {title}: {named}."
    return figure


def length_histogram(
    lengths: Sequence[int], max_length: int, title: str
) -> Chart:
    """Draw the distribution of text lengths in tokens."""
    figure, [axis] = new_figure(title, height=3.0)
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
    figure.description = (
        f"Histogram. {title}, in tokens: from {first} to {last}, median"
        f" {median:.0f}; max_length is {max_length}."
    )
    return figure


def loss_curves(
    losses: dict[str, Sequence[float]],
    window: int,
    title: str,
    validations: Mapping[str, Sequence[tuple[int, float]]] | None = None,
) -> Chart:
    """Draw the training loss of each run as the running mean of its steps.

    Args:
        losses: name of a run -> loss of every step. One run alone is drawn
            step by step too.
        window: steps of the running mean.
        title: of the figure.
        validations: name of a run -> steps, each with the validation loss
            after it.
    """
    figure, [axis] = new_figure(title)
    named = []
    for (name, values), colour in zip(
        losses.items(), cycle((BLUE, ORANGE, GREEN, GREY)), strict=False
    ):
        steps = np.arange(1, len(values) + 1)
        if len(losses) == 1:
            axis.plot(steps, values, color=GREY, lw=0.6, label="each step")
        smooth = pd.Series(values).rolling(window, min_periods=1).mean()
        label = f"{name}, mean of {count(window, 'step')}"
        axis.plot(steps, smooth, color=colour, lw=2, label=label)
        ends = " to ".join(decimal(smooth.iloc[end]) for end in (0, -1))
        named.append(f"{label}: from {ends}")
        if validations and (points := validations[name]):
            label = f"{name}, validation"
            at, values = zip(*points, strict=True)
            axis.plot(at, values, "D", color=colour, mec="black", label=label)
            named.append(
                f"{label}: {join_named(decimal(loss) for _, loss in points)}"
            )
    axis.set(xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, None))
    axis.legend(frameon=False)
    figure.description = f"Line chart. {title}. {'; '.join(named)}."
    return figure


def confusion_matrix(
    matrix: np.ndarray, names: Sequence[str], title: str
) -> Chart:
    """Draw counts, rows the true classes, columns the predicted ones."""
    few = len(names) <= MAX_CLASSES  # else numbers and words are in the way
    side = 1 if few else min(4.0, len(names) / MAX_CLASSES)
    figure, [axis] = new_figure(title, 4.2 * side, 3.8 * side)
    fractions = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    image = axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape) if few else ():
        axis.text(
            column,
            row,
            f"{matrix[row, column]}",
            ha="center",
            va="center",
            color=text_colour(image, fractions[row, column]),
        )
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=0 if len(names) < 5 else 90)
    axis.set_yticks(ticks, names)
    axis.set(xlabel="predicted", ylabel="true")
    if not few:
        figure.description = (
            f"Table of shares. {title}. Of {matrix.sum():,} texts of"
            f" {len(names)} classes, {matrix.trace():,} were taken for what"
            " they are."
        )
        return figure
    rows = "; ".join(
        f"of the {name} texts, {name_bars(names, row)}"
        for name, row in zip(names, fractions, strict=True)
    )
    figure.description = (
        f"Table of shares. {title}. What the texts of each class were taken"
        f" for: {rows}."
    )
    return figure


def text_colour(image: ScalarMappable, value: float) -> str:
    """Return black or white, what stands out more from a field's colour."""
    red, green, blue, _ = image.to_rgba(np.array(value))
    luminance = sum(
        weight * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        for weight, c in ((0.2126, red), (0.7152, green), (0.0722, blue))
    )
    # Where both have the same contrast, by the formula of WCAG.
    return "black" if luminance > (1.05 * 0.05) ** 0.5 - 0.05 else "white"


def score_bars(
    scores: pd.DataFrame, reference: tuple[str, float] | None, title: str
) -> Chart:
    """Draw a bar for each row of `scores`, with its interval.

    Args:
        scores: columns `macro_f1`, `low` and `high`; index: names.
        reference: name and macro-F1 of what is drawn as a line, if any.
        title: of the figure.
    """
    figure, [axis] = new_figure(title, height=1.3 + 0.4 * len(scores))
    macro_f1 = scores["macro_f1"]
    # With few texts the figure itself can lie outside of its interval.
    spread = np.maximum(
        [macro_f1 - scores["low"], scores["high"] - macro_f1], 0
    )
    axis.barh(list(scores.index), macro_f1, xerr=spread, color=BLUE, capsize=3)
    for row, value in enumerate(macro_f1):
        axis.text(0.01, row, decimal(value), va="center", color="white")
    axis.set(xlabel="macro-F1, with 95 % interval", xlim=(0, 1))
    line = ""
    if reference is not None:
        name, height = reference
        axis.axvline(height, color=ORANGE, ls="--", label=name)
        # Above the bars, which can be as long as the axis.
        axis.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
        line = f" A dashed line at {decimal(height)}: {name}."
    axis.invert_yaxis()
    named = "; ".join(
        f"{row.Index} {decimal(row.macro_f1)}"
        f" ({decimal(row.low)} to {decimal(row.high)})"
        for row in scores.itertuples()
    )
    figure.description = (
        f"Bar chart with 95 % intervals. {title}: {named}.{line}"
    )
    return figure


def reliability_diagram(table: pd.DataFrame, title: str) -> Chart:
    """Draw accuracy against confidence, and how many texts stand behind.

    Args:
        table: columns `confidence`, `accuracy` and `texts`.
        title: of the figure.
    """
    figure, [left, right] = new_figure(title, 7.6, 3.4, columns=2)
    left.plot([0, 1], [0, 1], color=GREY, ls="--", label="as sure as right")
    left.plot(table["confidence"], table["accuracy"], color=BLUE, marker="o")
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    left.legend(frameon=False)
    right.bar(table["confidence"], table["texts"], width=0.06, color=BLUE)
    right.set(xlabel="confidence", ylabel="texts", xlim=(0, 1))
    pairs = zip(table["confidence"], table["accuracy"], strict=True)
    named = ", ".join(f"{decimal(x)} and {decimal(y)}" for x, y in pairs)
    most = table["confidence"].iloc[int(table["texts"].argmax())]
    figure.description = (
        f"Line chart and histogram. {title}. Confidence and accuracy, point by"
        f" point: {named}. Most texts are at confidence {decimal(most)}."
    )
    return figure


def token_scores(
    texts: Sequence[tuple[str, Sequence[str], Sequence[float]]],
    label: str,
    title: str,
) -> Chart:
    """Draw the tokens of texts, each on a colour that says its score.

    Args:
        texts: name, tokens and scores of each; a score above 0 is blue, one
            below 0 orange, on one scale for all texts.
        label: of that scale.
        title: of the figure.
    """
    laid_out = [_lay_out(tokens) for _, tokens, _ in texts]
    height = sum(lines + 1.6 for lines, _ in laid_out)
    figure, [axis] = new_figure(title, LINE_WIDTH, 1.3 + LINE_HEIGHT * height)
    axis.set(xlim=(0, LINE_CHARACTERS), ylim=(height, 0))
    axis.axis("off")
    highest = max(abs(score) for _, _, scores in texts for score in scores)
    colours = LinearSegmentedColormap.from_list("", [ORANGE, "white", BLUE])
    image = ScalarMappable(Normalize(-highest, highest), colours)
    font: dict[str, Any] = {"family": "monospace", "fontsize": 9}
    top = 0.0
    boxes, named = [], []
    for (name, tokens, scores), (lines, places) in zip(
        texts, laid_out, strict=True
    ):
        axis.text(0, top + 0.8, name, fontsize="medium", parse_math=False)
        for token, score, (line, left) in zip(
            tokens, scores, places, strict=True
        ):
            corner = (left, top + 1.1 + line)
            size = (len(token) + 1, 0.85)
            boxes.append(
                Rectangle(corner, *size, color=image.to_rgba(np.array(score)))
            )
            x, y = corner[0] + size[0] / 2, corner[1] + 0.45
            ink = text_colour(image, score)
            middle = axis.text(
                x, y, token, color=ink, parse_math=False, **font
            )
            middle.set(ha="center", va="center")
        top += lines + 1.6
        first = sorted(range(len(tokens)), key=lambda n: -abs(scores[n]))[:3]
        pairs = [f"{tokens[n]} {decimal(scores[n])}" for n in sorted(first)]
        named.append(f"{name}: {', '.join(pairs)}")
    axis.add_collection(PatchCollection(boxes, match_original=True, lw=0))
    bar = figure.colorbar(image, ax=axis, orientation="horizontal", shrink=0.4)
    bar.set_label(label)
    figure.description = (
        f"Texts, each token coloured by its score. {title}. The strongest"
        f" three of each: {'; '.join(named)}."
    )
    return figure


def _lay_out(tokens: Sequence[str]) -> tuple[int, list[tuple[int, int]]]:
    """Return the number of lines, and line and first column of each token."""
    places = []
    line = left = 0
    for token in tokens:
        if left and left + len(token) + 1 > LINE_CHARACTERS:
            line, left = line + 1, 0
        places.append((line, left))
        left += len(token) + 2
    return line + 1, places


def interval_lines(
    points: Sequence[float],
    lines: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    labels: tuple[str, str],
    title: str,
) -> Chart:
    """Draw lines, each with the band of its intervals.

    Args:
        points: P places on the x axis.
        lines: name -> means, and low and high ends, (P,) each.
        labels: of both axes.
        title: of the figure.
    """
    figure, [axis] = new_figure(title)
    axis.axhline(0, color=GREY, lw=0.8)
    named = []
    for (name, (means, low, high)), colour, marker in zip(
        lines.items(),
        cycle((BLUE, GREEN, ORANGE, GREY)),
        cycle("osD^"),
        strict=False,
    ):
        axis.plot(points, means, color=colour, marker=marker, label=name)
        axis.fill_between(points, low, high, color=colour, alpha=0.2, lw=0)
        listed = join_named(
            f"{decimal(mean)} at {point:g}"
            for point, mean in zip(points, means, strict=True)
        )
        named.append(f"{name}: {listed}")
    axis.set(xlabel=labels[0], ylabel=labels[1])
    axis.legend(frameon=False)
    figure.description = (
        f"Line chart with 95 % intervals. {title}. {'; '.join(named)}."
    )
    return figure


def sweep(
    table: pd.DataFrame, parameters: Sequence[str], metric: str, title: str
) -> Chart:
    """Draw a metric of every run against each parameter, with the means.

    Args:
        table: a row for each run; columns `parameters` and `metric`.
        parameters: what was varied.
        metric: what is drawn.
        title: of the figure.
    """
    figure, axes = new_figure(
        title, 1.5 + 3 * len(parameters), columns=len(parameters)
    )
    for axis, name in zip(axes, parameters, strict=True):
        labels = table[name].map(str)  # a value may be a list
        values = list(dict.fromkeys(labels))
        positions = [values.index(value) for value in labels]
        # Rings: runs that are nearly equal can be told apart.
        axis.plot(positions, table[metric], "o", color=BLUE, mfc="none")
        means = table.groupby(labels, sort=False)[metric].mean()
        axis.plot(range(len(values)), means[values], color=ORANGE, ls="--")
        axis.set_xticks(range(len(values)), values)
        axis.set(xlabel=name, ylabel=metric)
    figure.description = (
        f"Points and their means. {title}: {metric} of"
        f" {count(len(table), 'run')} against {' and '.join(parameters)}."
    )
    return figure


def accuracy_by(table: pd.DataFrame, xlabel: str, title: str) -> Chart:
    """Draw a line for each column of accuracies against the index.

    Args:
        table: index: where each point lies; columns: name -> accuracy.
        xlabel: what the index is.
        title: of the figure.
    """
    figure, [axis] = new_figure(title)
    named = []
    for (name, values), colour in zip(
        table.items(), cycle((BLUE, ORANGE, GREEN)), strict=False
    ):
        axis.plot(table.index, values, "o-", color=colour, label=name)
        named.append(f"{name}: {', '.join(map(decimal, values))}")
    axis.set(xlabel=xlabel, ylabel="accuracy", ylim=(0, 1))
    axis.legend(frameon=False)
    points = ", ".join(decimal(point) for point in table.index)
    figure.description = (
        f"Line chart. {title}. At {points}, {'; '.join(named)}."
    )
    return figure


def learning_curve(
    points: pd.DataFrame, levels: Mapping[str, float], title: str
) -> Chart:
    """Draw the macro-F1 of each draw against the number of labelled texts.

    Args:
        points: a row for each draw: `method`, `labels` and `macro_f1`; lines
            are the means of the draws.
        levels: name -> macro-F1 of what takes no labels, drawn as a line.
        title: of the figure.
    """
    figure, [axis] = new_figure(title, height=4.2)
    named = []
    for (name, of_method), colour in zip(
        points.groupby("method", sort=False), (BLUE, ORANGE), strict=False
    ):
        means = of_method.groupby("labels")["macro_f1"].mean()
        axis.plot(means.index, means, color=colour, lw=2, label=name)
        axis.plot(
            of_method["labels"], of_method["macro_f1"], "o", color=colour, ms=4
        )
        said = [f"{decimal(mean)} at {at}" for at, mean in means.items()]
        named.append(f"{name}: {', '.join(said)}")
    for (name, level), style in zip(
        levels.items(), cycle(("--", ":", "-.")), strict=False
    ):
        axis.axhline(level, color="black", lw=1, ls=style, label=name)
        named.append(f"{name}: {decimal(level)} without labels")
    axis.set_xscale("log", base=2)
    ticks = sorted(set(points["labels"]))
    axis.set_xticks(ticks, [f"{number:,}" for number in ticks])
    axis.set(xlabel="labelled texts", ylabel="macro-F1")
    axis.legend(frameon=False, fontsize="small", loc="lower right")
    figure.description = f"Line chart. {title}. {'; '.join(named)}."
    return figure


def service_bars(table: pd.DataFrame, title: str) -> Chart:
    """Draw how long requests take, and how many texts that is a second.

    Args:
        table: columns `median` and `slowest 5 %`, the time of a request in
            ms, and `texts a second`; index: what was asked.
        title: of the figure.
    """
    figure, axes = new_figure(title, 8.4, 1.5 + 0.4 * len(table), columns=2)
    names = [str(name) for name in table.index]
    columns = {"ms a request": "median", "texts a second": "texts a second"}
    for axis, (label, column) in zip(axes, columns.items(), strict=True):
        bars = axis.barh(names, table[column], color=BLUE)
        axis.bar_label(bars, fmt="{:,.0f}", padding=3)
        axis.invert_yaxis()
        axis.margins(x=0.2)
        axis.set_xlabel(label)
    axes[0].plot(table["slowest 5 %"], names, "|", color=ORANGE, ms=14, mew=2)
    axes[1].set_yticks([])
    named = "; ".join(
        f"{name}: {row['median']:.1f} ms, {row['texts a second']:.1f} texts"
        for name, row in table.iterrows()
    )
    figure.description = (
        f"Bar charts side by side. {title}. Median time of a request, and"
        f" texts a second. {named}. Marks: 5 % of the requests take longer."
    )
    return figure


def sense_layers(
    layers: pd.DataFrame, levels: Mapping[str, float], title: str
) -> Chart:
    """Draw how far apart two senses of a word are in each layer.

    Args:
        layers: columns `within`, `between` (cosine distances) and `accuracy`;
            a row for each layer, from the embeddings on.
        levels: name -> accuracy of what has no layers, drawn as lines.
        title: of the figure.
    """
    figure, [left, right] = new_figure(title, 8.4, 3.4, columns=2)
    numbers = np.arange(len(layers))
    for name, colour, marker in (
        ("between", ORANGE, "s"),
        ("within", BLUE, "o"),
    ):
        label = f"{name} senses" if name == "between" else "within a sense"
        left.plot(
            numbers, layers[name], color=colour, marker=marker, label=label
        )
    right.plot(numbers, layers["accuracy"], color=BLUE, marker="o")
    for (name, level), colour in zip(
        levels.items(), (ORANGE, GREY, GREEN), strict=False
    ):
        right.axhline(level, color=colour, ls="--", label=name)
    left.set(xlabel="layer", ylabel="cosine distance", ylim=(0, None))
    right.set(xlabel="layer", ylabel="nearest is of its sense", ylim=(0, 1))
    for axis in (left, right):
        axis.set_xticks(numbers)
        axis.legend(frameon=False, loc="lower right")
    named = "; ".join(
        f"{name}: {', '.join(decimal(value) for value in layers[name])}"
        for name in ("within", "between", "accuracy")
    )
    lines = ", ".join(f"{k} {decimal(v)}" for k, v in levels.items())
    figure.description = (
        f"Line charts. {title}. Layer by layer, from the embeddings on,"
        f" {named}. Dashed lines: {lines}."
    )
    return figure


def text_map(
    points: np.ndarray, labels: Mapping[str, Sequence[str]], title: str
) -> Chart:
    """Draw each text as a point, once for each way to colour them.

    Args:
        points: (N, 2).
        labels: what the colours mean -> N names, of five or fewer kinds.
        title: of the figure.
    """
    figure, axes = new_figure(title, 4.6 * len(labels), 4.6, len(labels))
    for axis, (meaning, names) in zip(axes, labels.items(), strict=True):
        _draw_map(axis, points, pd.Series(list(names)))
        axis.set_title(meaning, fontsize="medium")
    counted = "; ".join(
        f"{meaning}: {', '.join(sorted(set(names)))}"
        for meaning, names in labels.items()
    )
    figure.description = (
        f"Maps side by side. {title}: {count(len(points), 'point')} in two"
        f" dimensions, coloured by {counted}."
    )
    return figure


def class_maps(
    points: Mapping[str, np.ndarray], classes: Sequence[str], title: str
) -> Chart:
    """Draw the same texts as points, once for each way to place them.

    Args:
        points: how they are placed -> (N, 2).
        classes: the names of their classes, N; the five commonest are drawn.
        title: of the figure.
    """
    kinds = pd.Series(list(classes))
    figure, axes = new_figure(title, 4.6 * len(points), 4.6, len(points))
    drawn = kinds.value_counts().index[: len(MAP_COLOURS)]
    for axis, (name, places) in zip(axes, points.items(), strict=True):
        _draw_map(axis, places, kinds[kinds.isin(drawn)])
        axis.set_title(name, fontsize="medium")
    figure.description = (
        f"Maps side by side. {title}: {count(len(kinds), 'text')} in two"
        f" dimensions, {', '.join(points)}, coloured by class:"
        f" {', '.join(drawn)}."
    )
    return figure


def _draw_map(axis: Axes, points: np.ndarray, kinds: pd.Series) -> None:
    """Draw points in the colours of their kinds, whose index is their row."""
    for kind, colour, marker in zip(
        sorted(kinds.unique()), MAP_COLOURS, "osD^v", strict=False
    ):
        rows = kinds.index[kinds == kind]
        colour = CLASS_COLOURS.get(kind, colour)
        axis.plot(*points[rows].T, marker, color=colour, ms=3, label=kind)
    axis.set(xticks=[], yticks=[])
    axis.legend(
        frameon=False,
        ncols=3,
        loc="upper center",
        fontsize="small",
        bbox_to_anchor=(0.5, 0),
        markerscale=2,
    )


def batch_layout(lengths: Sequence[int], title: str) -> Chart:
    """Draw the tokens of a batch, padded to the longest and end to end.

    Args:
        lengths: of the texts, in tokens.
        title: of the figure.
    """
    figure, (padded, packed) = new_figure(title, 9.0, 2.8, columns=2)
    longest, total = max(lengths), sum(lengths)
    colours = [(BLUE, ORANGE)[row % 2] for row in range(len(lengths))]
    rows = np.arange(len(lengths))
    padded.barh(rows, longest, color=GREY)
    padded.barh(rows, lengths, color=colours)
    padded.set(ylabel="texts", yticks=[], xlabel="tokens; grey is padding")
    padded.invert_yaxis()
    starts = np.cumsum([0, *lengths])
    packed.barh(0, lengths, left=starts[:-1], height=0.3, color=colours)
    packed.set(yticks=[], ylim=(-1, 1), xticks=starts, xlabel="cu_seqlens")
    packed.tick_params(axis="x", labelsize="small", rotation=90)
    sums = (longest * len(lengths), total)
    names = ("padded to the longest", "end to end")
    for axis, name, tokens in zip((padded, packed), names, sums, strict=True):
        axis.set_title(f"{name}: {tokens:,} tokens", fontsize="medium")
    figure.description = (
        f"Bars side by side. {title}: {count(len(lengths), 'text')} of"
        f" {', '.join(map(str, lengths))} tokens. Padded to the longest they"
        f" fill a rectangle of {sums[0]:,} tokens, end to end a row of"
        f" {total:,}."
    )
    return figure
