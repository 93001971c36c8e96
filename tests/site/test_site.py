"""The site: built without a warning, and looked at in a real browser."""

import json
import re
import subprocess
import sys
import threading
from fnmatch import fnmatch
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from zipfile import ZipFile

import pytest
from playwright.sync_api import expect

from nlp_helpers import parameters
from tools import badges
from tools.website import diagram, reference, staging

SIZES = {"desktop": (1280, 900), "telephone": (390, 844)}
MAX_BYTES = 25_000_000
HAS_COURSE = (staging.ROOT / "course" / "solutions").is_dir()
# What is cut off at the right edge, but not what scrolls inside a box.
TOO_WIDE = """
() => {
  const scrolls = element => {
    for (let box = element.parentElement; box && box !== document.body;
         box = box.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(
            getComputedStyle(box).overflowX)) return true;
    return false;
  };
  return [...document.querySelectorAll('article *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .filter(e => !scrolls(e)).map(e => e.textContent.slice(0, 60));
}
"""

pytestmark = pytest.mark.slow
needs_sphinx = pytest.mark.skipif(
    not (find_spec("sphinx") and find_spec("myst_nb")),
    reason="needs requirements/docs.txt: make site",
)


class Page(HTMLParser):
    """The links, names and pictures of a page."""

    def __init__(self, text):
        super().__init__()
        self.names, self.links, self.loaded = set(), [], []
        self.pictures, self.terms = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names |= {found.get("id"), found.get("name")} - {None}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
            if "#term-" in found["href"]:
                self.terms.append(urldefrag(found["href"]).fragment)
        if tag == "img":
            self.pictures.append(found.get("alt"))
        if found.get("role") == "img":
            self.pictures.append(found.get("aria-label"))
        if tag in ("img", "script", "iframe", "source"):
            self.loaded.append(found.get("src", ""))
        if tag == "link" and found.get("rel") != "canonical":
            self.loaded.append(found["href"])


