"""Slides of the notebooks: `python -m tools.website.slides [FOLDER]`.

What is on them follows from the executed notebooks, so they cannot grow old:
title, goals, one slide for each figure and table with the sentences that lead
to it, recap and exercises. A section without either shows its first result
and the code. The speaker's notes (key S) have the whole text and the code.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import SlidesExporter
from nbconvert.preprocessors import TagRemovePreprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.website.staging import ROOT

DECK = Path(__file__).parent / "deck"
REVEAL = ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js")
OURS = {"deck.css": "dist/theme/deck.css", "deck.js": "deck.js"}
NOT_SHOWN = ("Set-up", "Numbers of this run", "References")
NO_CODE = "no-code"  # tag of a cell whose result alone is shown
LISTS = ("Recap", "Exercises")
MAX_TEXT = 300  # characters of the sentences above a result
MAX_CODE = 8  # lines that are shown with what they print
MAX_PRINTED = 12  # lines of it
# Links within the repository, which lead nowhere from a slide.
INNER_LINK = re.compile(r"\[([^\[\]]*)\]\((?!https?:)[^)\s]+\)")
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
SENTENCE = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`*\[])")


@dataclass
class Slide:
    """A heading and sentences, a result, and what the speaker has to say."""

    text: str
    result: NotebookNode | None = None
    notes: list[str] = field(default_factory=list)

    def cells(self) -> list[NotebookNode]:
        """Return the slide as cells with nbconvert's marks."""
        cells = [_marked(new_markdown_cell(self.text), "slide")]
        if self.result is not None:
            cells.append(_marked(self.result, "-"))
        notes = "\n\n".join(self.notes)
        if notes:
            cells.append(_marked(new_markdown_cell(notes), "notes"))
        return cells


def _marked(cell: NotebookNode, slide_type: str) -> NotebookNode:
    cell.metadata["slideshow"] = {"slide_type": slide_type}
    return cell


def shorten(text: str) -> str:
    """Return the first sentences of a text's last paragraph, whole ones."""
    *_, paragraph = [part for part in text.split("\n\n") if part.strip()]
    kept = ""
    for sentence in SENTENCE.split(paragraph):
        longer = f"{kept} {sentence}".strip()
        if kept and len(longer) > MAX_TEXT and _is_closed(kept):
            break
        kept = longer
    return kept.removesuffix(":") + ("." if kept.endswith(":") else "")


def _is_closed(text: str) -> bool:
    """Say whether no bracket, emphasis or code is cut in the middle."""
    return text.count("(") == text.count(")") and not any(
        text.count(mark) % 2 for mark in "`*"
    )


def is_drawn(cell: NotebookNode) -> bool:
    """Say whether a cell shows a figure or a table."""
    return any(
        "text/html" in output.get("data", {}) for output in cell.outputs
    )


def is_short(cell: NotebookNode) -> bool:
    """Say whether code and what it prints have room on one slide."""
    printed = "".join(output.get("text", "") for output in cell.outputs)
    lines = len(cell.source.splitlines())
    return lines <= MAX_CODE and 0 < printed.count("\n") <= MAX_PRINTED


def without_code(cell: NotebookNode) -> NotebookNode:
    """Return a cell with its figure or table alone."""
    shown = nbformat.from_dict({**cell, "metadata": {"tags": [NO_CODE]}})
    shown.outputs = [
        output
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    return shown


def read_sections(
    notebook: NotebookNode,
) -> Iterator[tuple[str, list[tuple[str, NotebookNode | None]]]]:
    """Yield each heading with its steps: a text, and the cell after it."""
    heading = ""
    steps: list[tuple[str, NotebookNode | None]] = []
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            text, _ = steps[-1]
            steps[-1] = (text, cell)
            continue
        before, *parts = HEADING.split(INNER_LINK.sub(r"\1", cell.source))
        if before.strip():
            steps.append((before.strip(), None))
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            yield heading, steps
            heading, steps = name, [(text.strip(), None)]
    yield heading, steps


def make_opening(text: str) -> list[Slide]:
    """Return title and goals, from a notebook's first cell."""
    intro, _, rest = text.partition("**Goals**")
    title, *paragraphs = intro.strip().split("\n\n")
    goals, *after = re.split(r"\n\n(?!\d\.)", rest.strip())
    return [
        Slide(f"{title}\n\n{paragraphs[0]}", notes=paragraphs[1:]),
        Slide(f"## Goals\n\n{goals}", notes=after),
    ]


def make_section(
    heading: str, steps: list[tuple[str, NotebookNode | None]]
) -> list[Slide]:
    """Return the slides of a section."""
    slides = []
    spare = None
    for text, cell in steps:
        if cell is None:
            continue
        notes = [text, f"```python\n{cell.source}\n```"]
        lead = f"## {heading}\n\n{shorten(text)}"
        if is_drawn(cell):
            slides.append(Slide(lead, without_code(cell), notes))
        elif spare is None and is_short(cell):
            spare = Slide(lead, nbformat.from_dict(cell), [text])
    return slides or ([spare] if spare else [])


def make_slides(notebook: NotebookNode) -> list[Slide]:
    """Return all slides of an executed notebook."""
    slides = []
    for heading, steps in read_sections(notebook):
        if not heading:
            slides += make_opening(steps[0][0])
        elif heading in LISTS:
            slides.append(Slide(f"## {heading}\n\n{steps[0][0]}"))
        elif heading not in NOT_SHOWN:
            slides += make_section(heading, steps)
    return slides


def export(notebook: NotebookNode, name: str) -> str:
    """Return a notebook's slides as a page."""
    cells = [cell for s in make_slides(notebook) for cell in s.cells()]
    for number, cell in enumerate(cells):
        cell["id"] = f"slide-{number}"
    exporter = SlidesExporter(
        extra_template_basedirs=[str(DECK.parent)],
        template_name=DECK.name,
        reveal_url_prefix="reveal",
        reveal_theme="deck",
    )
    exporter.register_preprocessor(
        TagRemovePreprocessor(remove_input_tags={NO_CODE}), enabled=True
    )
    shown = new_notebook(cells=cells, metadata=notebook.metadata)
    resources: dict[str, Any] = {"metadata": {"name": name}}
    page, _ = exporter.from_notebook_node(shown, resources)
    return page


def copy_reveal(folder: Path) -> None:
    """Put reveal.js, which a package brings, beside the slides."""
    source = files("sphinx_revealjs") / "_static" / "revealjs"
    contents = {name: (source / name).read_bytes() for name in REVEAL}
    contents |= {OURS[name]: (DECK / name).read_bytes() for name in OURS}
    for name, content in contents.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def main() -> None:
    """Write the slides of all executed notebooks."""
    folder = Path(sys.argv[1] if sys.argv[1:] else "build/slides")
    copy_reveal(folder / "reveal")
    for path in sorted((ROOT / "outputs" / "reference").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        target = folder / f"{path.stem}.slides.html"
        target.write_text(export(notebook, path.stem), encoding="utf-8")
        print(f"{target}: {len(make_slides(notebook))} slides")


if __name__ == "__main__":
    main()
