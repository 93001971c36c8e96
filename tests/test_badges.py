"""The address of the repository, and what `make badges` makes of it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from nlp_helpers import parameters
from tools import badges

NOTEBOOKS = list(parameters.SCHEMAS)
LINK = re.compile(r"\]\((https://[^)]*(?:colab|kaggle|mybinder)[^)]*)\)")


def links_of(root, notebook, folder="notebooks"):
    content = nbformat.read(root / folder / f"{notebook}.ipynb", 4)
    return LINK.findall(content.cells[1].source), content.cells[2].source


@pytest.fixture
def fork(project, tmp_path) -> Path:
    """A copy of what holds links, with a remote of its own."""
    copied = ("notebooks", "course", "tools", "README.md", "pyproject.toml")
    for name in copied:
        source = project / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    origin = "git@github.com:some-body/their.fork.git"
    subprocess.run([*git, "remote", "add", "origin", origin], check=True)
    return tmp_path


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_what_is_committed_is_what_make_badges_writes(project, notebook):
    content = nbformat.read(project / "notebooks" / f"{notebook}.ipynb", 4)
    text, code = (cell.source for cell in content.cells[1:3])
    assert text == badges.set_up_text(notebook)
    assert code == badges.set_up_code(notebook)
    assert badges.readme_lines() in (project / "README.md").read_text()
    if not badges.read_address():
        links, code = links_of(project, notebook)
        assert not links and "https:" not in code
        assert not LINK.findall((project / "README.md").read_text())


def test_a_fork_runs_one_command_and_its_links_are_its_own(fork, python):
    for _ in range(2):  # the second time nothing changes
        command = [python, str(fork / "tools" / "badges.py")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout == "address: some-body/their.fork\n", done.stderr
    assert badges.read_address(fork) == "some-body/their.fork"
    pyproject = (fork / "pyproject.toml").read_text()
    assert pyproject.count("some-body/their.fork") == 1
    tag = badges.read_tag(fork)
    readme = (fork / "README.md").read_text()
    in_readme = LINK.findall(readme)
    for notebook in NOTEBOOKS:
        path = f"notebooks/{notebook}.ipynb"
        assert (fork / path).is_file()
        links, code = links_of(fork, notebook)
        assert len(links) == (2 if notebook == badges.NOT_ON_BINDER else 3)
        for link in links:
            assert "some-body/their.fork" in link and tag in link
            assert unquote(link).endswith(path)
        assert set(links) <= set(in_readme)
        archive = f"some-body/their.fork/archive/refs/tags/{tag}.zip"
        assert f'source = "https://github.com/{archive}"' in code
    assert len(in_readme) == 3 * len(NOTEBOOKS) - 1


@pytest.mark.parametrize("place", ["", "student", "solutions"])
def test_a_notebook_of_tasks_opens_what_students_get(fork, python, place):
    command = [python, str(fork / "tools" / "badges.py")]
    subprocess.run(command, capture_output=True, check=True)
    folder = fork / "course" / place
    names = sorted(path.stem for path in folder.glob("*.ipynb"))
    assert len(names) == 5
    for name in names:
        links, code = links_of(fork, name, folder)
        assert len(links) >= 2
        for link in links:
            assert unquote(link).endswith(f"course/student/{name}.ipynb")
        assert f'hosted.install("{name}")' in code
        assert "some-body/their.fork" in code


@pytest.mark.parametrize(
    "origin",
    [
        "https://github.com/a-b/c.d.git",
        "https://github.com/a-b/c.d",
        "git@github.com:a-b/c.d.git",
        "ssh://git@github.com/a-b/c.d.git",
    ],
)
def test_every_form_of_address_is_understood(fork, origin):
    command = ["git", "-C", str(fork), "remote", "set-url", "origin", origin]
    subprocess.run(command, check=True)
    assert badges.read_origin(fork) == "a-b/c.d"


def test_an_origin_elsewhere_leaves_no_address(fork, python):
    command = ["git", "-C", str(fork), "remote", "set-url", "origin"]
    subprocess.run([*command, "/srv/git/notebooks.git"], check=True)
    command = [python, str(fork / "tools" / "badges.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "address: none known\n"


def test_the_set_up_cell_fails_in_one_line(project, tmp_path, monkeypatch):
    """On a machine of Kaggle's, with nothing uploaded."""
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    code = badges.set_up_code(NOTEBOOKS[0])
    code = re.sub(r'source = "https:[^"]*"', 'source = ""', code)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code)]
    )
    client = NotebookClient(
        notebook, resources={"metadata": {"path": str(tmp_path)}}
    )
    with pytest.raises(CellExecutionError):
        client.execute()
    [output] = notebook.cells[0].outputs
    [line] = output.traceback
    assert line.startswith("error: the package is missing: drag nlp_helpers")
    assert len(json.dumps(line)) < 200
