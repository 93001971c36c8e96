"""Save a fine-tuned model as an ordinary model folder, whole or not at all."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_helpers import files


def save(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write safetensors weights, config and tokenizer into `folder`.

    The folder opens with `models.load`, and with transformers alone.
    """
    with files.staged_folder(folder) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
