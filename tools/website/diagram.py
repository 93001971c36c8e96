"""Draw a small Mermaid flowchart as SVG, when the site is built.

GitHub draws the block in docs/architecture.md with a script of its own; the
site loads no script for one picture. The boxes stand on floors, each below
all that lead to it (a layered drawing, Sugiyama et al. 1981): long arrows get
a place on each floor that they pass, and each floor is sorted by the mean
place of its neighbours, a few times up and down.
"""

import html
import re
import textwrap
from graphlib import TopologicalSorter
from itertools import pairwise

BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BOX = re.compile(r'^ *(\w+)[(\[]+"(.+?)"[)\]]+$', re.MULTILINE)
ARROWS = re.compile(
    r"^ *(\w[\w &]*?) (?:-->|-\..*?->) (\w[\w &]*)$", re.MULTILINE
)
WIDTH, HEIGHT, FLOOR = 160, 62, 100  # of a box, and of a floor, in pixels
GAP, PASSING, SWEEPS = 14, 12, 24
LINE = 22  # characters of a box's line

Arrow = tuple[str, str]


def read(block: str) -> tuple[dict[str, str], list[Arrow]]:
    """Return name -> what stands in its box, and the arrows."""
    boxes = dict(BOX.findall(block))
    arrows = [
        (begin, end)
        for begins, ends in ARROWS.findall(block)
        for begin in begins.split(" & ")
        for end in ends.split(" & ")
    ]
    return boxes, arrows


def put_on_floors(boxes: dict[str, str], arrows: list[Arrow]) -> dict:
    """Return name -> floor; 0 is the lowest, which leads nowhere."""
    below: dict[str, set[str]] = {name: set() for name in boxes}
    for begin, end in arrows:
        below[begin].add(end)
    floors: dict[str, int] = {}
    for name in TopologicalSorter(below).static_order():
        ends = [floors[end] for end in below[name]]
        floors[name] = max(ends) + 1 if ends else 0
    return floors


def add_passing(
    floors: dict[str, int], arrows: list[Arrow]
) -> list[list[str]]:
    """Return each arrow's way, with a new name on each floor it passes."""
    ways = []
    for begin, end in arrows:
        passed = range(floors[begin] - 1, floors[end], -1)
        names = [f"{begin}>{end}>{floor}" for floor in passed]
        floors.update(zip(names, passed, strict=True))
        ways.append([begin, *names, end])
    return ways


def place(floors: dict[str, int], ways: list[list[str]]) -> dict[str, float]:
    """Return name -> its middle, from the left."""
    rows: list[list[str]] = [[] for _ in range(max(floors.values()) + 1)]
    for name, floor in floors.items():
        rows[floor].append(name)
    near: dict[str, set[str]] = {name: set() for name in floors}
    for way in ways:
        for upper, lower in pairwise(way):
            near[upper].add(lower)
            near[lower].add(upper)
    middles = {}
    for row in rows:
        middles.update(spread(row))
    for sweep in range(SWEEPS):
        for floor in sorted(range(len(rows)), reverse=sweep % 2 == 0):
            row = rows[floor]
            step = -1 if sweep % 2 else 1  # look where we came from
            wanted = {
                name: mean(
                    [
                        middles[n]
                        for n in near[name]
                        if floors[n] - floor == step
                    ]
                    or [middles[name]]
                )
                for name in row
            }
            row.sort(key=wanted.__getitem__)
            middles.update(spread(row, wanted))
    least = min(middles.values())
    return {name: middle - least for name, middle in middles.items()}


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def width(name: str) -> int:
    """Return the room that a box or a passing arrow takes."""
    return PASSING if ">" in name else WIDTH


def spread(
    row: list[str], wanted: dict[str, float] | None = None
) -> dict[str, float]:
    """Return the middles of a floor: side by side, near what is wanted."""
    middles: dict[str, float] = {}
    end = 0.0
    for name in row:
        middles[name] = end + width(name) / 2
        end += width(name) + GAP
    goals = wanted or {name: 0.0 for name in row}
    shift = mean([goals[name] - middles[name] for name in row])
    return {name: middle + shift for name, middle in middles.items()}


def draw(block: str, title: str) -> str:
    """Return a flowchart's SVG, with what it says for those who hear it."""
    boxes, arrows = read(block)
    floors = put_on_floors(boxes, arrows)
    ways = add_passing(floors, arrows)
    middles = place(floors, ways)
    top = max(floors.values())
    points = {
        name: (middle + WIDTH / 2 + 4, (top - floors[name]) * FLOOR + 4)
        for name, middle in middles.items()
    }
    wide = max(x for x, _ in points.values()) + WIDTH / 2 + 4
    high = top * FLOOR + HEIGHT + 8
    said = "; ".join(f"{begin} to {end}" for begin, end in arrows)
    parts = [
        f'<svg class="rooms" viewBox="0 0 {wide:.0f} {high:.0f}" role="img"'
        f' aria-label="{html.escape(f"{title} Arrows: {said}.")}">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4"'
        ' markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    parts += [draw_way([points[name] for name in way]) for way in ways]
    parts += [draw_box(*points[name], text) for name, text in boxes.items()]
    return "\n".join([*parts, "</svg>"])


def draw_way(points: list[tuple[float, float]]) -> str:
    """Return an arrow: from below the first point to above the last."""
    (x, y), *others = points
    y += HEIGHT
    path = [f"M{x:.0f} {y:.0f}"]
    for number, (to_x, to_y) in enumerate(others):
        half = (y + to_y) / 2
        path.append(f"C{x:.0f} {half:.0f} {to_x:.0f} {half:.0f}")
        path.append(f"{to_x:.0f} {to_y:.0f}")
        x, y = to_x, to_y
        if number < len(others) - 1:  # straight past the boxes beside it
            y += HEIGHT
            path.append(f"L{x:.0f} {y:.0f}")
    return f'<path class="arrow" marker-end="url(#tip)" d="{" ".join(path)}"/>'


def draw_box(x: float, y: float, text: str) -> str:
    """Return a box with its name in bold, and what it is for."""
    name, _, job = text.partition(": ")
    lines = textwrap.wrap(job, LINE)
    middle = HEIGHT / 2 + 5 - 8 * len(lines)
    spans = "".join(
        f'<tspan x="{x:.0f}" dy="16">{html.escape(line)}</tspan>'
        for line in lines
    )
    return (
        f'<rect x="{x - WIDTH / 2:.0f}" y="{y:.0f}" width="{WIDTH}"'
        f' height="{HEIGHT}" rx="6"/><text x="{x:.0f}" y="{y + middle:.0f}">'
        f'<tspan class="name">{html.escape(name)}</tspan>{spans}</text>'
    )


def replace_blocks(text: str, title: str) -> str:
    """Return Markdown with its flowcharts as pictures."""

    def replace(match: re.Match[str]) -> str:
        return f"```{{raw}} html\n{draw(match[1], title)}\n```"

    return BLOCK.sub(replace, text)
