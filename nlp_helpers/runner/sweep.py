"""Run notebooks with every combination of some parameters, and compare.

params/sweeps/ has examples, with every key explained.
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nlp_helpers import parameters, plots
from nlp_helpers.core import engine, files, paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.core.yaml_files import read_yaml
from nlp_helpers.runner import record, stages
from nlp_helpers.runner.tasks import Result, Task, check_model
from nlp_helpers.runner.tasks import plan as plan_notebooks

MAX_NAME_LENGTH = 80  # characters of a combination's folder


class Sweep(BaseModel):
    """What a sweep file holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    profile: str = "offline"
    notebooks: list[str] = Field(min_length=1)
    grid: dict[str, list[Any]] = Field(min_length=1)
    metric: str


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UserError: it is missing, not YAML, or does not fit.
    """
    try:
        content = read_yaml(path)
        return Sweep.model_validate(content)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        [first, *_] = error.errors()
        field = "".join(f"{part}: " for part in first["loc"])
        raise UserError(f"{path}: {field}{first['msg'].lower()}") from error


def plan(sweep: Sweep, folder: Path) -> list[list[Task]]:
    """Return the tasks of each combination, all parameters checked.

    Raises:
        UserError: a parameter belongs to none of the notebooks, or a value
            does not fit.
    """
    base = plan_notebooks(sweep.profile, tuple(sweep.notebooks))
    for name in sweep.grid:
        if not _varied(base, name):
            names = ", ".join(task.notebook for task in base)
            raise UserError(f"grid: {name} is not a parameter of {names}")
    if any(_parameter(name) == "output_dir" for name in sweep.grid):
        raise UserError("grid: output_dir is chosen by the sweep; remove it")
    combinations = list(itertools.product(*sweep.grid.values()))
    if not combinations:
        raise UserError(
            "grid: a list is empty, so no combination is left; add a value"
        )
    return [
        _combination(base, dict(zip(sweep.grid, values, strict=True)), folder)
        for values in combinations
    ]


def _parameter(name: str) -> str:
    """Return the parameter that a name of the grid means."""
    return name.rpartition(".")[2]


def _varied(tasks: list[Task], name: str) -> list[str]:
    """Return the notebooks in which a name of the grid varies a parameter.

    `04.seed` is of notebook 4, `seed` of the last notebook that has it: the
    spread of a training's seeds is asked for on one split. Other parameters
    are of all notebooks, which have to agree.
    """
    number, _, parameter = name.rpartition(".")
    notebooks = [
        task.notebook
        for task in tasks
        if parameter in task.values
        and number in ("", task.notebook, task.notebook[:2])
    ]
    return notebooks[-1:] if name == "seed" else notebooks


def _combination(
    base: list[Task], chosen: Mapping[str, Any], folder: Path
) -> list[Task]:
    """Return the tasks of one combination, in a folder of its own."""
    variant = ",".join(f"{name}={value}" for name, value in chosen.items())
    target = folder / _folder_name(variant)
    moved = {
        paths.resolve(task.values["output_dir"]): str(target / task.notebook)
        for task in base
    }
    needs = stages.read_stages()
    tasks = []
    for task in base:
        values = dict(task.values)
        for name in ("output_dir", *needs[task.notebook].inputs):
            there = paths.resolve(values[name])
            values[name] = moved.get(there, values[name])
        values |= {
            _parameter(name): value
            for name, value in chosen.items()
            if task.notebook in _varied(base, name)
        }
        parameters.validate(task.notebook, values, f"{variant} of the sweep")
        check_model(task.notebook, values)
        output = target / f"{task.notebook}.ipynb"
        tasks.append(Task(task.notebook, values, output, "sweep", variant))
    return tasks


def _folder_name(variant: str) -> str:
    """Return a name that is short, fit for a path, and no other variant's."""
    name = re.sub(r"[^\w=,.-]", "_", variant)
    # Some file systems do not tell A from a.
    if name == variant.lower() and len(name) <= MAX_NAME_LENGTH:
        return name
    code = files.hash_text(variant)[: files.SHORT]
    return f"{name[:MAX_NAME_LENGTH]}-{code}"


def run_on_ray(
    combinations: list[list[Task]], force: bool, cores: int, gpus: float
) -> Iterator[Result]:
    """Run each combination as a task of a Ray cluster.

    The project's folder must be at the same place on every machine.

    Args:
        combinations: what `plan` returned.
        force: run also what would write what is there already.
        cores: processors for each combination.
        gpus: GPUs for each combination; parts of one let several share it.
    """
    root = str(paths.project_root())
    jobs = [(tasks, force, cores, root) for tasks in combinations]
    for _, results in engine.run(
        _run_combination, jobs, "ray", num_cpus=cores, num_gpus=gpus
    ):
        yield from results


