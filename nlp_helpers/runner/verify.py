"""Compare a run with the reference: values, not bytes."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat

from nlp_helpers import parameters
from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.core.verdicts import (
    CLOSE,
    DIFFERENT,
    SAME,
    Difference,
    judge,
)
from nlp_helpers.core.yaml_files import read_yaml
from nlp_helpers.language_models import published
from nlp_helpers.runner import record, stages, tasks

NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
IGNORED_TAG = "nbval-ignore-output"
INJECTED_TAG = "injected-parameters"  # of the cell that papermill adds
# Lines that name the machine, and identifiers of table styles.
MACHINE = (
    (re.compile(r"seed \d+ \| .*"), "SEED, DEVICE AND VERSIONS"),
    (re.compile(r"T_[0-9a-f]{5}"), "STYLE"),
    (re.compile(r" +"), " "),
)


def read_tolerances() -> dict[str, Any]:
    """Read tolerances.yaml."""
    path = Path(__file__).with_name("tolerances.yaml")
    return read_yaml(path)


def compare(outputs: Path, reference: Path, notebook: str) -> list[Difference]:
    """Compare one notebook's metrics and the text of its cells.

    Args:
        outputs: the folder of a profile's outputs.
        reference: a folder of the same form.
        notebook: for example `01_next_token`.

    Raises:
        UserError: one of them has not got the notebook.
    """
    check_reference(reference, notebook)
    if lacking := _lacks(outputs, notebook):
        raise UserError(
            f"there is no {lacking}; run `python -m nlp_helpers run"
            f" {notebook[:2]}` first"
        )
    content = record.read_record(outputs / notebook / "run.json")
    if not record.finished(content):
        raise UserError(
            f"{paths.shown(outputs / notebook)} has no finished run; run"
            f" `python -m nlp_helpers run {notebook[:2]}` first"
        )
    expected_metrics, metrics = (
        files.read_json(folder / notebook / "metrics.json")
        for folder in (reference, outputs)
    )
    expected_cells, cells = (
        nbformat.read(folder / f"{notebook}.ipynb", as_version=4)
        for folder in (reference, outputs)
    )
    allowed = read_tolerances()["cells"]
    return [
        *compare_metrics(notebook, expected_metrics, metrics),
        *_compare_cells(notebook, expected_cells, cells, allowed),
    ]


class Reference:
    """Compare runs of the offline profile with a folder of the same form."""

    profile = "offline"
    notebooks: tuple[str, ...] = ()  # the five

    def __init__(self, folder: Path | None) -> None:
        """Take a folder, or outputs/reference."""
        self.folder = (folder or paths.outputs() / "reference").resolve()

    def check(self, notebook: str) -> None:
        """Raise a UserError if the folder has not got a notebook."""
        check_reference(self.folder, notebook)

    def __call__(self, notebook: str) -> list[Difference]:
        """Compare the last run of a notebook."""
        return compare(paths.outputs() / self.profile, self.folder, notebook)


class Articles:
    """Compare runs of the hub profile with what the articles print."""

    profile = "hub"

    def __init__(self, path: Path | None) -> None:
        """Take a file of the form of published.yaml, or that itself."""
        self.path = path or published.PUBLISHED
        self.values = published.read_published(self.path)
        self.notebooks = tuple(self.values)

    def check(self, notebook: str) -> None:
        """Raise a UserError if no value is printed for a notebook."""
        if notebook not in self.values:
            raise UserError(
                f"{paths.shown(self.path)} has no values for {notebook};"
                f" choose from {', '.join(self.notebooks)}"
            )

    def __call__(self, notebook: str) -> list[Difference]:
        """Compare the last run of a notebook.

        Raises:
            UserError: there is no run, or it asked another model.
        """
        own = paths.outputs() / self.profile / notebook / published.VALUES
        if not own.is_file():
            raise UserError(
                f"there is no {paths.shown(own)}: set model_name:"
                f" {self.values[notebook].model} in"
                f" params/{self.profile}/{notebook}.yaml and run `python -m"
                " nlp_helpers verify --published`"
            )
        values = files.read_json(own)
        return published.compare(notebook, self.values[notebook], values)


def describe_kept(task: tasks.Task) -> str | None:
    """Say of which run the results are, if not of the last one."""
    path = task.output.with_suffix("") / "run.json"
    content = record.read_record(path) or {}
    kept = content.get("kept")
    return kept and (
        f"{task.notebook}: the last run is {content['status']}; compared is"
        f" what the run of {kept['started']} left"
    )


def check_reference(reference: Path, notebook: str) -> None:
    """Raise a UserError if a reference folder has not got a notebook."""
    if lacking := _lacks(reference, notebook):
        raise UserError(
            f"there is no {lacking} to compare with; `python -m nlp_helpers"
            f" accept {notebook[:2]}` makes outputs/reference from the last"
            " run"
        )


def _lacks(folder: Path, notebook: str) -> str | None:
    """Return which file of a notebook is not in a folder."""
    for part in (f"{notebook}.ipynb", f"{notebook}/metrics.json"):
        if not (folder / part).is_file():
            return paths.shown(folder / part)
    return None


def compare_metrics(
    notebook: str, expected: Mapping[str, Any], actual: Mapping[str, Any]
) -> Iterator[Difference]:
    """Compare metric by metric; one that is missing is different."""
    tolerances = read_tolerances()
    for name in {**expected, **actual}:
        old, new = (side.get(name, "(missing)") for side in (expected, actual))
        numbers = all(isinstance(value, int | float) for value in (old, new))
        allowed = tolerances["metrics"].get(name)
        if allowed is None and any(isinstance(v, float) for v in (old, new)):
            allowed = tolerances["default"]
        verdict = SAME if old == new else DIFFERENT
        if verdict == DIFFERENT and numbers and allowed:
            verdict = judge(old, new, allowed)
        yield Difference(notebook, name, _shown(old), _shown(new), verdict)


def _compare_cells(
    notebook: str,
    expected: nbformat.NotebookNode,
    actual: nbformat.NotebookNode,
    allowed: Mapping[str, float],
) -> Iterator[Difference]:
    """Compare the text of the code cells, number by number."""
    pairs = [_code_cells(side) for side in (expected, actual)]
    if [c.source for c in pairs[0]] != [c.source for c in pairs[1]]:
        yield Difference(notebook, "cells", "", "other code", DIFFERENT)
        return
    for number, (old, new) in enumerate(zip(*pairs, strict=True), start=1):
        if _has_tag(old, IGNORED_TAG):
            continue
        texts = [cell_text(cell) for cell in (old, new)]
        if texts[0] == texts[1]:
            verdict = SAME
        elif NUMBER.sub("#", texts[0]) != NUMBER.sub("#", texts[1]):
            verdict = DIFFERENT
        else:
            numbers = [map(float, NUMBER.findall(text)) for text in texts]
            verdicts = {
                judge(first, second, allowed)
                for first, second in zip(*numbers, strict=True)
            }
            verdict = DIFFERENT if DIFFERENT in verdicts else CLOSE
        yield Difference(
            notebook, f"cell {number}", *_first_difference(*texts), verdict
        )


def _code_cells(notebook: nbformat.NotebookNode) -> list[Any]:
    """Return the code cells of the source: not the one of papermill."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and not _has_tag(cell, INJECTED_TAG)
    ]


