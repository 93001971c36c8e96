"""The five offline notebooks, headless: this runner beside its peers.

    python benchmarks/execution.py [--json PATH]

papermill executes the notebooks in sequence, as a shell loop of its command
line would; pytest with nbmake executes them two at a time (04 before 05 by a
run of its own); this runner is `python -m nlp_helpers run --force`. Each takes
the whole command, imports included, in turn; the best of three rounds counts.
The seconds of notebook 05's training cell are left out: they are no runner's
merit, and benchmarks/fine_tuning.py measures them. For nbmake, which keeps no
times, those of papermill are taken. Further trivial notebooks show what one
more costs.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import nbformat
import pandas as pd
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from nlp_helpers import parameters
from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import run_command
from nlp_helpers.runner import pipeline, stages, tasks

NOTEBOOKS = [n for n in parameters.SCHEMAS if n not in parameters.FURTHER]
ONE_EPOCH = {"num_epochs": 1}
TRAINING = "training.launch("  # only in the cell that trains
TRAINED: list[float] = []  # seconds of papermill's trainings
EXTRAS = 4  # trivial notebooks
TRIVIAL = "from nlp_helpers import session\nprint(session.start(1))"


def make_project(folder: Path) -> None:
    """Copy notebooks and parameters; make 05's training short."""
    root = paths.project_root()
    for name in ("notebooks", "params"):
        shutil.copytree(root / name, folder / name)
    path = folder / "params" / "offline" / f"{NOTEBOOKS[-1]}.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(values | ONE_EPOCH), encoding="utf-8")


def call(folder: Path, *arguments: str) -> float:
    """Run a command in `folder`; return its seconds."""
    environment = os.environ | {
        "NLP_HELPERS_ROOT": str(folder),
        "NLP_HELPERS_HEADLESS": "1",
    }
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stdout}{done.stderr}")
    return time.perf_counter() - started


def training_seconds(folder: Path) -> float:
    """Return how long the training cell took, as papermill noted it."""
    path = folder / "outputs" / f"{NOTEBOOKS[-1]}.ipynb"
    [cell] = [
        cell
        for cell in nbformat.read(path, 4).cells
        if cell.cell_type == "code" and TRAINING in cell.source
    ]
    return cell.metadata["papermill"]["duration"]


