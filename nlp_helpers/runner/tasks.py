"""Which notebooks are to run, with which parameters; what became of them.

Nothing here needs papermill, so that a wrong parameter is found at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlp_helpers import parameters
from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import registry

# Folders of params/ or outputs/ that are no profiles, and a record's `sweep`.
RESERVED = {"sweeps", "sweep", "reference"}
TRAINING = ("04_amazon_preprocessing", "05_bert_fine_tuning")


@dataclass(frozen=True)
class Result:
    """What became of one notebook: done, unchanged, failed or not run."""

    notebook: str
    status: str
    output: Path
    seconds: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Task:
    """One notebook that is to run, with its parameters, to its place."""

    notebook: str
    values: Mapping[str, Any]
    output: Path
    profile: str = "offline"
    variant: str = ""  # tells the runs of one notebook in a sweep apart

    @property
    def label(self) -> str:
        """Return the name of the run, unique among those of a runner."""
        return f"{self.variant}: {self.notebook}".removeprefix(": ")


def read_profiles(notebook: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of a notebook in each profile that has it.

    Raises:
        UserError: a file does not fit, or there is no params/.
    """
    files = {
        profile: paths.project_root() / "params" / profile / f"{notebook}.yaml"
        for profile in list_profiles()
    }
    return {
        profile: parameters.read_parameters(notebook, path)
        for profile, path in files.items()
        if path.exists()
    }


def select(numbers: tuple[str, ...]) -> list[str]:
    """Turn `01`, `1` or `01_next_token` into names, in the notebooks' order.

    Where none is named, the notebooks of the articles.

    Raises:
        UserError: there is no such notebook.
    """
    known = list(parameters.SCHEMAS)
    if not numbers:
        return [name for name in known if name not in parameters.FURTHER]
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
    return [name for name in known if name in chosen]


def plan(profile: str, numbers: tuple[str, ...]) -> list[Task]:
    """Read the parameters of the chosen notebooks.

    Where none is chosen, those for which the profile has parameters.

    Raises:
        UserError: a folder, a file or a parameter is wrong. No kernel has
            been started then.
    """
    known = list_profiles()
    if profile not in known:
        raise UserError(
            f"there is no profile {profile!r}; known: {', '.join(known)}"
        )
    root = paths.project_root()
    names = select(numbers)
    folder = root / "params" / profile
    there = [name for name in names if (folder / f"{name}.yaml").exists()]
    chosen = names if numbers else there or names
    return [_plan_one(root, profile, name) for name in chosen]


def list_profiles() -> list[str]:
    """Return the names of the folders of params/ that are profiles.

    Raises:
        UserError: there is no params/.
    """
    root = paths.project_root()
    folder = root / "params"
    if not folder.is_dir():
        raise UserError(
            f"{root} has no folder params; run this in the project folder, or"
            f" set {paths.ROOT_VARIABLE} to it"
        )
    names = {path.name for path in folder.iterdir() if path.is_dir()}
    return sorted(name for name in names - RESERVED if name[0] != ".")


def _plan_one(root: Path, profile: str, name: str) -> Task:
    """Read the parameters of a notebook.

    Raises:
        UserError: they do not fit.
    """
    path = root / "params" / profile / f"{name}.yaml"
    values = parameters.read_parameters(name, path)
    output = paths.outputs() / profile / f"{name}.ipynb"
    folder = output.with_suffix("")
    if paths.resolve(values["output_dir"]) != folder.resolve():
        # Lock, record and clean-up are in the one, the results in the other.
        raise UserError(
            f"{path}: output_dir is {values['output_dir']}; a run of this"
            f" profile writes to {paths.shown(folder)}: set it to that"
        )
    check_model(name, values)
    return Task(name, values, output, profile)


def check_model(notebook: str, values: Mapping[str, Any]) -> None:
    """Refuse a model for notebooks 4 and 5 that cannot be trained.

    Raises:
        UserError: it is of another type than those that can.
    """
    if notebook in TRAINING:
        registry.check_trainable(values["model_name"])
