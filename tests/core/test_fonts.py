import shutil
import warnings
from pathlib import Path

import matplotlib
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from nlp_helpers.core import fonts

SHIPPED = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
GENERAL, NON_UNI = "STIXGeneral", "STIXNonUni"
# DejaVu has neither; the first two are in the one, the third in the other.
ONE, OTHER, PRIVATE = "\u1d81", "\u1d84", "\ue000"


def figure_of(title, tick):
    figure = Figure(layout="constrained")
    figure.suptitle(title, parse_math=False)
    axis = figure.subplots()
    axis.set_yticks([0, 1], ["a", tick], family="monospace")
    return figure


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder of the system's fonts; matplotlib itself knows DejaVu alone."""
    manager, find = font_manager.fontManager, font_manager.findSystemFonts
    few = [font for font in manager.ttflist if font.name.startswith("DejaVu")]
    monkeypatch.setattr(manager, "ttflist", few)
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: find(fontpaths=str(tmp_path))
    )
    monkeypatch.setattr(fonts, "_said", set())
    return tmp_path


def test_a_font_that_has_the_characters_is_taken(installed, capsys):
    for name in (GENERAL, NON_UNI):
        shutil.copy(SHIPPED / f"{name}.ttf", installed)
    (installed / "damaged.ttf").write_bytes(b"no font")
    figure = figure_of(f"a {ONE}", f"{ONE}{OTHER}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fonts.save_figure(figure, installed / "figure.png")
    assert capsys.readouterr().out == ""
    families = {t.get_text(): t.get_family() for t in figure.findobj(Text)}
    assert families[f"a {ONE}"][-1] == GENERAL
    assert families[f"{ONE}{OTHER}"] == ["monospace", GENERAL]
    assert GENERAL not in families["a"]


def test_several_fonts_are_taken_where_none_has_all(installed, capsys):
    for name in (GENERAL, NON_UNI):
        shutil.copy(SHIPPED / f"{name}.ttf", installed)
    figure = figure_of(ONE, PRIVATE)
    fonts.save_figure(figure, installed / "figure.png")
    assert capsys.readouterr().out == ""
    names = figure.texts[0].get_family()
    assert {GENERAL, "STIXNonUnicode"} <= set(names)


def test_boxes_are_said_once_and_without_a_warning(installed, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tick in (OTHER, PRIVATE, "b"):
            figure = figure_of(ONE, tick)
            fonts.save_figure(figure, installed / "figure.png")
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"figures show boxes for {ONE} {OTHER} and other")
    assert (installed / "figure.png").stat().st_size > 1000


def test_other_warnings_are_still_given(installed, recwarn):
    figure = Figure(figsize=(1e-1, 1e-1), layout="constrained")
    figure.subplots().set_title("too large")
    fonts.save_figure(figure, installed / "figure.png")
    assert any("constrained_layout" in str(w.message) for w in recwarn)
