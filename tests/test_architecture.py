"""Imports run one way, downwards, and docs/architecture.md names what is."""

import ast
import re
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nlp_helpers"
DOCUMENT = ROOT / "docs" / "architecture.md"
# A room, or a module of the package itself, imports only from floors below.
FLOORS = (
    {"core", "hosted"},
    {"formatting"},
    {"models", "parameters", "plots", "session"},
    {"data", "language_models", "plots_tokens"},
    {"classification"},
    {"course", "heads", "vectors"},
    {"runner", "serving"},
    {"cli"},
    {"__main__"},
)
# What a process imports that only turns text into token ids.
HEAVY = ("torch", "transformers", "sklearn", "pandas")


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def room_of(module):
    """Return `data` of nlp_helpers.data.labels, `plots` of a module alone."""
    return module.split(".")[1]


def imported_by(path):
    """Return the full names that a file imports, in functions too."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                names.append(name if name in MODULES else node.module)
    return names


IMPORTS = {module: imported_by(path) for module, path in MODULES.items()}
ARROWS = sorted(
    {
        (module, imported)
        for module, names in IMPORTS.items()
        for imported in names
        if imported in MODULES and "." in imported and "." in module
    }
)


def test_every_room_has_its_floor():
    rooms = {room_of(module) for module in MODULES if "." in module}
    assert rooms == set.union(*FLOORS)


def test_no_import_runs_upwards_or_sideways():
    floor = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
    assert len(ARROWS) > 100
    assert not [
        f"{module} imports {imported}"
        for module, imported in ARROWS
        if room_of(module) != room_of(imported)
        and floor[room_of(module)] <= floor[room_of(imported)]
    ]


def test_nothing_but_the_command_line_imports_the_runner():
    assert not [
        f"{module} imports {imported}"
        for module, imported in ARROWS
        if room_of(imported) == "runner"
        and room_of(module) not in ("runner", "cli")
    ]


def test_core_knows_nothing_of_language():
    """Neither another room nor a library of models."""
    known = ("nlp_helpers.core", "nlp_helpers.core.")
    assert not [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if module.startswith("nlp_helpers.core")
        for name in names
        if (name.startswith("nlp_helpers") and not name.startswith(known))
        or name.partition(".")[0] in (*HEAVY, "tokenizers")
    ]


def test_no_imports_run_in_a_circle():
    below = {module: set() for module in MODULES}
    for module, imported in ARROWS:
        below[module].add(imported)
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_package_does_without_its_workshops():
    assert not [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in names
        if name.partition(".")[0] in ("tools", "benchmarks", "tests")
    ]


def test_a_tokenising_worker_starts_without_torch(python):
    """Its rooms have empty `__init__` files, so they bring nothing along."""
    code = (
        "import sys, nlp_helpers.data.tokenize_worker\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [python, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert loaded.stdout == "[]\n", loaded.stderr


def test_the_table_of_modules_names_each_once():
    table = re.findall(
        r"^\| `([\w/]+)` \|", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    paths = [path.relative_to(PACKAGE) for path in MODULES.values()]
    assert sorted(table) == sorted(
        path.with_suffix("").as_posix()
        for path in paths
        if not path.name.startswith("__")
    )


def test_the_picture_has_the_arrows_that_there_are():
    """One that another path implies may be left out."""
    drawn = re.findall(
        r"^ +(\w+) --> (.+)$", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    picture = {(a, b) for a, ends in drawn for b in ends.split(" & ")}
    real = {(room_of(a), room_of(b)) for a, b in ARROWS}
    real = {(a, b) for a, b in real if a != b and a != "__main__"}
    assert picture <= real
    implied = set(picture)
    while (
        more := {(a, d) for a, b in implied for c, d in picture if b == c}
        - implied
    ):
        implied |= more
    assert real <= implied


def test_every_function_that_the_page_names_exists():
    text = DOCUMENT.read_text(encoding="utf-8")
    by_name = {module.rpartition(".")[2]: module for module in MODULES}
    named = [
        (module, name)
        for module, name in re.findall(r"\b([a-z_]+)\.([A-Za-z_]+)\b", text)
        if module in by_name and name not in ("md", "py", "yaml", "json")
    ]
    assert len(named) > 10
    for module, name in named:
        source = MODULES[by_name[module]].read_text(encoding="utf-8")
        defined = rf"^(?:(?:def|class) )?{name}\b"
        assert re.search(defined, source, re.MULTILINE), f"{module}.{name}"


def test_every_path_that_the_page_names_exists():
    text = DOCUMENT.read_text(encoding="utf-8")
    folders = "nlp_helpers|docs|tests|params|tools|notebooks"
    paths = re.findall(rf"`((?:{folders})/[^`<]*)`", text)
    paths += [f"docs/{link}" for link in re.findall(r"\]\((\w+\.md)\)", text)]
    assert len(paths) > 5
    assert not [path for path in paths if not (ROOT / path).exists()]