def _run_combination(
    tasks: list[Task], force: bool, cores: int, root: str
) -> list[Result]:
    """Run the tasks of one combination, on whatever machine this is."""
    from nlp_helpers.runner import pipeline

    os.environ[paths.ROOT_VARIABLE] = root
    runner = pipeline.Runner(force, jobs=1, use_forkserver=False, cores=cores)
    return list(runner.run(tasks))


def tabulate(sweep: Sweep, combinations: list[list[Task]]) -> pd.DataFrame:
    """Return a row for each combination: parameters, metrics, seconds."""
    rows = []
    for tasks in combinations:
        row = {name: _value(tasks, name) for name in sweep.grid}
        states = [_state(task) for task in tasks]
        unfinished = [status for status, _ in states if status != "finished"]
        row["status"] = unfinished[0] if unfinished else "finished"
        seconds = sum(content.get("seconds", 0.0) for _, content in states)
        if not unfinished:
            for task in tasks:
                path = task.output.with_suffix("") / "metrics.json"
                row |= files.read_json(path)
        rows.append(row | {"seconds": round(seconds, 1)})
    return pd.DataFrame(rows)


def _state(task: Task) -> tuple[str, dict[str, Any]]:
    """Return status and record; `outdated` if what it is of has changed."""
    path = task.output.with_suffix("") / "run.json"
    content = record.read_record(path) or {"status": "missing"}
    description = record.describe(task, stages.read_stages()[task.notebook])
    if content["status"] == "finished" and not record.matches(
        content, description
    ):
        return "outdated", content
    return content["status"], content


def _value(tasks: list[Task], name: str) -> Any:
    """Return the value that a name of the grid has in a combination."""
    [notebook, *_] = _varied(tasks, name)
    values = {task.notebook: task.values for task in tasks}
    return values[notebook][_parameter(name)]


def write(
    sweep: Sweep,
    table: pd.DataFrame,
    folder: Path,
    combinations: Sequence[list[Task]] = (),
) -> list[Path]:
    """Write sweep.csv, sweep.md and, if a combination finished, sweep.png.

    Args:
        sweep: what was to be run.
        table: of `tabulate`.
        folder: where the files go.
        combinations: of `plan`; sweep.md says what was varied in them.

    Raises:
        UserError: no run has the metric, or it is no number.
    """
    written = [folder / f"sweep.{kind}" for kind in ("csv", "md", "png")]
    files.write_text(written[0], table.to_csv(index=False))
    columns = [*sweep.grid, sweep.metric, "seconds", "status"]
    shown = _markdown(table.reindex(columns=columns))
    for tasks in combinations[:1]:  # all vary the same
        shown += "\n" + _explain(sweep, tasks)
    files.write_text(written[1], shown)
    written[2].unlink(missing_ok=True)  # of an older sweep
    if (table["status"] != "finished").all():
        return written[:2]
    numbers = table.select_dtypes("number").columns.difference(sweep.grid)
    if sweep.metric not in numbers:
        raise UserError(
            f"metric in the sweep file: no run wrote a number {sweep.metric};"
            f" known: {', '.join(numbers)}"
        )
    figure = plots.sweep(table, list(sweep.grid), sweep.metric, "Sweep")
    plots.save(figure, written[2])
    return written


def _explain(sweep: Sweep, tasks: list[Task]) -> str:
    """Say of each name of the grid in which notebooks it was varied."""
    lines = []
    for name in sweep.grid:
        notebooks = _varied(tasks, name)
        fixed = [
            f"{task.notebook} has {task.values[name]}"
            for task in tasks
            if "." not in name
            and name in task.values
            and task.notebook not in notebooks
        ]
        line = ", ".join([f"`{name}`: of {' and '.join(notebooks)}", *fixed])
        lines.append(f"- {line}\n")
    return "".join(lines)


def _markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns)]
    rows += [
        [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row]
        for row in table.itertuples(index=False)
    ]
    # A token may be a bar, or what Markdown takes for HTML.
    escaped = [
        [re.sub(r"([|<\\])", r"\\\1", cell) for cell in row] for row in rows
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def folder_of(path: Path) -> Path:
    """Return where the runs of a sweep file go."""
    return paths.outputs() / "sweeps" / path.stem
