"""The lecturer's page names what there is."""

import json
import re

import pytest

from nlp_helpers.course import checking


@pytest.fixture
def page(project):
    return (project / "docs" / "teaching.md").read_text(encoding="utf-8")


def headings(project, number):
    [path] = (project / "notebooks").glob(f"{number:02}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    return set(re.findall(r"^## (.*)$", text, re.MULTILINE))


def test_every_section_that_it_sends_to_exists(page, project):
    rows = re.findall(
        r"^\| ([1-5]) \|.*\| ([^|]+) \|$",
        page.partition("## What learners get wrong")[2],
        re.MULTILINE,
    )
    assert {number for number, _ in rows} == set("12345")
    known = {number: headings(project, int(number)) for number in "12345"}
    for number, place in rows:
        titles = [place] if place.count("*") > 2 else [place.strip("*")]
        if place.startswith("*"):
            assert set(titles) <= known[number], (number, place)


def test_every_link_and_path_leads_somewhere(page, project):
    links = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", page)
    assert len(links) > 5
    assert [p for p in links if not (project / "docs" / p).exists()] == []
    folders = "requirements|outputs/reference|notebooks|params"
    paths = re.findall(rf"`((?:{folders})[\w./-]*)`", page)
    assert len(paths) > 5
    assert [path for path in paths if not (project / path).exists()] == []


def test_the_scores_that_it_quotes_are_those_of_the_reference(page, project):
    folder = project / "outputs" / "reference"
    names = ("01_next_token", "04_amazon_preprocessing", "05_bert_fine_tuning")
    one, four, five = (
        json.loads((folder / name / "metrics.json").read_text())
        for name in names
    )
    for value in (
        one["best_probability"],
        four["fraction_positive"],
        five["accuracy"],
        five["accuracy_without_neutral"],
    ):
        assert f"{value:.3f}" in page


def test_its_reckoning_is_right(page):
    """The sums in it, from the table above them."""
    assert "60 × 1.33 = 80 GB" in page and round(60 * 1.33) == 80
    assert "60 × (2.4 + 0.13) = 152 GB" in page
    assert round(60 * (2.4 + 0.13)) == 152
    assert "60 × 138 × 2 / 16 seconds, about 17 minutes" in page
    assert round(60 * 138 * 2 / 16 / 60) == 17


def test_the_wheel_carries_both_licences(project):
    settings = (project / "pyproject.toml").read_text(encoding="utf-8")
    assert '\nlicense-files = ["LICENSE", "LICENSE-text"]' in settings
    text = (project / "LICENSE-text").read_text(encoding="utf-8")
    assert "https://creativecommons.org/licenses/by/4.0/" in text


def test_the_points_that_it_names_are_those_of_the_tasks(page):
    points = [
        [task.points for task in checking.notebook_tasks(notebook).values()]
        for notebook in ("04", "05")
    ]
    (all_4, all_5), (six_4, six_5) = (
        [sum(each[:number]) for each in points] for number in (None, 6)
    )
    assert f"{all_4} of {all_4} and {all_5} of {all_5} points" in page
    assert f"first six tasks solved {six_4} and {six_5}," in page