def recorded_training_seconds(folder: Path) -> float:
    """Return how long the training cell took, as run.json has it."""
    path = folder / "outputs" / "offline" / f"{NOTEBOOKS[-1]}.ipynb"
    cells = nbformat.read(path, 4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    [index] = [n for n, source in enumerate(sources) if TRAINING in source]
    record = files.read_json(path.with_suffix("") / "run.json")
    return record["cells"][index]


def with_papermill(folder: Path) -> float:
    """Execute one after another, each by papermill's command."""
    seconds = 0.0
    for name in NOTEBOOKS:
        output = folder / "outputs" / f"{name}.ipynb"
        output.parent.mkdir(exist_ok=True)
        seconds += call(
            folder,
            "papermill",
            str(folder / "notebooks" / f"{name}.ipynb"),
            str(output),
            "-f",
            str(folder / "params" / "offline" / f"{name}.yaml"),
            "--cwd",
            str(folder / "notebooks"),
            "--no-progress-bar",
        )
    TRAINED.append(training_seconds(folder))
    return seconds - TRAINED[-1]


def with_nbmake(folder: Path) -> float:
    """Execute with nbmake, two at a time; 05 when the others are done.

    nbmake takes no parameters: they are put into copies of the notebooks
    beforehand, which is not timed.
    """
    target = folder / "parameterised"
    target.mkdir()
    for name in NOTEBOOKS:
        path = folder / "params" / "offline" / f"{name}.yaml"
        values = parameters.read_parameters(name, path)
        notebook = nbformat.read(folder / "notebooks" / f"{name}.ipynb", 4)
        [cell] = [
            cell
            for cell in notebook.cells
            if "parameters" in cell.metadata.get("tags", [])
        ]
        cell.source = "\n".join(f"{n} = {v!r}" for n, v in values.items())
        nbformat.write(notebook, target / f"{name}.ipynb")
    options = ["-q", "-p", "no:nbval", "-p", "no:cacheprovider", "--nbmake"]
    options += ["-o", "addopts=", "--nbmake-timeout=600"]
    names = [str(target / f"{name}.ipynb") for name in NOTEBOOKS]
    seconds = call(folder, "pytest", *options, "-n", "2", *names[:-1])
    seconds += call(folder, "pytest", *options, names[-1])
    return seconds - TRAINED[-1]


def with_runner(folder: Path) -> float:
    """Execute with this project's runner."""
    seconds = call(folder, "nlp_helpers", "run", "--force")
    return seconds - recorded_training_seconds(folder)


VARIANTS = {
    "papermill": with_papermill,
    "nbmake -n 2": with_nbmake,
    "this runner": with_runner,
}


def seconds_per_extra() -> float:
    """Return what each trivial notebook adds to a runner's time.

    Its first notebook pays for the imports and is not counted.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notebooks").mkdir()
        notebook = new_notebook(
            cells=[new_code_cell(TRIVIAL)],
            metadata={"language_info": {"name": "python"}},
        )
        stage = stages.read_stages()["01_next_token"]
        write = (
            "import json, pathlib\nfolder = pathlib.Path(output_dir)\n"
            "(folder / 'figures').mkdir(parents=True)\n"
            f"for name in {stage.artifacts}:\n"
            "    (folder / name).write_text('figure')\n"
            "metrics = {'best_probability': 0, 'tokens_in_nucleus': 1}\n"
            "(folder / 'metrics.json').write_text(json.dumps(metrics))"
        )
        notebook.cells.append(new_code_cell(write))
        nbformat.write(notebook, folder / "notebooks" / "01_next_token.ipynb")
        os.environ["NLP_HELPERS_ROOT"] = name
        logging.getLogger("papermill").setLevel("ERROR")  # no parameters cell
        path = folder / "outputs"
        values = {"model_name": "smollm2-135m", "device": "cpu"}
        planned = [
            tasks.Task(
                "01_next_token",
                values | {"output_dir": str(path / str(n) / "01_next_token")},
                path / str(n) / "01_next_token.ipynb",
                variant=str(n),
            )
            for n in range(EXTRAS + 1)
        ]
        runner = pipeline.Runner(force=True, jobs=1)
        times = []
        for result in runner.run(planned):
            if result.status != "done":
                raise RuntimeError(result.problem)
            times.append(time.perf_counter())
        del os.environ["NLP_HELPERS_ROOT"]
    return (times[-1] - times[0]) / EXTRAS


@click.command()
@click.option("--rounds", default=3)
@click.option("--json", "json_path", type=click.Path(), default=None)
def main(rounds: int, json_path: str | None) -> None:
    """Measure and print; write the metrics to a JSON file if asked."""
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    extra = []
    for _ in range(rounds):
        for name, function in VARIANTS.items():
            with tempfile.TemporaryDirectory() as folder:
                make_project(Path(folder))
                times[name].append(function(Path(folder)))
        extra.append(seconds_per_extra())
    table = pd.DataFrame(times).T
    table["best"] = table.min(axis=1)
    click.echo(table.round(1).to_string())
    best = table["best"]
    metrics = {
        "run_vs_papermill": best["papermill"] / best["this runner"],
        "run_vs_nbmake": best["nbmake -n 2"] / best["this runner"],
        "seconds_per_extra_notebook": min(extra),
    }
    for name, value in metrics.items():
        click.echo(f"{name}: {value:.2f}")
    if json_path:
        files.write_json(Path(json_path), {"metrics": metrics})


if __name__ == "__main__":
    run_command(main)
