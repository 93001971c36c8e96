"""models.yaml: every model name, and where its weights come from.

Apart from `models`, so that a program can ask without importing torch.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from nlp_helpers.core import yaml_files

REGISTRY = Path(__file__).with_name("models.yaml")
Hashes = Annotated[dict[str, str], Field(min_length=1)]  # file name -> sha256


class _Entry(BaseModel):
    """What every entry of models.yaml has."""

    model_config = ConfigDict(extra="forbid")

    licence: str


class PackagedModel(_Entry):
    """Files of an installed package; with `gguf_file`, to be unpacked."""

    source: Literal["package"]
    distribution: str
    package: str
    sha256: Hashes
    subfolder: str = ""
    gguf_file: str | None = None


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
