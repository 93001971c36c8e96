"""The slides: every one opened in a real browser, and none cut off."""

import re
import subprocess
import sys
from importlib.util import find_spec

import nbformat
import pytest

from nlp_helpers import parameters
from tools.website.staging import ROOT

WIDTH, HEIGHT = 1280, 720
FEWEST, MOST = 10, 20
SMALLEST = 10  # pixels of a letter on such a screen
# What of a slide is outside of the screen, and its smallest letters.
LOOK = """
() => {
  const slide = Reveal.getCurrentSlide();
  const shown = [...slide.querySelectorAll('*')].filter(
    e => !e.closest('aside') && e.getClientRects().length);
  const outside = shown.filter(e => {
    const box = e.getBoundingClientRect();
    return box.right > innerWidth || box.bottom > innerHeight
      || box.left < 0 || box.top < 0;
  });
  const letters = shown.filter(e => [...e.childNodes].some(
    node => node.nodeType === Node.TEXT_NODE && node.textContent.trim()));
  const sizes = letters.map(e => {
    const scale = e.offsetWidth
      ? e.getBoundingClientRect().width / e.offsetWidth : 1;
    return scale * parseFloat(getComputedStyle(e).fontSize);
  });
  return {
    outside: outside.map(e => `${e.tagName}: ${e.textContent.slice(0, 40)}`),
    smallest: Math.min(...sizes),
    notes: slide.querySelectorAll('aside.notes').length,
    results: slide.querySelectorAll('.jp-OutputArea-output').length,
  };
}
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("sphinx_revealjs") and find_spec("nbconvert")),
        reason="needs requirements/docs.txt: make slides",
    ),
]


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    command = [sys.executable, "-m", "tools.website.slides", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("notebook", parameters.SCHEMAS)
def test_nothing_is_named_that_lies_elsewhere(notebook, decks):
    page = (decks / f"{notebook}.slides.html").read_text("utf-8")
    loaded = re.findall(
        r"<(?:script|link|img)\b[^>]*?(?:src|href)=\"(.*?)\"", page
    )
    assert len(loaded) > 4
    for address in loaded:
        assert address.startswith("data:image/") or (decks / address).is_file()
    assert 'href="../' not in page
    assert "MathJax" not in page and "require(" not in page


@pytest.mark.parametrize("notebook", parameters.SCHEMAS)
def test_every_slide_fits_its_screen(notebook, decks, browser):
    asked, errors = [], []
    tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((decks / f"{notebook}.slides.html").as_uri())
    tab.wait_for_function("Reveal.isReady()")
    count = tab.evaluate("Reveal.getTotalSlides()")
    seen = []
    for number in range(count):
        tab.evaluate(f"Reveal.slide({number})")
        seen.append(tab.evaluate(LOOK))
    tab.close()
    assert FEWEST <= count <= MOST
    assert not errors
    assert all(url.startswith(("file:", "data:")) for url in asked)
    for number, slide in enumerate(seen, start=1):
        assert not slide["outside"], number
        assert slide["smallest"] >= SMALLEST, number
    # Each result comes with what the speaker can say about it.
    assert all(slide["notes"] for slide in seen if slide["results"])
    assert sum(slide["results"] > 0 for slide in seen) >= count / 2


@pytest.mark.parametrize("notebook", parameters.SCHEMAS)
def test_each_figure_and_table_has_a_slide_and_each_section_a_word(
    notebook,
):
    from tools.website import slides

    path = ROOT / "outputs" / "reference" / f"{notebook}.ipynb"
    content = nbformat.read(path, as_version=4)
    made = slides.make_slides(content)
    drawn = [
        cell
        for cell in content.cells
        if cell.cell_type == "code" and slides.is_drawn(cell)
    ]
    shown = [slide for slide in made if slide.result is not None]
    assert len(shown) >= len(drawn) > 0
    for slide in made:
        first, _, text = slide.text.partition("\n\n")
        assert first.startswith("#") and text.strip()
        assert not text.rstrip().endswith((":", ","))
        assert text.count("`") % 2 == 0


def test_only_whole_sentences_are_kept():
    pytest.importorskip("nbconvert")
    from tools.website import slides

    long = "One sentence (with. A bracket) and `code. More`. " + "Two. " * 99
    kept = slides.shorten(f"Another paragraph.\n\n{long}")
    assert kept.startswith("One sentence") and kept.endswith("Two.")
    assert len(kept) <= slides.MAX_TEXT
    assert slides.shorten("The table:") == "The table."
