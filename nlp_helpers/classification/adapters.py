"""Low-rank adapters: train few weights beside the encoder's own.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models",
arXiv:2106.09685. A matrix W of the encoder stays as it is; W + B A takes its
place, where B and A have `rank` columns and rows. What is trained, and kept
with AdamW's two moments in memory and checkpoints, is a few hundredths of the
weights. A finished model is saved twice: with B A added to W, an ordinary
folder, and as the adapters and the head alone, in peft's form.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import PreTrainedModel

from nlp_helpers.classification.checkpoints import trained_parameters
from nlp_helpers.core.errors import UserError
from nlp_helpers.models.loading import ADAPTERS, in_encoder

PREFIX = "base_model.model."  # of the names in peft's files
ALPHA = 2  # times rank: B A counts twice, as is usual


def add(
    model: PreTrainedModel, rank: int, targets: Sequence[str] = ()
) -> None:
    """Freeze the encoder, put adapters beside its matrices; train the head.

    Args:
        model: a classifier.
        rank: of the adapters.
        targets: last parts of the names of the matrices, `query` and `value`
            for example; all of the encoder's linear layers if there are none.

    Raises:
        UserError: the encoder has no linear layer of such a name.
    """
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and in_encoder(name, model)
    ]
    known = {name.rpartition(".")[2] for name in linear}
    for target in targets:
        if target not in known:
            raise UserError(
                f"adapter_targets names {target!r}, and this encoder has"
                f" {', '.join(sorted(known))}"
            )
    chosen = [n for n in linear if n.rpartition(".")[2] in (targets or known)]
    config = LoraConfig(r=rank, lora_alpha=ALPHA * rank, target_modules=chosen)
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if not in_encoder(name, model):
            parameter.requires_grad_(True)


def present(model: PreTrainedModel) -> bool:
    """Say whether a model has adapters."""
    return any(isinstance(module, LoraLayer) for module in model.modules())


def save(model: PreTrainedModel, folder: Path, base: str) -> None:
    """Write what was trained alone: adapters, pooler and head.

    In the form of peft's `save_pretrained`, with the classifier's config.json,
    which has the names of the classes. `loading.fetch_model` merges such a
    folder into its base.

    Args:
        model: with adapters.
        folder: gets adapter_config.json, adapter_model.safetensors and
            config.json.
        base: name or folder of the encoder that the adapters belong to.
    """
    config = copy.copy(_config(model))
    config.base_model_name_or_path = base
    config.modules_to_save = _heads(model)
    config.task_type = TaskType.SEQ_CLS
    config.inference_mode = True
    config.save_pretrained(str(folder))
    tensors = {
        f"{PREFIX}{name.replace('.default.', '.')}": p.detach().contiguous()
        for name, p in trained_parameters(model).items()
    }
    save_file(tensors, folder / ADAPTERS, metadata={"format": "pt"})
    model.config.save_pretrained(folder)


def _config(model: Any) -> LoraConfig:
    """Return the settings that peft keeps at a model with adapters."""
    return model.peft_config["default"]


def _heads(model: PreTrainedModel) -> list[str]:
    """Name the modules that are trained as a whole: pooler and head."""
    base = model.base_model_prefix
    modules = [*model.named_children()]
    if pooler := getattr(model.base_model, "pooler", None):
        modules.append((f"{base}.pooler", pooler))
    return [
        name
        for name, module in modules
        if name != base and next(module.parameters(), None) is not None
    ]


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy with the adapters in its matrices, or what has none."""
    if not present(model):
        return model
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            layer = module.get_base_layer()
            setattr(model.get_submodule(parent), child, layer)
    return model
