"""Figures whose text is of any script: fonts that have its characters.

matplotlib's own fonts have Latin, Greek and Cyrillic letters and a few others.
Where they lack one, it draws a box and warns, with a path, in the notebook.
"""

import re
import warnings
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.text import Text

MISSING = re.compile(r"Glyph (\d+) ")  # how matplotlib's warning begins
BOXES = "Last Resort"  # a font that has a box for each character
_said: set[str] = set()  # characters that no font has; said once


def save_figure(figure: Figure, path: Path, **settings: Any) -> None:
    """Write a figure; use other installed fonts where its own lack characters.

    Prints one line if no installed font has some of them.

    Args:
        figure: its texts are given further fonts, if they need them.
        path: of the picture.
        settings: of matplotlib's `savefig`.
    """
    missing = _try_to_save(figure, path, settings)
    if not missing:
        return
    names = _fonts_with(missing)
    for text in figure.findobj(Text):
        if missing & set(text.get_text()):
            text.set_fontfamily([*text.get_fontfamily(), *names])
    boxes = _try_to_save(figure, path, settings)
    if boxes and not _said:
        print(
            f"figures show boxes for {' '.join(sorted(boxes))} and other"
            " characters that no font on this computer has; install one that"
            " has them (the Noto fonts have nearly all) and run again"
        )
    _said.update(boxes)


def _try_to_save(
    figure: Figure, path: Path, settings: dict[str, Any]
) -> set[str]:
    """Write a figure; return the characters that its fonts lack."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(path, **settings)
    missing = set()
    for warning in caught:
        if glyph := MISSING.match(str(warning.message)):
            missing.add(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(
                warning.message,
                warning.category,
                warning.filename,
                warning.lineno,
            )
    return missing


def _fonts_with(characters: set[str]) -> list[str]:
    """Name installed fonts that have the characters, as few as will do."""
    _add_new_fonts()
    fonts = sorted(
        (
            font
            for font in fontManager.ttflist
            if BOXES not in font.name and Path(font.fname).is_file()
        ),
        key=lambda font: (font.style != "normal", "Sans" not in font.name),
    )
    names, remaining = [], characters
    while fonts and remaining:
        lacks = {font: _lacking(font, remaining) for font in fonts}
        best = min(fonts, key=lambda font: len(lacks[font]))
        if lacks[best] == remaining:
            break
        names.append(best.name)
        remaining = lacks[best]
    return names


def _lacking(font: FontEntry, characters: set[str]) -> set[str]:
    """Return those of the characters that a font does not have."""
    face = font_manager.get_font(font.fname)
    return {c for c in characters if not face.get_char_index(ord(c))}


def _add_new_fonts() -> None:
    """Let matplotlib know fonts installed since it last looked for them."""
    known = {font.fname for font in fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        try:
            fontManager.addfont(path)
        except (NotImplementedError, OSError, RuntimeError):
            continue  # of pictures, or damaged: matplotlib cannot draw it
