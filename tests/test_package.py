"""The wheel holds what the package's folder holds, and nothing else."""

import shutil
from zipfile import ZipFile

from tools import badges
from tools.website import package

PARTS = ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text")


def list_wheel(project, folder):
    """Build a wheel into a folder, and return its files but the metadata."""
    with ZipFile(package.build(folder, project)) as wheel:
        names = wheel.namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_a_wheel_has_all_files_and_none_that_was_removed(tmp_path):
    root, project = badges.ROOT, tmp_path / "project"
    shutil.copytree(
        root / "nlp_helpers",
        project / "nlp_helpers",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in PARTS:
        shutil.copy(root / name, project)
    there = {
        str(path.relative_to(project))
        for path in (project / "nlp_helpers").rglob("*")
        if path.is_file()
    }
    removed = project / "nlp_helpers" / "removed.py"
    removed.touch()
    before = list_wheel(project, tmp_path / "before")
    assert before == {*there, "nlp_helpers/removed.py"}
    removed.unlink()
    assert list_wheel(project, tmp_path / "after") == there
    assert {path.name for path in project.iterdir()} == {*PARTS, "nlp_helpers"}