def goals_of(name):
    path = staging.ROOT / "outputs" / "reference" / f"{name}.ipynb"
    text = "".join(json.loads(path.read_text())["cells"][0]["source"])
    return re.findall(r"^\d\. (.+)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "built"
    command = [sys.executable, "-m", "tools.website", str(folder)]
    done = subprocess.run(
        command, cwd=staging.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr and not done.stdout
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {
        path.relative_to(site).as_posix(): Page(path.read_text("utf-8"))
        for path in site.rglob("*.html")
        if path.relative_to(site).parts[0] not in ("_static", "_sources")
    }


@needs_sphinx
def test_every_source_has_its_page(pages):
    for name in parameters.SCHEMAS:
        assert f"notebooks/{name}.html" in pages
    for path in (staging.ROOT / "docs").glob("*.md"):
        folder = "" if path.stem == "index" else "docs/"
        assert f"{folder}{path.stem}.html" in pages
    for path in (staging.ROOT / "course" / "solutions").glob("*.ipynb"):
        assert f"course/{path.stem}.html" in pages


@needs_sphinx
def test_links_and_anchors_lead_somewhere(site, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links:
            target, fragment = urldefrag(urljoin(f"http://site/{name}", link))
            parts = urlsplit(target)
            if parts.netloc != "site":
                continue
            path = unquote(parts.path).lstrip("/") or "index.html"
            if not (site / path).is_file():
                broken.append(f"{name}: {link}")
            elif fragment and path in pages:
                if unquote(fragment) not in pages[path].names:
                    broken.append(f"{name}: {link}")
    assert not broken
    assert sum(len(page.links) for page in pages.values()) > 1000


def link_to(page, ending):
    """Return the one link to a file that can be downloaded."""
    [link] = {
        link
        for link in page.links
        if "_downloads/" in link and link.endswith(ending)
    }
    return link


@needs_sphinx
def test_the_first_page_offers_the_package(site, pages):
    wheel = site / link_to(pages["index.html"], ".whl")
    with ZipFile(wheel) as package:
        assert "nlp_helpers/hosted.py" in package.namelist()
    assert fnmatch(wheel.name, "nlp_helpers-*.whl")  # what the cell looks for


@needs_sphinx
@pytest.mark.parametrize("notebook", parameters.SCHEMAS)
def test_a_page_offers_its_notebook_as_it_is_in_the_repository(
    notebook, site, pages
):
    link = link_to(pages[f"notebooks/{notebook}.html"], f"{notebook}.ipynb")
    offered = site / "notebooks" / link
    original = staging.ROOT / "notebooks" / f"{notebook}.ipynb"
    assert offered.read_bytes() == original.read_bytes()


@needs_sphinx
def test_checks_are_not_shown_to_call_dots_right(site):
    for path in (site / "course").glob("0*.html"):
        shown = re.sub("<[^>]+>", "", path.read_text("utf-8"))
        assert "check(" in shown
        assert not re.search(r"\d\d\.\d+: right", shown)


@needs_sphinx
def test_pages_name_nothing_to_load_from_elsewhere(site, pages):
    for name, page in pages.items():
        for address in page.loaded:
            assert not re.match(r"(https?:)?//", address), (name, address)
    for path in site.rglob("*.css"):
        text = path.read_text("utf-8")
        assert not re.search(r"(@import|url\()\W*(https?:)?//", text), path


@needs_sphinx
def test_every_figure_says_what_it_shows(pages):
    for name, page in pages.items():
        assert all(page.pictures), name
    for name in parameters.SCHEMAS:
        path = staging.ROOT / "outputs" / "reference" / f"{name}.ipynb"
        drawn = path.read_text("utf-8").count('"image/png": "')
        described = [alt for alt in pages[f"notebooks/{name}.html"].pictures]
        assert len([alt for alt in described if len(alt) > 40]) >= drawn > 0


@needs_sphinx
def test_the_site_is_small(site):
    files = [path for path in site.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES


@needs_sphinx
def test_a_page_links_a_term_once_and_every_term_is_linked(pages):
    linked = set()
    for name, page in pages.items():
        assert len(page.terms) == len(set(page.terms)), name
        linked |= set(page.terms)
    defined = {
        name
        for name in pages["docs/glossary.html"].names
        if name.startswith("term-")
    }
    assert linked == defined


@needs_sphinx
@pytest.mark.parametrize("notebook", parameters.SCHEMAS)
def test_the_glossary_has_the_terms_of_every_goal(notebook, pages):
    from tools.website import glossary

    goals = goals_of(notebook)
    assert len(goals) == 3
    ids = set(pages[f"notebooks/{notebook}.html"].terms)
    for goal in goals:
        found = {
            glossary.read_forms()[match[0].lower()]
            for match in glossary.pattern().finditer(goal)
        }
        assert found, goal
        for term in found:
            assert f"term-{re.sub(r'[^A-Za-z0-9]+', '-', term)}" in ids


def test_the_glossary_is_in_order_and_has_each_form_once():
    pytest.importorskip("sphinx")
    from tools.website import glossary

    text = glossary.PATH.read_text("utf-8")
    entries = [match["term"] for match in glossary.ENTRY.finditer(text)]
    assert len(entries) == text.count("\n- ")
    assert entries == sorted(entries, key=str.lower)
    for match in glossary.ENTRY.finditer(text):
        for form in re.findall(r"\*(.+?)\*", match["forms"] or ""):
            assert glossary.read_forms()[form.lower()] == match["term"]


def test_the_library_transformers_is_no_term():
    pytest.importorskip("sphinx")
    from tools.website import glossary

    text = "The model class comes from transformers, not from a transformer."
    found = [match[0] for match in glossary.pattern().finditer(text)]
    assert found[-1] == "transformer" and "transformers" not in found
    assert glossary.read_forms()["tokens"] == "token"


@needs_sphinx
def test_the_api_describes_every_module(site):
    for module in reference.read_jobs():
        room = module.split("/")[0] if "/" in module else reference.ALONE
        text = (site / "api" / f"{room}.html").read_text("utf-8")
        assert f'id="module-{reference.name_of(module)}"' in text
    text = (site / "api" / "language_models.html").read_text("utf-8")
    assert "top_p_filter" in text and "Holtzman" in text


def test_links_lead_to_pages_or_to_the_repository(monkeypatch):
    where = ("docs/runs.md", "docs/runs.md")
    assert staging.link("reviews.md#x", "a", *where) == "[a](reviews.md#x)"
    page = "[a](../notebooks/01_next_token.ipynb)"
    for folder in ("notebooks", "outputs/reference"):
        target = f"../{folder}/01_next_token.ipynb"
        assert staging.link(target, "a", *where) == page
    monkeypatch.setattr(badges, "read_address", lambda: "")
    assert staging.link("../Makefile", "a", *where) == "a"
    monkeypatch.setattr(badges, "read_address", lambda: "some/where")
    tag = badges.read_tag()
    address = f"https://github.com/some/where/blob/{tag}/Makefile"
    assert staging.link("../Makefile", "a", *where) == f"[a]({address})"
    assert f"/tree/{tag}/tests)" in staging.link("../tests", "a", *where)
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        staging.link("none.py", "a", *where)
    code = "`[a](b.py)`\n\n```\n[a](b.py)\n```\n\n    [a](b.py)\n"
    assert staging.link_text(code, *where) == code


@needs_sphinx
def test_buttons_open_what_make_badges_knows(monkeypatch, tmp_path):
    from sphinx.application import Sphinx

    monkeypatch.setattr(badges, "read_address", lambda *_: "some/where")
    source, built = tmp_path / "source", tmp_path / "built"
    (source / "notebooks").mkdir(parents=True)
    notebooks = ("01_next_token", badges.NOT_ON_BINDER)
    for name in notebooks:
        (source / "notebooks" / f"{name}.rst").write_text("One\n===\n")
    listed = "\n".join(f"   notebooks/{name}" for name in notebooks)
    text = f"Two\n===\n\n.. toctree::\n\n{listed}\n"
    (source / "index.rst").write_text(text)
    settings = {
        "extensions": ["tools.website.links"],
        "html_theme": "sphinx_book_theme",
    }
    app = Sphinx(
        source, None, built, tmp_path / "trees", "html", settings, status=None
    )
    app.build()
    for name in notebooks:
        page = Page((built / "notebooks" / f"{name}.html").read_text("utf-8"))
        assert set(badges.links(name).values()) <= set(page.links)
        binder = [link for link in page.links if "mybinder" in link]
        assert bool(binder) == (name != badges.NOT_ON_BINDER)
    assert "mybinder" not in (built / "index.html").read_text("utf-8")


def test_the_flowchart_is_drawn_whole():
    text = (staging.ROOT / "docs" / "architecture.md").read_text("utf-8")
    block = diagram.BLOCK.search(text)[1]
    boxes, arrows = diagram.read(block)
    assert len(boxes) == block.count('"') // 2
    floors = diagram.put_on_floors(boxes, arrows)
    assert all(floors[begin] > floors[end] for begin, end in arrows)
    drawn = diagram.draw(block, "Rooms.")
    assert drawn.count('class="arrow"') == len(arrows)
    assert drawn.count("<rect") == len(boxes)
    assert "mermaid" not in diagram.replace_blocks(text, "Rooms.")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and writes no line for each."""

    def log_message(self, *arguments):
        """Write nothing."""


@pytest.fixture(scope="module")
def address(site):
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@needs_sphinx
@pytest.mark.parametrize("size", SIZES)
def test_every_page_opens_without_error_and_fits(
    size, browser, address, pages
):
    width, height = SIZES[size]
    tab = browser.new_page(viewport={"width": width, "height": height})
    asked, errors = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on(
        "console",
        lambda message: (
            errors.append(message.text) if message.type == "error" else None
        ),
    )
    wide = {}
    for name in sorted(pages):
        tab.goto(address + name)
        if cut := tab.evaluate(TOO_WIDE):
            wide[name] = cut[:3]
        scroll = tab.evaluate("document.documentElement.scrollWidth")
        assert scroll <= width or name in wide, name
    tab.close()
    assert not wide
    assert not errors
    local = (address, "data:", "blob:")
    assert asked and not [url for url in asked if not url.startswith(local)]


@needs_sphinx
def test_the_search_finds_a_word(browser, address):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(address)
    tab.keyboard.press("Control+k")
    tab.keyboard.type("nucleus sampling")
    tab.keyboard.press("Enter")
    results = tab.locator("#search-results li a")
    expect(
        results.filter(has_text="Predicting the next token")
    ).not_to_have_count(0)
    tab.goto(f"{address}search.html?q=zzzznothing")
    expect(tab.locator("#search-results")).to_contain_text("did not match")
    tab.close()


@needs_sphinx
def test_dark_is_dark(browser, address):
    for scheme, least, most in (("light", 200, 255), ("dark", 0, 60)):
        tab = browser.new_page(color_scheme=scheme)
        tab.goto(address)
        colour = tab.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        first = int(re.findall(r"\d+", colour)[0])
        assert least <= first <= most
        tab.close()


@needs_sphinx
@pytest.mark.skipif(not HAS_COURSE, reason="this copy has no course")
def test_solutions_are_folded_until_they_are_asked_for(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}course/01_next_token.html")
    fold = tab.locator("details", has_text="Show the solution").first
    expect(fold.locator("pre").first).to_be_hidden()
    fold.locator("summary").click()
    expect(fold.locator("pre").first).to_be_visible()
    tab.close()