def _has_tag(cell: nbformat.NotebookNode, tag: str) -> bool:
    """Return whether a cell carries a tag."""
    return tag in cell.metadata.get("tags", [])


def cell_text(cell: nbformat.NotebookNode) -> str:
    """Return what a cell printed or showed as text, free of the machine."""
    texts = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
        if output.output_type != "error"
    ]
    text = "".join(texts)
    for pattern, name in MACHINE:
        text = pattern.sub(name, text)
    return text


def _first_difference(expected: str, actual: str) -> tuple[str, str]:
    """Return the first lines that differ, or two empty texts."""
    lines = expected.splitlines(), actual.splitlines()
    for old, new in zip(*lines, strict=False):
        if old != new:
            return old.strip(), new.strip()
    if len(lines[0]) != len(lines[1]):
        return f"{len(lines[0])} lines", f"{len(lines[1])} lines"
    return "", ""


def _shown(value: Any) -> str:
    """Return a value as people read it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def accept(notebooks: list[str]) -> list[Path]:
    """Copy notebooks and metrics of outputs/offline to outputs/reference.

    The copy has the parameters once: papermill's cell repeats them.

    Raises:
        UserError: a notebook's last run did not finish, or is of something
            else than what is there now; nothing is copied.
    """
    outputs = paths.outputs()
    for task in tasks.plan("offline", tuple(notebooks)):
        path = task.output.with_suffix("") / "run.json"
        content = record.read_record(path)
        if not content or content["status"] != "finished":
            problem = "does not record a finished run"
        elif not record.matches_inputs(
            content, record.describe(task, stages.read_stages()[task.notebook])
        ):
            problem = "was made with other code, parameters or inputs"
        elif record.artifacts(task.output) != content["artifacts"]:
            problem = "does not match the results beside it"
        else:
            continue
        raise UserError(
            f"{paths.shown(path)} {problem}; run `python -m nlp_helpers run`"
            " first"
        )
    written = []
    for name in notebooks:
        for part in (f"{name}.ipynb", f"{name}/metrics.json"):
            source = outputs / "offline" / part
            target = outputs / "reference" / part
            text = source.read_text(encoding="utf-8")
            if part.endswith(".ipynb"):
                text = _show_parameters_once(text)
            files.write_text(target, text)
            written.append(target)
    return written


def _show_parameters_once(text: str) -> str:
    """Leave papermill's cell out, if it sets what the notebook's own does."""
    notebook = nbformat.reads(text, as_version=4)
    own, injected = (
        [cell for cell in notebook.cells if _has_tag(cell, tag)]
        for tag in ("parameters", INJECTED_TAG)
    )
    if [_literals(cell) for cell in own] != [_literals(c) for c in injected]:
        return text
    notebook.cells = [cell for cell in notebook.cells if cell not in injected]
    for number, cell in enumerate(_code_cells(notebook), start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    return f"{nbformat.writes(notebook)}\n"


def _literals(cell: nbformat.NotebookNode) -> dict[str, Any]:
    """Return the values that a cell of parameters sets."""
    return {
        ast.unparse(target): ast.literal_eval(statement.value)
        for statement in ast.parse(cell.source).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    }


def reference_notebooks(reference: Path) -> list[str]:
    """Return the notebooks that a reference folder has, in order."""
    return [name for name in parameters.SCHEMAS if not _lacks(reference, name)]
