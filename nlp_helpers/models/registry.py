"""models.yaml: every model name, and where its weights come from.

Apart from `models`, so that a program can ask without importing torch.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from nlp_helpers.core import files, paths, yaml_files
from nlp_helpers.core.errors import UserError

OFFLINE = "offline.txt"  # in requirements/: packages of every set-up
REGISTRY = Path(__file__).with_name("models.yaml")
# The types of models that notebook 5 can train, and how it gives them a
# batch of texts: end to end, where attention can be told where texts end.
TRAINABLE = {
    "albert": "packed",
    "bert": "packed",
    "camembert": "packed",
    "deberta-v2": "padded",
    "distilbert": "packed",
    "electra": "packed",
    "modernbert": "packed",
    "mpnet": "padded",
    "roberta": "packed",
    "xlm-roberta": "packed",
    "xlnet": "padded",
}
Hashes = Annotated[dict[str, str], Field(min_length=1)]  # file name -> sha256


class _Entry(BaseModel):
    """What every entry of models.yaml has."""

    model_config = ConfigDict(extra="forbid")

    licence: str
    type: str = ""  # `model_type` of its config.json, if known before


class PackagedModel(_Entry):
    """Files of an installed package.

    With `gguf_file`, or `onnx_file` of a BERT, the weights are to be unpacked.
    """

    source: Literal["package"]
    distribution: str
    package: str
    sha256: Hashes
    subfolder: str = ""
    gguf_file: str | None = None
    onnx_file: str | None = None  # 4-bit, beside config and tokenizer
    requirements: str = OFFLINE  # the list that has the package


class HubModel(_Entry):
    """Files of the Hugging Face Hub at a pinned revision."""

    source: Literal["hub"]
    repository: str
    revision: str


class AdaptedModel(_Entry):
    """Files of this project, on top of another model."""

    source: Literal["adapters"]
    base: str
    subfolder: str
    sha256: Hashes


ModelEntry = Annotated[
    PackagedModel | HubModel | AdaptedModel, Field(discriminator="source")
]


def registry() -> dict[str, ModelEntry]:
    """Read models.yaml."""
    entry_type: TypeAdapter[ModelEntry] = TypeAdapter(ModelEntry)
    return yaml_files.read_registry(REGISTRY, entry_type)


def model_type(name: str) -> str:
    """Return the type of a model, or nothing if its files must be read."""
    entry = registry().get(name)
    if isinstance(entry, AdaptedModel):
        return model_type(entry.base)
    if entry is not None:
        return entry.type
    try:
        config = files.read_json(paths.resolve(name) / "config.json")
        return str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # who opens the folder says what is wrong with it


def check_trainable(name: str, found: str = "") -> None:
    """Refuse a model that notebook 5 cannot train.

    Asked before notebook 4 works for hours on texts for it.

    Args:
        name: of models.yaml, or a model folder.
        found: its type, if it is known already.

    Raises:
        UserError: it is of another type.
    """
    found = found or model_type(name)
    if found and found not in TRAINABLE:
        *others, last = TRAINABLE
        raise UserError(
            f"{name} is of type {found}, which notebook 5 cannot train; set"
            " model_name in notebooks 4 and 5 to a model of type"
            f" {', '.join(others)} or {last}, minilm-l6 for example"
        )


def origin(name: str) -> str:
    """Say where a model's weights come from, down to the revision or hash."""
    entry = registry().get(name)
    if entry is None:
        return "a folder"
    if isinstance(entry, HubModel):
        return f"{entry.repository}, revision {entry.revision[:12]}"
    [digest, *_] = entry.sha256.values()
    if isinstance(entry, PackagedModel):
        return f"{entry.distribution}, sha256 {digest[:12]}"
    return f"this project, on {entry.base}, sha256 {digest[:12]}"
