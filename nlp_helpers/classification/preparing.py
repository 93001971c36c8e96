"""A checkpoint of notebook 5, for a machine that has notebook 6 alone."""

from pathlib import Path
from typing import Any

from nlp_helpers import parameters
from nlp_helpers.classification import training
from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.core.folders import copy_folder
from nlp_helpers.data import preparing
from nlp_helpers.data.labels import ID2LABEL

NOTEBOOK = "05_bert_fine_tuning"
# As params/offline has them, for a machine without that folder.
OFFLINE: dict[str, Any] = {
    "model_name": "minilm-l6",
    "data_dir": f"outputs/offline/{preparing.NOTEBOOK}",
    "num_epochs": 2,
    "batch_size": 32,
    "learning_rate": 2e-4,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "class_weight": "balanced",
    "freeze_layers": 0,
    "adapter_rank": 0,
    "adapter_targets": [],
    "num_processes": 1,
    "checkpoint_every": 50,
    "seed": 2018,
    "device": "auto",
}


def ensure(fine_tuning_dir: str) -> Path:
    """Return the checkpoint of notebook 5; train it if it is missing.

    Only that of the offline profile is trained, in minutes: the others want
    a GPU, a network, and somebody who decides that.

    Args:
        fine_tuning_dir: such as outputs/offline/05_bert_fine_tuning; the name
            before the last is the profile.

    Raises:
        UserError: it is missing and of another profile, or its classes are
            not those of stars.
    """
    folder = paths.resolve(fine_tuning_dir)
    checkpoint = folder / "checkpoint"
    if (checkpoint / "config.json").is_file():
        _check_classes(checkpoint)
        return checkpoint
    if folder.parent.name != "offline":
        raise UserError(
            f"there is no {paths.shown(checkpoint)}; run notebook 05 first:"
            f" `python -m nlp_helpers run --profile {folder.parent.name} 05`"
        )
    path = paths.project_root() / "params" / "offline" / f"{NOTEBOOK}.yaml"
    values = OFFLINE
    if path.is_file():
        values = parameters.read_parameters(NOTEBOOK, path)
    print(
        f"{fine_tuning_dir} has no checkpoint, so it is trained now, as"
        " notebook 5 does it with the parameters of the offline profile"
    )
    _train(values, folder, checkpoint)
    return checkpoint


def _train(values: dict[str, Any], folder: Path, checkpoint: Path) -> None:
    """Train with the first seed, and keep the model of the last step."""
    [settings] = training.read_settings({**values, "num_seeds": 1})
    output = folder / "training" / f"seed-{settings.seed}"
    training.launch(
        values["num_processes"],
        preparing.ensure(values["data_dir"]),
        output,
        settings,
        values["device"],
        values["checkpoint_every"],
    )
    copy_folder(output / "model", checkpoint)


def _check_classes(checkpoint: Path) -> None:
    """Ask for the classes of stars.

    Raises:
        UserError: names those that it has.
    """
    config = files.read_json(checkpoint / "config.json")
    names = config.get("id2label", {})
    if {int(number): name for number, name in names.items()} != ID2LABEL:
        raise UserError(
            f"the classes of {paths.shown(checkpoint)} are"
            f" {', '.join(names.values()) or 'not named'}, not"
            f" {', '.join(ID2LABEL.values())}; name a checkpoint that was"
            " trained on stars"
        )
