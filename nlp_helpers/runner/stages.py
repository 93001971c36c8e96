"""What each notebook needs and must leave behind: stages.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from nlp_helpers.core import files, paths, yaml_files
from nlp_helpers.core.errors import UserError

STAGES = Path(__file__).with_suffix(".yaml")


class Stage(BaseModel):
    """One entry of stages.yaml, which explains the fields."""

    model_config = ConfigDict(extra="forbid")

    inputs: dict[str, str] = {}  # parameter -> notebook
    outputs: list[str] = []
    cores: int | Literal["all"] = 1
    memory: float
    artifacts: list[str]
    bounds: dict[str, tuple[float, float]] = {}

    def missing(self, folder: Path) -> str | None:
        """Say what a finished run lacks; None if it lacks nothing."""
        for name in ("metrics.json", *self.artifacts):
            path = folder / name
            if not path.exists():
                return f"it ended without writing {paths.shown(path)}"
            if path.is_file() and not path.stat().st_size:
                return f"{paths.shown(path)} is empty"
        return self._out_of_bounds(folder / "metrics.json")

    def _out_of_bounds(self, path: Path) -> str | None:
        """Say which metric is missing or cannot be; None if none is."""
        try:
            metrics = files.read_json(path)
        except ValueError as error:
            return f"{paths.shown(path)} is not JSON: {error}"
        if not isinstance(metrics, dict):
            return f"{paths.shown(path)} must hold names and values"
        for name, (low, high) in self.bounds.items():
            value = metrics.get(name)
            if not isinstance(value, int | float) or not low <= value <= high:
                return (
                    f"{name} in {paths.shown(path)} is {value}, which is not"
                    f" between {low:g} and {high:g}"
                )
        return None


def read_stages() -> dict[str, Stage]:
    """Read stages.yaml, in the notebooks' order."""
    return yaml_files.read_registry(STAGES, TypeAdapter(Stage))


def dependencies(
    stages: Mapping[str, Stage], tasks: Mapping[str, Any]
) -> dict[str, set[str]]:
    """Return for each task the labels of those whose output it reads.

    Args:
        stages: of all notebooks.
        tasks: label -> task, with `notebook` and `values`.

    Raises:
        UserError: one has no entry, or reads what it is to write.
    """
    outputs = {
        paths.resolve(task.values["output_dir"]): label
        for label, task in tasks.items()
    }
    needs: dict[str, set[str]] = {label: set() for label in tasks}
    for label, task in tasks.items():
        if task.notebook not in stages:
            raise UserError(
                f"{STAGES} has no entry {task.notebook}; add one that says"
                " what the notebook needs and which files it must write"
            )
        for key in stages[task.notebook].inputs:
            needed = outputs.get(paths.resolve(task.values[key]))
            if needed == label:
                raise UserError(
                    f"{label}: {key} and output_dir name the same folder; set"
                    f" {key} to the output_dir of the notebook it reads from"
                )
            if needed is not None:
                needs[label].add(needed)
    return needs
