"""Pack the course into one file: `python -m tools.course_pack [FILE]`.

`make course` makes what goes into it before: slides, nbgrader's folder, the
package's wheel. The folder `students` has no solutions: hand it out as it is.
"""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from nlp_helpers.core import files
from nlp_helpers.core.errors import UserError, run_command

ROOT = Path(__file__).resolve().parent.parent
# Folder in the zip -> what goes there, from the project's folder.
CONTENT = {
    "students/tasks": ("course/student/*.ipynb",),
    "students/notebooks": ("notebooks/0[1-5]_*.ipynb",),
    "students": ("build/course/*.whl", "environment.yml"),
    "lecturers/solutions": ("course/solutions/*.ipynb",),
    "lecturers/executed": ("outputs/reference/0[1-5]_*.ipynb",),
    "lecturers/nbgrader": ("build/course/nbgrader/**/*",),
    "lecturers/slides": ("build/slides/**/*",),
    "lecturers": ("docs/teaching.md", "course/README.md"),
    "": ("LICENSE", "LICENSE-text", "CITATION.cff"),
}


def content(root: Path) -> Iterator[tuple[str, Path]]:
    """Give a name in the zip and a file for each file that goes into it.

    Raises:
        UserError: one of the patterns finds nothing.
    """
    for folder, patterns in CONTENT.items():
        for pattern in patterns:
            start = root / pattern.partition("*")[0].rpartition("/")[0]
            paths = [p for p in sorted(root.glob(pattern)) if p.is_file()]
            if not paths:
                raise UserError(f"there is no {pattern}; run `make course`")
            for path in paths:
                yield f"{folder}/{path.relative_to(start)}".lstrip("/"), path


def pack(root: Path, target: Path) -> int:
    """Write the zip, whole or not at all; return how many files it has.

    Raises:
        UserError: something is missing.
    """
    found = list(content(root))
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = files.HalfMade(target).path()
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in found:
                archive.write(path, f"course/{name}")
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    return len(found)


def main() -> None:
    """Pack the project's course."""
    target = Path(sys.argv[1] if sys.argv[1:] else "build/course.zip")
    count = pack(ROOT, target)
    size = target.stat().st_size / 2**20
    print(f"{target}: {count} files, {size:.1f} MB")


if __name__ == "__main__":
    run_command(main)
