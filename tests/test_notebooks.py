import ast
import json
import re
import subprocess
import sys
from collections import Counter

import nbformat
import papermill
import pytest
from pages import export_images

from nlp_helpers.core import paths
from nlp_helpers.parameters import SCHEMAS

NOTEBOOKS = list(SCHEMAS)


def read(project, notebook, folder="notebooks"):
    return nbformat.read(project / folder / f"{notebook}.ipynb", 4)


def code_cells(content):
    return [cell for cell in content.cells if cell.cell_type == "code"]


def without_magics(source):
    """Return the cell without its %pip command, so that Python parses it."""
    return re.sub(r"%pip(.*\\\n)*.*", "pass", source)


def test_there_are_no_other_notebooks(project):
    found = sorted(path.stem for path in project.glob("notebooks/*.ipynb"))
    assert found == NOTEBOOKS
    references = project.glob("outputs/reference/*.ipynb")
    assert sorted(path.stem for path in references) == NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_source_has_no_outputs_and_the_house_shape(project, notebook):
    content = read(project, notebook)
    nbformat.validate(content)
    assert content.metadata.kernelspec.name == "python3"
    assert 25 <= len(content.cells) <= 50
    for before, cell in zip(content.cells, content.cells[1:], strict=False):
        if cell.cell_type != "code":
            continue
        assert before.cell_type == "markdown", cell.source
        assert not cell.outputs and cell.execution_count is None
        lines = cell.source.splitlines()
        assert len(lines) <= 20
        assert max(map(len, lines)) <= 79, cell.source
    text = "\n".join(cell.source for cell in content.cells)
    goals = text.split("**Goals**")[1]
    assert re.findall(r"^(\d)\. ", goals.split("#")[0], re.M) == [*"123"]
    for heading in ("## Recap", "## Exercises"):
        part = text.split(heading)[1].split("\n## ")[0]
        assert re.findall(r"^(\d)\. ", part, re.M) == [*"123"]


CITED = re.compile(
    r"([A-Z]\w+)(?: and ([A-Z]\w+)| et al\.)?(?: \(| )((?:19|20)\d\d)\b"
)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_who_is_cited_is_in_the_list_of_references(project, notebook):
    cells = read(project, notebook).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    text, listed = text.split("\n## References\n")
    entries = [line for line in listed.splitlines() if line]
    assert len(entries) >= 3
    for entry in entries:
        links = re.findall(r"\]\(([^)]+)\)", entry)
        assert entry.startswith("- ") and links, entry
        for link in links:
            local = (project / "notebooks" / link).is_file()
            assert link.startswith("https://") or local, link
    cited = CITED.findall(text.replace("11 August 2023", ""))
    months = {"January", "May", "July", "October", "December"}
    for first, second, year in cited:
        if first not in months:
            assert any(
                name in entry and second in entry and year in entry
                for entry in entries
                for name in [first]
            ), f"{first} {second} {year}"


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_there_is_one_parameters_cell_of_literals(project, notebook):
    tagged = [
        cell
        for cell in code_cells(read(project, notebook))
        if "parameters" in cell.metadata.get("tags", [])
    ]
    assert len(tagged) == 1
    for statement in ast.parse(tagged[0].source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)


def test_no_function_is_defined_in_two_notebooks(project):
    names = Counter(
        node.name
        for notebook in NOTEBOOKS
        for cell in code_cells(read(project, notebook))
        for node in ast.walk(ast.parse(without_magics(cell.source)))
        if isinstance(node, ast.FunctionDef)
    )
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_reference_is_this_notebook_executed(project, notebook):
    source = read(project, notebook)
    reference = read(project, notebook, "outputs/reference")
    # The parameters stand there once, without papermill's cell.
    assert [cell.source for cell in reference.cells] == [
        cell.source for cell in source.cells
    ], f"run `make reference`: {notebook} has changed since"
    counts = [cell.execution_count for cell in code_cells(reference)]
    assert counts == [*range(1, len(counts) + 1)]
    for cell in code_cells(reference):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
            for folder in (project, paths.cache_folder()):
                assert str(folder) not in str(output)
            assert not re.search(r"/(home|root|Users|tmp)/", str(output))


def test_every_picture_of_an_exported_page_is_described(project, tmp_path):
    paths = sorted(project.glob("outputs/reference/*.ipynb"))
    for notebook, images in export_images(paths, tmp_path).items():
        reference = read(project, notebook, "outputs/reference")
        sources = "\n".join(cell.source for cell in code_cells(reference))
        assert len(images) == sources.count("plots.save(") > 0
        alts = [image["alt"] for image in images]
        assert len(set(alts)) == len(alts)
        assert all(alt.endswith(".") and len(alt) > 40 for alt in alts), alts


@pytest.mark.slow
def test_notebook_4_says_what_it_did_to_data_without_ids(project, root):
    """It said `review: 0 of 0 on both sides`, and nothing of what was cut."""
    (root / "mine").mkdir()
    rows = [
        {"reviewText": f"word {n} and more to say here", "overall": 1 + n % 5}
        for n in range(200)
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (root / "mine" / "reviews.jsonl").write_text(text)
    executed = papermill.execute_notebook(
        project / "notebooks" / "04_amazon_preprocessing.ipynb",
        None,
        {"review_source": str(root / "mine"), "max_length": 6},
        kernel_name="python3",
        progress_bar=False,
    )
    printed = "".join(
        output.get("text", "")
        for cell in code_cells(executed)
        for output in cell.outputs
    )
    assert "no row names its review, so each row stood alone" in printed
    assert "0 of 0" not in printed
    assert "cut to 6 tokens, or just as long: 200 rows" in printed


def test_make_has_nbval_run_the_notebooks_and_plain_pytest_does_not(project):
    """Else another runner of notebooks, nbmake say, runs them once more."""
    notebook = f"outputs/reference/{NOTEBOOKS[0]}.ipynb"
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q"]
    found = []
    for options in ([], ["--nbval"]):
        done = subprocess.run(
            [*collect, "-p", "no:cacheprovider", *options, notebook],
            cwd=project,
            capture_output=True,
            text=True,
        )
        found.append(done.stdout.count("::Cell "))
    assert found[0] == 0 and found[1] > 5
    makefile = (project / "Makefile").read_text()
    recipes = re.findall(r"-m pytest .*--dist.*", makefile)
    assert len(recipes) == 2 and all("--nbval" in line for line in recipes)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
@pytest.mark.parametrize("kind", ["python", "script"])
def test_a_notebook_becomes_a_script_that_compiles(
    project, notebook, kind, monkeypatch, tmp_path
):
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    path = project / "notebooks" / f"{notebook}.ipynb"
    convert = ["nbconvert", "--to", kind, "--stdout", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", *convert],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert "parameters.check(" in done.stdout
    compile(done.stdout, f"{notebook}.py", "exec")


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_each_cell_compiles_without_its_magics(project, notebook):
    """As jupytext and others write it: an `if` holds more than a magic."""
    for cell in code_cells(read(project, notebook)):
        source = re.sub(r"(?m)^\s*[%!](.*\\\n)*.*", "", cell.source)
        compile(source, notebook, "exec")
