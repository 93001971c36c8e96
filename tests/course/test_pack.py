import zipfile

import pytest

from nlp_helpers.core.errors import UserError
from tools import course_pack


@pytest.fixture
def built(root, project):
    """Return a folder with what `make course` builds, and the rest of ours."""
    for pattern in {p for ps in course_pack.CONTENT.values() for p in ps}:
        for path in project.glob(pattern):
            if (
                path.is_file()
                and "build" not in path.relative_to(project).parts
            ):
                target = root / path.relative_to(project)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    for name in (
        "build/course/nlp_helpers-1-py3-none-any.whl",
        "build/course/nbgrader/source/01_next_token/01_next_token.ipynb",
        "build/slides/01_next_token.slides.html",
        "build/slides/reveal/dist/reveal.js",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("made")
    return root


def test_students_get_no_solution_and_lecturers_all(built):
    target = built / "build" / "course.zip"
    count = course_pack.pack(built, target)
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
        texts = {
            name: archive.read(name).decode()
            for name in names
            if name.startswith("course/students/tasks/")
        }
    assert count == len(names) == len(set(names))
    assert len(texts) == 5
    for name, text in texts.items():
        assert "### BEGIN SOLUTION" not in text, name
        assert "### BEGIN HIDDEN TESTS" not in text, name
    for name in (
        "students/nlp_helpers-1-py3-none-any.whl",
        "students/notebooks/05_bert_fine_tuning.ipynb",
        "lecturers/solutions/05_bert_fine_tuning.ipynb",
        "lecturers/executed/05_bert_fine_tuning.ipynb",
        "lecturers/nbgrader/source/01_next_token/01_next_token.ipynb",
        "lecturers/slides/reveal/dist/reveal.js",
        "lecturers/teaching.md",
        "LICENSE-text",
    ):
        assert f"course/{name}" in names


def test_without_its_parts_nothing_is_packed(built):
    target = built / "build" / "course.zip"
    (built / "build/slides/01_next_token.slides.html").unlink()
    (built / "build/slides/reveal/dist/reveal.js").unlink()
    with pytest.raises(UserError, match="no build/slides.*run `make course`"):
        course_pack.pack(built, target)
    assert not target.exists()
