"""Run the notebooks of a profile in order."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nlp_helpers import files, parameters, paths
from nlp_helpers.batch.execute import execute
from nlp_helpers.errors import UserError


@dataclass(frozen=True)
class Result:
    """One executed notebook."""

    notebook: str
    seconds: float
    metrics: dict[str, float | str]
    output: Path


def select(numbers: tuple[str, ...]) -> list[str]:
    """Turn `01`, `1` or `01_next_token` into names, in the notebooks' order.

    Raises:
        UserError: there is no such notebook.
    """
    known = list(parameters.SCHEMAS)
    chosen = set()
    for number in numbers:
        matches = [
            name for name in known if number in (name, name[:2], name[1:2])
        ]
        if not matches:
            raise UserError(
                f"there is no notebook {number!r}; known: {', '.join(known)}"
            )
        chosen.update(matches)
    return [name for name in known if name in chosen or not numbers]


def run(profile: str, numbers: tuple[str, ...]) -> Iterator[Result | str]:
    """Execute the chosen notebooks one after another.

    Every parameters file is checked before the first kernel starts.

    Yields:
        The name of each notebook before it starts, then its result.
    """
    root = paths.project_root()
    folder = root / "params" / profile
    if not folder.parent.is_dir():
        raise UserError(
            f"{root} has no folder params; run this in the project folder, or"
            f" set {paths.ROOT_VARIABLE} to it"
        )
    if not folder.is_dir():
        profiles = sorted(path.name for path in folder.parent.glob("*/"))
        raise UserError(
            f"there is no profile {profile!r}; known: {', '.join(profiles)}"
        )
    values = {
        name: parameters.read_file(name, folder / f"{name}.yaml")
        for name in select(numbers)
    }
    for name, given in values.items():
        yield name
        source = root / "notebooks" / f"{name}.ipynb"
        output = root / "outputs" / profile / f"{name}.ipynb"
        seconds = execute(source, output, profile, given)
        metrics_file = paths.resolve(given["output_dir"]) / "metrics.json"
        if not metrics_file.is_file():
            raise UserError(
                f"{name} ended without writing {paths.shown(metrics_file)};"
                " its last cell must write the figures of the run"
            )
        metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
        yield Result(name, seconds, metrics, output)


def update_reference() -> list[Path]:
    """Copy notebooks and metrics of outputs/offline to outputs/reference.

    Raises:
        UserError: a notebook's last run did not finish; nothing is copied.
    """
    outputs = paths.project_root() / "outputs"
    names = list(parameters.SCHEMAS)
    for name in names:
        record = outputs / "offline" / name / "run.json"
        if not _finished(record):
            raise UserError(
                f"{paths.shown(record)} tells of no finished run; run `python"
                " -m nlp_helpers run` first"
            )
    written = []
    for name in names:
        for part in (f"{name}.ipynb", f"{name}/metrics.json"):
            source = outputs / "offline" / part
            target = outputs / "reference" / part
            files.write_text(target, source.read_text(encoding="utf-8"))
            written.append(target)
    return written


def _finished(record: Path) -> bool:
    """Tell whether a run.json says that its notebook ran to its end."""
    if not record.is_file():
        return False
    content = json.loads(record.read_text(encoding="utf-8"))
    return content["status"] == "finished"
