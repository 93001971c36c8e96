"""Build the site: `python -m tools.website [FOLDER]`."""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.cmd.build import main as sphinx_build

from tools.website import reference, staging


def main() -> int:
    """Stage the sources and let Sphinx build them, warnings being errors."""
    folder = Path(sys.argv[1] if sys.argv[1:] else "build/site").resolve()
    shutil.rmtree(folder, ignore_errors=True)  # of pages that are no more
    with TemporaryDirectory() as work:
        source = Path(work) / "source"
        staging.stage(source, reference.write_pages())
        return sphinx_build(
            [
                *("-W", "--keep-going", "-q", "-j", "auto", "-b", "html"),
                *("-c", str(staging.ROOT / "docs")),
                *("-d", str(Path(work) / "doctrees")),
                *(str(source), str(folder)),
            ]
        )


if __name__ == "__main__":
    sys.exit(main())
