"""The models of a service, each as a lane of `batching` computes with it.

What a model is given is packed or padded as in training, so the answer to a
text is that of the text alone, up to the rounding of its precision.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import BaseModelOutput

from nlp_helpers import session
from nlp_helpers.classification import (
    encoders,
    packing,
    padding,
    predicting,
)
from nlp_helpers.models import fitting, loading, registry
from nlp_helpers.serving.failures import ServiceError


def read_weights(model: torch.nn.Module) -> None:
    """Read every weight once, before the first request.

    Their file is mapped into memory: without this, a request whose words
    nobody has sent yet waits for the disk, and memory grows by their rows.
    """
    with torch.no_grad():
        for weights in model.parameters():
            weights.sum()


def round_weights(model: torch.nn.Module) -> None:
    """Round the linear layers' weights once, where `precision` rounds them.

    autocast rounds all of them anew for each request; the answers are the
    same. What shares a weight, as an embedding does, keeps it whole.
    """
    dtype = session.precision(next(model.parameters()).device)
    if dtype == torch.float32:
        return
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            for name, weight in [*layer.named_parameters(recurse=False)]:
                rounded = torch.nn.Parameter(weight.to(dtype), False)
                setattr(layer, name, rounded)


class Encoder:
    """A model that reads a whole text at once; texts become token ids."""

    def __init__(
        self, name: str, tokenizer: PreTrainedTokenizerBase, model: Any
    ) -> None:
        """Keep the parts.

        Args:
            name: as the reader gave it.
            tokenizer: the model's own.
            model: with a `config`.
        """
        self.name = name
        self.tokenizer = tokenizer
        self.model = model
        round_weights(model)
        read_weights(model)
        self.max_length = fitting.max_length(model.config, tokenizer)

    def encode(
        self, texts: Sequence[str], max_length: int
    ) -> tuple[list[list[int]], list[int]]:
        """Tokenise N texts, each cut to `max_length` tokens.

        Returns:
            Their token ids, and which of the N were cut.
        """
        encoded = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=min(max_length, self.max_length),
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        cut = [n for n, e in enumerate(encoded.encodings) if e.overflowing]
        return encoded["input_ids"], cut


class TextClassifier(Encoder):
    """A fine-tuned checkpoint: token ids to logits."""

    def __init__(self, checkpoint: str, device: torch.device) -> None:
        """Load it.

        Raises:
            UserError: see `predicting.load_classifier`.
        """
        tokenizer, model = predicting.load_classifier(checkpoint, device)
        super().__init__(checkpoint, tokenizer, model)
        self.labels = predicting.label_names(model.config)

    def run(self, values: Sequence[list[int]]) -> list[np.ndarray]:
        """Return the logits of each text, (number of labels,)."""
        return list(self.model.predict_logits(values))


class TokenReader(Encoder):
    """An encoder whose vectors are read token by token."""

    def __init__(
        self,
        name: str,
        model_class: Any,
        device: torch.device,
        new_head: bool = False,
    ) -> None:
        """Load it.

        Raises:
            UserError: see `loading.load_model`; or it is of a type that
                `registry` does not list.
        """
        kind = encoders.fetch_type(name)
        tokenizer, model = loading.load_model(
            name,
            model_class,
            device,
            new_head,
            **encoders.settings_of(kind),
        )
        super().__init__(name, tokenizer, model)
        self.is_packed = registry.TRAINABLE[kind] == "packed"
        if self.is_packed:
            packing.use_packed_attention(model)

    def passes(
        self, values: Sequence[list[int]]
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Compute N texts, in as many passes as they need.

        Yields:
            The rows of the B texts of a pass, and what the model returned;
            see `divide` for the vectors of each text.
        """
        lengths = [len(ids) for ids in values]
        device = self.model.device
        plan = padding.group_by_length(lengths)
        collate = padding.pad_for
        if self.is_packed:
            plan = packing.plan_reading(lengths, device)
            collate = packing.pack_for
        with torch.no_grad(), session.autocast(device):
            for rows in plan:
                texts = [values[int(row)] for row in rows]
                batch = collate(self.model.config, texts)
                batch = {key: t.to(device) for key, t in batch.items()}
                self.batch = batch
                yield rows, self.model(**batch)

    def divide(self, hidden: torch.Tensor) -> list[torch.Tensor]:
        """Return the vectors of each text of the pass, (T, H) each.

        Args:
            hidden: of the pass, (1, all T, H) packed or (B, T, H) padded.
        """
        if self.is_packed:
            lengths = self.batch["cu_seqlens"].diff().tolist()
            return list(hidden[0].split(lengths))
        masks = self.batch["attention_mask"].bool()
        return [row[mask] for row, mask in zip(hidden, masks, strict=True)]


class TextEmbedder(TokenReader):
    """An encoder of sentences: token ids to the mean of the last vectors."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Load it; see `TokenReader`. A pooler is not used."""
        super().__init__(name, AutoModel, device, new_head=True)

    def run(self, values: Sequence[list[int]]) -> list[np.ndarray]:
        """Return the vector of each text, (H,)."""
        vectors: list[Any] = [None] * len(values)
        for rows, output in self.passes(values):
            texts = self.divide(output.last_hidden_state.float())
            for row, text in zip(rows, texts, strict=True):
                vectors[row] = text.mean(dim=0).cpu().numpy()
        return vectors


class MaskFiller(TokenReader):
    """A masked language model: token ids with a mask to logits there."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Load it; see `TokenReader`."""
        super().__init__(name, AutoModelForMaskedLM, device)
        # The head computes for the masks alone: a vocabulary is wide.
        self.model.base_model.register_forward_hook(self._keep_masks)

    def _keep_masks(
        self, module: torch.nn.Module, args: Any, output: BaseModelOutput
    ) -> BaseModelOutput:
        """Reduce each text to the vector of its one mask: (1, B, H)."""
        assert output.last_hidden_state is not None
        masks = self.batch["input_ids"] == self.tokenizer.mask_token_id
        output.last_hidden_state = output.last_hidden_state[masks][None]
        return output

    def position(self, input_ids: list[int]) -> int:
        """Return where the mask of a text stands.

        Raises:
            ServiceError: there is none, or more than one.
        """
        mask = self.tokenizer.mask_token_id
        if (count := input_ids.count(mask)) != 1:
            raise ServiceError(
                422,
                f"the text has {count} {self.tokenizer.mask_token} within"
                f" the {len(input_ids)} tokens that are read; send one with"
                " exactly one",
            )
        return input_ids.index(mask)

    def target_ids(self, targets: Sequence[str]) -> list[int]:
        """Return the ids of words that alone may fill the mask.

        Raises:
            ServiceError: one is not a single token.
        """
        ids = []
        for target in targets:
            pieces = self.tokenizer(target, add_special_tokens=False)
            if len(pieces["input_ids"]) != 1:
                raise ServiceError(
                    422,
                    "a target is no single token of this model, which reads"
                    f" it as {len(pieces['input_ids'])}; leave it out",
                )
            ids += pieces["input_ids"]
        return list(dict.fromkeys(ids))

    def run(self, values: Sequence[list[int]]) -> list[torch.Tensor]:
        """Return the logits at the mask of each text, (V,)."""
        logits: list[Any] = [None] * len(values)
        for rows, output in self.passes(values):
            for row, scores in zip(rows, output.logits[0], strict=True):
                logits[row] = scores.float().cpu()
        return logits
