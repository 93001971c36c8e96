"""Low-rank adapters: train few weights beside the encoder's own.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models",
arXiv:2106.09685. A matrix W of the encoder stays as it is; W + B A takes its
place, where B and A have `rank` columns and rows. What is trained, and kept
with AdamW's two moments in memory and checkpoints, is a few hundredths of the
weights. A finished model is saved with B A added to W: an ordinary folder.
"""

import copy
from collections.abc import Sequence

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from nlp_helpers.core.errors import UserError
from nlp_helpers.models.loading import in_encoder

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


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy with the adapters in its matrices, or what has none."""
    if not any(isinstance(module, LoraLayer) for module in model.modules()):
        return model
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            layer = module.get_base_layer()
            setattr(model.get_submodule(parent), child, layer)
    return model
