"""The pages of the API: one for each room of the package.

What a module is for stands in the table of docs/architecture.md, the rest in
its docstrings, which Sphinx reads.
"""

import re
from importlib import import_module

from tools.website.staging import ROOT

# Its import is what it is for: it starts to work at once.
NOT_IMPORTED = "runner/forkserver_main"
ALONE = "modules"  # page of those that are in no room
MODULE = """\
## `{dotted}`

```{{eval-rst}}
.. automodule:: {name}
   :members:
```
"""
INDEX = """\
# API

The package `nlp_helpers`, room by room, from its docstrings. \
[Architecture](../docs/architecture.md) says how the rooms hang together.

"""


def read_jobs() -> dict[str, str]:
    """Return room/module -> its one job, in the order of the table.

    The one module that cannot be described without running it is left out.
    """
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, table = text.partition("## The modules")
    table, _, _ = table.partition("\n## ")
    jobs = dict(re.findall(r"^\| `([\w/]+)` \| (.+) \|$", table, re.M))
    del jobs[NOT_IMPORTED]
    return jobs


def import_modules() -> None:
    """Import every module that the pages describe."""
    for module in read_jobs():
        import_module(name_of(module))


def write_pages() -> dict[str, str]:
    """Return the pages of the API, each with its content."""
    jobs = read_jobs()
    rooms: dict[str, list[str]] = {}
    for module in jobs:
        room = module.split("/")[0] if "/" in module else ALONE
        rooms.setdefault(room, []).append(module)
    pages = {
        f"api/{room}.md": write_room(room, modules)
        for room, modules in rooms.items()
    }
    rows = [
        f"| {{py:mod}}`{module} <{name_of(module)}>` | {job} |"
        for module, job in jobs.items()
    ]
    lines = ["```{toctree}", ":hidden:", "", *rooms, "```", ""]
    lines += ["| module | its one job |", "|---|---|", *rows, ""]
    pages["api/index.md"] = INDEX + "\n".join(lines)
    return pages


def write_room(room: str, modules: list[str]) -> str:
    """Return the page of a room."""
    title = "Modules of their own" if room == ALONE else room
    parts = [
        MODULE.format(dotted=module.replace("/", "."), name=name_of(module))
        for module in modules
    ]
    return "\n".join([f"# {title}\n", *parts])


def name_of(module: str) -> str:
    """Return the full name of room/module."""
    return f"nlp_helpers.{module.replace('/', '.')}"
