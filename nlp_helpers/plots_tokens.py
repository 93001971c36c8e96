"""Figures of tokens: as boxes, step by step, their probability and attention.

They are made of the parts of `plots`, and written by `plots.save`. A space in
a token is drawn as `␣`, a line break as `⏎`, a tab as `⇥`. A byte that is
only a part of a character is drawn as two hexadecimal digits.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from nlp_helpers import formatting, plots
from nlp_helpers.formatting import count, decimal
from nlp_helpers.plots import BLUE, GREY, ORANGE, Chart

BYTE = re.compile("<0x([0-9A-F]{2})>")  # as token_text shows it
VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\r": "⏎", "\t": "⇥"})
FONT: dict[str, Any] = {"family": "monospace", "fontsize": 9}
CONTEXT = 30  # characters of the text before a step: the newest
MAX_INSTEAD = 54  # characters of what could have been chosen instead
MAX_TOKEN = 20  # characters of a token
MAX_STEPS = 60  # drawn of a continuation
MAX_SIDE, MAX_WIDTH = 30, 12.0  # of a table of attention: tokens, inches
CHARACTER = 0.082  # inches that a character of FONT takes
LINE = 0.26  # inches from one line of boxes to the next
RANKS = (1, 10, 100, 1000)  # so many best tokens a description counts


def visible(token: str) -> str:
    """Return a token as it is drawn: `␣cup`, `E2 98`, of long ones the end."""
    shown = BYTE.sub(r"\1 ", token.translate(VISIBLE)).rstrip(" ")
    return formatting.ending(shown, MAX_TOKEN)


def token_boxes(
    texts: Mapping[str, Sequence[tuple[str, int]]], title: str
) -> Chart:
    """Draw the tokens of texts in boxes, each above its id.

    Args:
        texts: name -> the text and the id of each token; a token with a part
            of a character has an orange box, the others have blue ones.
        title: of the figure.
    """
    rows = {name: _break_lines(tokens) for name, tokens in texts.items()}
    height = sum(2.2 * len(lines) + 1.4 for lines in rows.values())
    widths = [sum(w + 1 for *_, w in line) for n in rows for line in rows[n]]
    figure, axis = _text_figure(title, max(*widths, 60), height)
    boxes = []
    top = 0.0
    for name, lines in rows.items():
        axis.text(0, top + 0.7, name, fontsize="medium", parse_math=False)
        top += 1.1
        for line in lines:
            left = 0
            for token, token_id, width in line:
                in_bytes = BYTE.search(token) is not None
                colour = ORANGE if in_bytes else BLUE
                boxes.append(_box(left, top, width, "white", colour))
                _write(axis, left + width / 2, top + 0.5, visible(token))
                middle = left + width / 2
                _write(axis, middle, top + 1.5, str(token_id), GREY)
                left += width + 1
            top += 2.2
        top += 0.3
    axis.add_collection(PatchCollection(boxes, match_original=True))
    named = "; ".join(
        f"{name}: {plots.join_named(visible(token) for token, _ in tokens)}"
        for name, tokens in texts.items()
    )
    figure.description = (
        f"Tokens in boxes, each above its id. {title}. {named}."
    )
    return figure


def _break_lines(
    tokens: Sequence[tuple[str, int]],
) -> list[list[tuple[str, int, int]]]:
    """Return the tokens of each line, each with the width of its box."""
    lines: list[list[tuple[str, int, int]]] = [[]]
    left = 0
    for token, token_id in tokens:
        width = max(len(visible(token)), len(str(token_id))) + 1
        if left and left + width > plots.LINE_CHARACTERS:
            lines.append([])
            left = 0
        lines[-1].append((token, token_id, width))
        left += width + 1
    return lines


def token_steps(steps: pd.DataFrame, title: str) -> Chart:
    """Draw each step of a continuation: the text before it, and the choice.

    The text stands on the left and ends at the box of the token that was
    chosen, whatever its length. The box is the bluer the more probable the
    token was. Of a long continuation the first MAX_STEPS steps are drawn.

    Args:
        steps: columns `text so far`, `token`, `probability` and `instead`;
            index: number of the step.
        title: of the figure.
    """
    drawn = steps.head(MAX_STEPS)
    if len(drawn) < len(steps):
        title = f"{title} (the first {MAX_STEPS} of {len(steps)} steps)"
    tokens = [visible(token) for token in drawn["token"]]
    width = max(len("chosen") + 1, *map(len, tokens)) + 1
    ends = np.cumsum([4, CONTEXT, width, 7, MAX_INSTEAD])
    figure, axis = _text_figure(title, int(ends[-1]), len(drawn) + 1.2)
    for left, head, side in (
        (ends[1] - 0.5, "text so far", "right"),
        (ends[1] + width / 2, "chosen", "center"),
        (ends[3], "instead", "left"),
    ):
        axis.text(left, 0.6, head, fontsize="small", color=GREY, ha=side)
    image = _shades()
    boxes = []
    for top, (token, row) in enumerate(
        zip(tokens, drawn.itertuples(), strict=True), start=1
    ):
        text, _, probability, instead = row[1:]
        boxes.append(
            _box(ends[1], top, width, image.to_rgba(probability), BLUE)
        )
        middle = top + 0.5
        before = formatting.ending(text.translate(VISIBLE), CONTEXT - 4)
        _write(axis, 0, middle, str(row.Index), GREY, ha="left")
        _write(axis, ends[1] - 0.5, middle, before, ha="right")
        ink = plots.text_colour(image, probability)
        _write(axis, ends[1] + width / 2, middle, token, ink)
        _write(axis, ends[3] - 0.7, middle, decimal(probability), ha="right")
        _write(axis, ends[3], middle, _beginning(instead), GREY, ha="left")
    axis.add_collection(PatchCollection(boxes, match_original=True))
    named = plots.name_bars(tokens, drawn["probability"])
    figure.description = (
        f"Text that grows by one token a line. {title}. Chosen, each with its"
        f" probability: {named}."
    )
    return figure


def mass_curves(
    ordered: Mapping[float, np.ndarray], top_p: float, title: str
) -> Chart:
    """Draw the probability that the best tokens have together.

    Args:
        ordered: temperature -> the probabilities of all V tokens, (V,), the
            largest first.
        top_p: where top-p sampling cuts; drawn as a line, with a mark where
            each curve reaches it.
        title: of the figure.
    """
    figure, [axis] = plots.new_figure(title, 7.6, 3.8)
    cuts, shares = [], []
    for (temperature, probabilities), colour, style in zip(
        ordered.items(),
        cycle(plots.MAP_COLOURS),
        cycle(("-", "--", "-.", ":")),
        strict=False,
    ):
        mass = probabilities.cumsum(dtype=np.float64)
        # As top_p_filter: what lies before a token does not yet suffice.
        before = mass - probabilities
        kept = int((before < top_p).sum()) if top_p < 1 else len(mass)
        label = f"temperature {temperature:g}: keeps {count(kept, 'token')}"
        ranks = np.arange(1, len(mass) + 1)
        axis.plot(ranks, mass, ls=style, color=colour, lw=2, label=label)
        axis.plot([kept], [mass[kept - 1]], "o", color=colour, mec="black")
        cuts.append(label)
        held = (decimal(mass[rank - 1]) for rank in RANKS if rank <= len(mass))
        shares.append(f"{'/'.join(held)} at temperature {temperature:g}")
    axis.axhline(top_p, color="black", lw=1, label=f"top_p {top_p:g}")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axis.set(xlabel="number of best tokens", ylim=(0, 1.02))
    axis.set_ylabel("probability together")
    axis.legend(frameon=False, fontsize="small", loc="lower right")
    figure.description = (
        f"Line chart. {title}. To reach top_p {top_p:g}: {'; '.join(cuts)}."
        f" Probability that the best {'/'.join(map(str, RANKS))} have"
        f" together: {'; '.join(shares)}."
    )
    return figure


def attention_table(
    weights: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    divider: int,
    title: str,
) -> Chart:
    """Draw attention weights: each row looks at the columns.

    Args:
        weights: (R, C), each row adds up to one.
        rows: the R tokens that look.
        columns: the C tokens that are looked at.
        divider: number of columns before the line between two sentences.
        title: of the figure.
    """
    few = len(columns) <= MAX_SIDE  # else numbers and names do not fit
    width, height = 0.52 * len(columns), 0.3 * len(rows)
    figure, [axis] = plots.new_figure(
        title, 2.0 + min(width, MAX_WIDTH), 1.9 + min(height, MAX_WIDTH)
    )
    image = axis.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(weights.shape) if few else ():
        weight = weights[row, column]
        if weight >= 0.005:  # else 0.00
            ink = plots.text_colour(image, weight)
            axis.text(column, row, f"{weight:.2f}", color=ink, fontsize=8).set(
                ha="center", va="center"
            )
    axis.axvline(divider - 0.5, color="black", lw=1.5)
    if few:  # else their positions
        axis.set_xticks(range(len(columns)), columns, rotation=60, **FONT)
    shown = rows if len(rows) <= MAX_SIDE else []
    axis.set_yticks(range(len(shown)), shown, **FONT)
    for label in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        label.set_parse_math(False)
    axis.set(xlabel="looked at", ylabel="looks")
    named = plots.join_named(
        f"{token} at {columns[at]} with {weights[row, at]:.2f}"
        for row, (token, at) in enumerate(
            zip(rows, weights.argmax(axis=1), strict=True)
        )
    )
    figure.description = (
        f"Table of attention weights. {title}. Each token looks most: {named}."
    )
    return figure


def token_panels(
    tokens: Sequence[str], panels: Mapping[str, Sequence[float]], title: str
) -> Chart:
    """Draw a bar for each token, once for each thing measured.

    Args:
        tokens: T tokens, the first on top.
        panels: what the bars mean -> T values, on one scale for all.
        title: of the figure.
    """
    figure, axes = plots.new_figure(
        title,
        1.2 + 2.7 * len(panels),
        1.3 + 0.26 * len(tokens),
        len(panels),
        sharex=True,
    )
    rows = np.arange(len(tokens))
    named = []
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        bars = axis.barh(rows, values, color=BLUE)
        axis.bar_label(bars, fmt=decimal, padding=3, fontsize=8)
        axis.set_yticks(rows, tokens if axis is axes[0] else [], **FONT)
        for label in axis.get_yticklabels():
            label.set_parse_math(False)
        axis.invert_yaxis()
        axis.margins(x=0.25)
        # The line at zero is the axis: labels of falls stand left of it.
        axis.axvline(0, color=GREY, lw=0.8)
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.locator_params(axis="x", nbins=4)  # more would touch
        axis.set_title(name, fontsize="medium", parse_math=False)
        first = np.argsort(-np.abs(values), kind="stable")[:2].tolist()
        pairs = [f"{tokens[row]} {decimal(values[row])}" for row in first]
        named.append(f"{name}: {', '.join(pairs)}")
    figure.description = (
        f"Bar charts side by side. {title}. The largest two of each:"
        f" {'; '.join(named)}."
    )
    return figure


def _text_figure(title: str, width: int, height: float) -> tuple[Chart, Axes]:
    """Return axes for text: `width` characters, `height` lines."""
    figure, [axis] = plots.new_figure(
        title, 0.2 + CHARACTER * width, 0.5 + LINE * height
    )
    axis.set(xlim=(-0.5, width), ylim=(height, 0))
    axis.axis("off")
    return figure, axis


def _shades() -> ScalarMappable:
    """Return white for a probability of 0, blue for 1, and between them."""
    shades = LinearSegmentedColormap.from_list("", ["white", BLUE])
    return ScalarMappable(Normalize(0, 1), shades)


def _box(left: float, top: float, width: float, face: Any, edge: str) -> Any:
    """Return a box of one line's height with a coloured edge."""
    return Rectangle(
        (left, top + 0.06), width, 0.88, facecolor=face, edgecolor=edge
    )


def _write(
    axis: Axes, x: float, y: float, text: str, ink: str = "black", ha: str = ""
) -> None:
    """Write in fixed width, in the middle of a line."""
    drawn = axis.text(x, y, text, color=ink, parse_math=False, **FONT)
    drawn.set(ha=ha or "center", va="center")


def _beginning(text: str) -> str:
    """Return as much of a text as there is room for."""
    if len(text) <= MAX_INSTEAD:
        return text
    return text[: MAX_INSTEAD - 3] + formatting.ELLIPSIS
