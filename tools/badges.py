"""Write the repository's address into all that links to it: `make badges`.

The address stands once, as Repository in [project.urls] of pyproject.toml;
the version there is the tag that is linked to. It is taken from the remote
`origin` where that is on GitHub, so that a fork's links are its own. While
none is known nothing links to a place that does not exist, and README and
notebooks say how to upload the package instead.
"""

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
GITHUB = re.compile(
    r"(?:https://|git@|ssh://git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?"
)
SITES = {
    "Colab": (
        "https://colab.research.google.com/github/{name}/blob/{tag}/{path}"
    ),
    "Kaggle": (
        "https://kaggle.com/kernels/welcome?src="
        "https://github.com/{name}/blob/{tag}/{path}"
    ),
    "Binder": "https://mybinder.org/v2/gh/{name}/{tag}?labpath={quoted}",
}
NOT_ON_BINDER = "05_bert_fine_tuning"  # 2 GB of memory are too few
TASKS = "course/student"  # what the links of a notebook of tasks open
# Where notebooks are, and which folder's copy their links open.
FOLDERS = {
    "notebooks": "notebooks",
    "course": TASKS,
    "course/student": TASKS,
    "course/solutions": TASKS,
}
BEGIN, END = "<!-- written by make badges -->", "<!-- end -->"
CELL = """\
import glob, os, re, shutil, subprocess, sys

if "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
    class SetupError(Exception):
        _render_traceback_ = lambda self: [f"error: {{self}}"]

    source = "{source}"
    for wheel in glob.glob("nlp_helpers-*.whl"):  # uploaded
        source = re.sub(r" ?\\(\\d+\\)", "", f"/tmp/{{wheel}}")
        shutil.copy(wheel, source)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", source]
    if not source or subprocess.run(pip).returncode:
        raise SetupError("the package is missing: drag nlp_helpers-....whl"
                         " into the Files pane (the folder at the left), then"
                         " run this cell again")
    from nlp_helpers import hosted

    hosted.install("{notebook}")"""


def read_tag(root: Path = ROOT) -> str:
    """Return the tag of this version."""
    text = (root / "pyproject.toml").read_text("utf-8")
    [version] = re.findall(r'^version = "(.+)"$', text, re.MULTILINE)
    return f"v{version}"


def read_address(root: Path = ROOT) -> str:
    """Return OWNER/NAME on GitHub, or nothing while none is known."""
    text = (root / "pyproject.toml").read_text("utf-8")
    urls = re.findall(r'^Repository = "(.+)"$', text, re.MULTILINE)
    match = GITHUB.fullmatch(urls[0]) if urls else None
    return match[1] if match else ""


def read_origin(root: Path = ROOT) -> str:
    """Return OWNER/NAME of the remote `origin`, or nothing."""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    found = subprocess.run(command, capture_output=True, text=True)
    match = GITHUB.fullmatch(found.stdout.strip())
    return match[1] if match else ""


def write_address(address: str, root: Path = ROOT) -> None:
    """Put the address where it stands once."""
    path = root / "pyproject.toml"
    text = re.sub(
        r"\[project\.urls\]\n(.+\n)*\n?", "", path.read_text("utf-8")
    )
    urls = f'[project.urls]\nRepository = "https://github.com/{address}"\n\n'
    path.write_text(
        text.replace("[project.scripts]", urls + "[project.scripts]")
    )


def links(
    notebook: str, root: Path = ROOT, folder: str = "notebooks"
) -> dict[str, str]:
    """Return the links that open a notebook elsewhere, by their names."""
    name = read_address(root)
    if not name:
        return {}
    path = f"{folder}/{notebook}.ipynb"
    tag = read_tag(root)
    return {
        site: pattern.format(
            name=name, tag=tag, path=path, quoted=quote(path, safe="")
        )
        for site, pattern in SITES.items()
        if (site, notebook) != ("Binder", NOT_ON_BINDER)
    }


def set_up_text(
    notebook: str, root: Path = ROOT, folder: str = "notebooks"
) -> str:
    """Write the text before a notebook's set-up cell."""
    opened = [
        f"[{site}]({url})"
        for site, url in links(notebook, root, folder).items()
    ]
    where = (
        f"Open this notebook in {', '.join(opened)}. On Colab and Kaggle the"
        " next cell installs the helpers and what else the notebook lacks;"
        if opened
        else "On Google Colab and Kaggle the next cell installs the helpers,"
        " from a file `nlp_helpers-....whl` that you drag into the Files pane"
        " first (the folder at the left; this copy has no address to take it"
        " from), and what else the notebook lacks;"
    )
    return (
        f"## Set-up\n\n{where} it takes about half a minute, and nothing has"
        " to be restarted. Anywhere else it does nothing."
    )


def set_up_code(notebook: str, root: Path = ROOT) -> str:
    """Write a notebook's set-up cell."""
    name = read_address(root)
    archive = f"archive/refs/tags/{read_tag(root)}.zip"
    source = f"https://github.com/{name}/{archive}" if name else ""
    return CELL.format(source=source, notebook=notebook)


def readme_lines(root: Path = ROOT) -> str:
    """Write the README's table of links."""
    rows = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        opened = links(path.stem, root)
        cells = [f"[{site}]({url})" for site, url in opened.items()]
        rows.append(f"| {path.stem} | {' · '.join(cells)} |")
    if not read_address(root):
        return (
            "This copy has no address yet, so no link opens it on Colab,"
            " Kaggle or Binder: once it is on GitHub, `make badges` writes"
            " them here and into the notebooks. Until then, upload.\n"
        )
    return "\n".join(["| notebook | open it in |", "|---|---|", *rows, ""])


def write(root: Path = ROOT) -> None:
    """Write the address into the README and the notebooks."""
    readme = root / "README.md"
    text = readme.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(
        f"{before}{BEGIN}\n{readme_lines(root)}{END}{after}", "utf-8"
    )
    for place, folder in FOLDERS.items():
        for path in sorted((root / place).glob("*.ipynb")):
            _write_notebook(path, root, folder)


def _write_notebook(path: Path, root: Path, folder: str) -> None:
    """Write a notebook's set-up cell and the text before it."""
    notebook = json.loads(path.read_text("utf-8"))
    written = (
        set_up_text(path.stem, root, folder),
        set_up_code(path.stem, root),
    )
    for cell, source in zip(notebook["cells"][1:3], written, strict=True):
        cell["source"] = source.splitlines(keepends=True)
    content = json.dumps(notebook, indent=1, ensure_ascii=False)
    path.write_text(content + "\n", "utf-8")


def main() -> None:
    """Take the address from `origin`, if it is on GitHub, and write it."""
    if origin := read_origin():
        write_address(origin)
    write()
    print(f"address: {read_address() or 'none known'}")


if __name__ == "__main__":
    main()
