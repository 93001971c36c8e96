"""Model folders, and checkpoints that an interrupted training goes on from.

A checkpoint is a folder `step-00000050` with two files: tensors.safetensors
(each trained parameter and the two moments AdamW keeps of it, in full
precision) and state.json (all else, and the hash of the first). It is written
under a hidden name and renamed once: it is there whole, or not at all.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers import session
from nlp_helpers.core import files, folders, paths
from nlp_helpers.core.errors import MEMORY_REMEDY, UserError, lacks_memory

MOMENTS = ("exp_avg", "exp_avg_sq")
CHECKPOINTS = 2  # at a time: the newest, and the one that replaces it
MODELS = 3  # the last, the best, and one that replaces it


def save_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    write_more: Callable[[Path], None] | None = None,
) -> None:
    """Write safetensors weights, config and tokenizer into `folder`.

    The folder opens with `loading.load_model`, and with transformers alone.

    Args:
        folder: appears whole, in place of what was there.
        model: its weights and config.
        tokenizer: the model's own.
        write_more: writes further files into a folder, to appear with these.

    Raises:
        UserError: the disk is full, or cannot be written.
    """
    with folders.atomic_folder(folder, locked=False) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        if write_more:
            write_more(staging)


def save(
    folder: Path,
    step: int,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Write the checkpoint of a step, then remove those before it.

    Args:
        folder: of all checkpoints of this training.
        step: number of steps taken.
        parameters: what is trained, by name.
        optimizer: an AdamW of these parameters.
        state: what else is needed to go on, as plain JSON values; its
            `fingerprint` says which training this is.

    Raises:
        UserError: the disk is full, or cannot be written.
    """
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"{name}:value"] = parameter.detach()
        for moment in MOMENTS:
            tensors[f"{name}:{moment}"] = optimizer.state[parameter][moment]
    target = folder / f"step-{step:08d}"
    with files.writing(target):
        files.HalfMade(folder / "step").remove()  # of a killed process
        with folders.atomic_folder(target, locked=False) as staging:
            save_file(tensors, staging / "tensors.safetensors")
            content = {
                "step": step,
                "sha256": files.sha256(staging / "tensors.safetensors"),
                **state,
            }
            files.write_json(staging / "state.json", content)
            files.flush(staging)  # the one before goes next
        for older in sorted(folder.glob("step-*"))[:-1]:
            shutil.rmtree(older)


def trained_parameters(
    model: torch.nn.Module,
) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that are not frozen, by name."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def restore(
    folder: Path,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    fingerprint: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Load the newest checkpoint of `folder`; return its state, or None.

    Raises:
        UserError: the checkpoint is damaged, or of another training.
    """
    checkpoints = sorted(folder.glob("step-*"))
    if not checkpoints:
        return None
    checkpoint = checkpoints[-1]
    state = _read_state(checkpoint)
    _compare(checkpoint, state.get("fingerprint", {}), fingerprint)
    tensors = _read_tensors(checkpoint, state, parameters)
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors[f"{name}:value"])
        optimizer.state[parameter] = {
            # Fused AdamW wants it beside the parameter.
            "step": torch.tensor(
                float(state["step"]), device=parameter.device
            ),
            **{
                # A copy: the file is mapped, and will be removed.
                moment: tensors[f"{name}:{moment}"].to(
                    parameter.device, copy=True
                )
                for moment in MOMENTS
            },
        }
    return state


def base_fingerprint(
    model: torch.nn.Module,
    texts: Iterable[bytes],
    sources: Iterable[Path],
    device: torch.device,
) -> dict[str, str]:
    """Return what decides the weights in the end, besides the settings.

    First weights, texts, code, torch, and the precision on this device: the
    name of a folder says little of what is in it.
    """
    tensors = model.state_dict().values()
    sources = (*sources, Path(session.__file__))
    return {
        "weights": files.hash_parts(
            tensor.cpu().numpy().tobytes() for tensor in tensors
        ),
        "texts": files.hash_parts(texts),
        "code": files.hash_parts(source.read_bytes() for source in sources),
        "torch": torch.__version__,
        "precision": str(session.precision(device)),
    }


def remove(folder: Path) -> None:
    """Remove the checkpoints in `folder`: their training is done.

    It is renamed first. A half-removed checkpoint would be called damaged.
    """
    if folder.is_dir():
        folder.rename(files.HalfMade(folder).path())
    files.HalfMade(folder).remove()


def check_space(folder: Path, model: torch.nn.Module) -> None:
    """Ask for the disk that a training needs, before it begins.

    What lies in `folder` already, from a run that was interrupted, will be
    replaced, so it counts as room.

    Raises:
        UserError: there is less.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = trained_parameters(model).values()
    needed = CHECKPOINTS * (1 + len(MOMENTS)) * _size(trained)
    needed += MODELS * _size(model.parameters())
    present = sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file()
    )
    free = shutil.disk_usage(folder).free
    if free + present < needed:
        raise UserError(
            f"{folder} has {free / 1e9:.3g} GB free, and checkpoints and"
            f" models need {(needed - present) / 1e9:.3g} GB; free some space,"
            " or move the project to a larger disk"
        )


