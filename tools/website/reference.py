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
## `{module}`

{job}.

```{{eval-rst}}
.. automodule:: nlp_helpers.{dotted}
   :members:
```
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
        import_module(f"nlp_helpers.{module.replace('/', '.')}")


def write_pages() -> dict[str, str]:
    """Return the pages of the API, each with its content."""
    rooms: dict[str, list[str]] = {}
    for module, job in read_jobs().items():
        room = module.split("/")[0] if "/" in module else ALONE
        rooms.setdefault(room, []).append(
            MODULE.format(
                module=module, dotted=module.replace("/", "."), job=job
            )
        )
    pages = {}
    for room, modules in rooms.items():
        title = "Modules of their own" if room == ALONE else room
        pages[f"api/{room}.md"] = "\n".join([f"# {title}\n", *modules])
    toctree = "\n".join(["```{toctree}", *rooms, "```"])
    pages["api/index.md"] = (
        "# API\n\nThe package `nlp_helpers`, room by room, from its"
        " docstrings. [Architecture](../docs/architecture.md) says how the"
        f" rooms hang together.\n\n{toctree}\n"
    )
    return pages
