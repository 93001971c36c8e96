"""Copy what the site shows into one folder, which Sphinx can then read.

Sphinx reads one folder, and the pages come from several: the executed
notebooks, docs/, the course and the README. The copies keep their names; what
changes are their links. A link to another page leads there, a link to a file
of the repository leads to its address, and while there is none, it is text.
"""

import fnmatch
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tools import badges
from tools.website import diagram, package, tasks

ROOT = badges.ROOT
# Where the pages of a folder are: file of the repository -> page.
FOLDERS = {
    "outputs/reference": "notebooks",
    "docs": "docs",
    "course": "course",
    "course/solutions": "course",
}
# What is linked to by the name of another file.
SAME = {"notebooks": "outputs/reference", "course/student": "course/solutions"}
SINGLE = {
    "docs/index.md": "index.md",
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "nlp_helpers/models/weights/minilm-l6-mlm/README.md": (
        "project/model_card.md"
    ),
}
# The course's own notebooks have the hidden tests; none of them is shown.
SUFFIXES = ((".md", ".ipynb"), (".md",))
# Code, in which brackets are no link, or a link.
CODE_OR_LINK = re.compile(
    r"(?P<code>^ *(?P<fence>```+).*?^ *(?P=fence) *$|^ {4}.*?$"
    r"|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))"
    r"|\[(?P<text>[^\[\]]*)\]\((?P<target>[^)\s]+)\)",
    re.DOTALL | re.MULTILINE,
)
TOCTREE = re.compile(r"^```\{toctree\}.*?^```$", re.DOTALL | re.MULTILINE)
SET_UP_CELL = "hosted.install("
RUN_FROM = "notebooks/source"  # as they are in the repository, to download
PACKAGE = "package"  # folder of the wheel, which the first page offers
RUN_IT = "Run it yourself: {{download}}`{name} <source/{name}>`."
SOLVE_IT = (
    "Solve them in a copy of your own: {{download}}`{name} <student/{name}>`."
    " The solutions are here, folded, for when you have tried."
)


def find_page(path: str) -> str | None:
    """Return the page on which a file of the repository is shown."""
    if path in SINGLE:
        return SINGLE[path]
    pure = PurePosixPath(path)
    folder = SAME.get(str(pure.parent), str(pure.parent))
    shown = ROOT / folder / pure.name
    if folder not in FOLDERS or not shown.is_file():
        return None
    if pure.suffix not in SUFFIXES[folder == "course"]:
        return None
    return f"{FOLDERS[folder]}/{pure.name}"


def find_sources() -> Iterator[tuple[str, str]]:
    """Yield each file of the repository that is shown, and its page."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("*.*")):
            source = path.relative_to(ROOT).as_posix()
            if page := find_page(source):
                yield source, page
    for source, page in SINGLE.items():
        if not source.startswith("docs/"):
            yield source, page


def link(target: str, text: str, source: str, page: str) -> str:
    """Return a link of a file as it must stand on the file's page.

    Args:
        target: of the link, as it stands in the file.
        text: of the link.
        source: the file, from the root of the repository.
        page: the page on which the file is shown.
    """
    if re.match(r"[a-z]+:|#", target):
        return f"[{text}]({target})"
    path, _, fragment = target.partition("#")
    folder = PurePosixPath(source).parent
    if str(folder) == "outputs/reference":  # written in notebooks/
        folder = PurePosixPath("notebooks")
    full = os.path.normpath(folder / path).replace(os.sep, "/")
    anchor = f"#{fragment}" if fragment else ""
    if other := find_page(full):
        relative = os.path.relpath(other, PurePosixPath(page).parent)
        return f"[{text}]({relative.replace(os.sep, '/')}{anchor})"
    if not (ROOT / full).exists():
        raise FileNotFoundError(f"{source} links to {target}, which is not")
    if not (name := badges.read_address()):
        return text
    kind = "tree" if (ROOT / full).is_dir() else "blob"
    address = f"https://github.com/{name}/{kind}/{badges.read_tag()}/{full}"
    return f"[{text}]({address}{anchor})"


def stage_text(content: str, source: str, page: str) -> str:
    """Return a Markdown file as the site shows it: with links, drawn."""
    text = link_text(content, source, page)
    return diagram.replace_blocks(text, "Flowchart of this page.")


def link_text(text: str, source: str, page: str) -> str:
    """Return Markdown with the links that it needs on its page."""

    def replace(match: re.Match[str]) -> str:
        if match["code"] is not None:
            return match[0]
        return link(match["target"], match["text"], source, page)

    return CODE_OR_LINK.sub(replace, text)


def stage_notebook(content: str, source: str, page: str) -> str:
    """Return a notebook as the site shows it: with links, set-up folded."""
    notebook = json.loads(content)
    name = PurePosixPath(source).name
    where = RUN_IT
    if source.startswith("course/"):
        student = ROOT / "course" / "student" / name
        tasks.fold_solutions(notebook, json.loads(student.read_text("utf-8")))
        where = SOLVE_IT
    say_where(notebook, where.format(name=name))
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            cell["source"] = link_text(text, source, page)
        elif SET_UP_CELL in text:
            cell["metadata"].setdefault("tags", []).append("hide-input")
    return json.dumps(notebook, ensure_ascii=False)


def say_where(notebook: dict[str, Any], text: str) -> None:
    """Say below a notebook's title where it can be had."""
    note = {"cell_type": "markdown", "id": "site-download", "metadata": {}}
    notebook["cells"].insert(1, note | {"source": text})


def drop_empty_lists(text: str, pages: Iterable[str]) -> str:
    """Leave out of a page's lists what this copy of the project lacks."""
    names = {str(PurePosixPath(page).with_suffix("")) for page in pages}

    def replace(match: re.Match[str]) -> str:
        lines = match[0].splitlines()
        missing = [
            line
            for line in lines
            if line.endswith("*") and not fnmatch.filter(names, line)
        ]
        kept = [line for line in lines if line not in missing]
        listed = [line for line in kept if not re.match("```|:|$", line)]
        return "\n".join(kept) if listed else ""

    return TOCTREE.sub(replace, text)


def stage(folder: Path, made: dict[str, str]) -> None:
    """Fill a folder with the sources of all pages.

    Args:
        folder: empty, or not there.
        made: pages that are in no file of the repository -> their content.
    """
    pages = dict(made)
    change: dict[str, Callable[[str, str, str], str]] = {
        ".md": stage_text,
        ".ipynb": stage_notebook,
    }
    for source, page in find_sources():
        content = (ROOT / source).read_text(encoding="utf-8")
        pages[page] = change[Path(page).suffix](content, source, page)
    downloads = {"course/student": "course/student", "notebooks": RUN_FROM}
    for source, target in downloads.items():
        for path in (ROOT / source).glob("*.ipynb"):
            pages[f"{target}/{path.name}"] = path.read_text("utf-8")
    wheel = package.build(folder / PACKAGE).name
    index = drop_empty_lists(pages["index.md"], pages)
    pages["index.md"] = index.replace("PACKAGE.whl", f"{PACKAGE}/{wheel}")
    for page, content in pages.items():
        path = folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