def _size(parameters: Iterable[torch.nn.Parameter]) -> int:
    """Return their bytes."""
    return sum(p.numel() * p.element_size() for p in parameters)


def _read_state(checkpoint: Path) -> dict[str, Any]:
    """Read state.json.

    Raises:
        UserError: it is missing, or no state.
    """
    try:
        state = files.read_json(checkpoint / "state.json")
        if {"step", "sha256", "fingerprint"} <= state.keys():
            return state
    except (OSError, ValueError, AttributeError) as error:
        raise _damaged(checkpoint, f"state.json: {error}") from error
    raise _damaged(checkpoint, "state.json lacks an entry")


def _read_tensors(
    checkpoint: Path,
    state: Mapping[str, Any],
    parameters: Mapping[str, torch.nn.Parameter],
) -> dict[str, torch.Tensor]:
    """Read tensors.safetensors, and compare its hash, names and shapes.

    Raises:
        UserError: something differs, or there is too little memory.
    """
    path = checkpoint / "tensors.safetensors"
    if not path.is_file() or files.sha256(path) != state["sha256"]:
        raise _damaged(checkpoint, f"{path.name} is not what was written")
    try:
        tensors = load_file(path)
    except (MemoryError, OSError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        raise UserError(f"{path}: {error}; {MEMORY_REMEDY}") from error
    expected = {
        f"{name}:{kind}": parameter.shape
        for name, parameter in parameters.items()
        for kind in ("value", *MOMENTS)
    }
    if expected != {name: tensor.shape for name, tensor in tensors.items()}:
        raise UserError(
            f"{checkpoint} is from another model; remove {checkpoint.parent}"
            " to start this training again"
        )
    return tensors


def _compare(
    checkpoint: Path, saved: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint that was made with other settings.

    Raises:
        UserError: names the first that differs.
    """
    for name, value in expected.items():
        if saved.get(name) != value:
            remedy = f"restore the old {name}"
            if name == "precision":  # of the processor, if nobody chose it
                remedy = (
                    f"set {paths.FLOAT32_VARIABLE} as it was, or use a machine"
                    " of the first one's kind"
                )
            raise UserError(
                f"{checkpoint} is from another training, with {name}"
                f" {saved.get(name)}, not {value}; {remedy} to resume it, or"
                f" remove {checkpoint.parent} to start anew"
            )


def _damaged(checkpoint: Path, reason: str) -> UserError:
    """Return the error about a checkpoint that cannot be used."""
    return UserError(
        f"{checkpoint} is damaged ({reason}); remove it to start this training"
        " anew"
    )
