"""The page in a real browser, which may ask the service and nobody else."""

import csv
import io
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from nlp_helpers.serving.process import start_server

SIZES = {"desktop": (1280, 900), "telephone": (390, 844)}

expect.set_options(timeout=60_000)  # a model may have to be loaded
pytestmark = pytest.mark.slow


def complaints(message):
    """Return an error of the console, but not those of refused requests."""
    is_refusal = (
        "Failed to load resource: the server responded" in message.text
    )
    return [message.text] if message.type == "error" and not is_refusal else []


@contextmanager
def opened(browser, url, size=SIZES["desktop"]):
    """A page of the service; it fails on errors and on other hosts."""
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(60_000)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.extend(complaints(message)))
    page.goto(url)
    yield page
    page.close()
    local = (url.partition("#")[0].removesuffix("/docs"), "data:", "blob:")
    assert asked and not [each for each in asked if not each.startswith(local)]
    assert not errors


@pytest.mark.parametrize("size", SIZES)
def test_the_three_tabs_answer(size, browser, server):
    with opened(browser, server, SIZES[size]) as page:
        expect(page.get_by_label("Token of this service")).to_be_hidden()
        page.get_by_role("button", name="Continue").click()
        rows = page.locator("#next tbody tr")
        expect(rows).to_have_count(10)
        expect(rows.first).to_contain_text("Paris")
        page.get_by_role("tab", name="Fill the mask").click()
        page.get_by_label("Candidates").fill("7")
        page.get_by_role("button", name="Fill", exact=True).click()
        expect(page.locator("#mask tbody tr")).to_have_count(7)
        expect(page.locator("#mask pre")).to_contain_text("france")
        page.get_by_role("tab", name="Classify").click()
        page.get_by_role("button", name="It broke in a week.").click()
        expect(page.locator("#label meter")).to_have_count(3)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size][0]


def test_a_file_of_lines_comes_back_labelled(browser, server, tmp_path):
    lines = ["fine", '=HYPERLINK("x")', "naïve, with a comma 🙂"] * 150
    source = tmp_path / "mine.txt"
    source.write_text("\n\n".join(lines), encoding="utf-8")
    with opened(browser, f"{server}/#label") as page:
        page.get_by_label("Or a file with one text a line").set_input_files(
            source
        )
        with page.expect_download() as download:
            page.get_by_text("Download 450 labelled lines").click()
        text = download.value.path().read_text(encoding="utf-8-sig")
    assert download.value.suggested_filename == "mine_labelled.csv"
    rows = list(csv.DictReader(io.StringIO(text)))
    # A spreadsheet must not take a text for a formula.
    written = [f"'{line}" if line[0] == "=" else line for line in lines]
    assert [row["text"] for row in rows] == written
    for row in rows:
        chances = [float(row[n]) for n in ("negative", "neutral", "positive")]
        assert sum(chances) == pytest.approx(1)
        assert float(row[row["label"]]) == max(chances)


def test_a_refusal_is_shown_as_its_line(browser, server):
    with opened(browser, f"{server}/#mask") as page:
        page.get_by_label("Text with one [MASK]").fill("none here")
        page.get_by_role("button", name="Fill", exact=True).click()
        expect(page.locator("#mask .error")).to_contain_text("exactly one")


def test_the_page_asks_for_the_token_of_the_service(
    browser, checkpoint, monkeypatch
):
    monkeypatch.setenv("NLP_HELPERS_TOKEN", "s3cret-s3cret")
    with (
        start_server(checkpoint) as url,
        opened(browser, f"{url}/#label") as page,
    ):
        page.get_by_role("button", name="Classify", exact=True).click()
        page.get_by_label("Token of this service").fill("s3cret-s3cret")
        page.get_by_role("button", name="Classify", exact=True).click()
        expect(page.locator("#label meter")).to_have_count(3)


def test_the_documentation_works_without_other_hosts(browser, server):
    with opened(browser, f"{server}/docs") as page:
        expect(page.locator(".opblock").first).to_be_visible()
