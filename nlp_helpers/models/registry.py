"""models.yaml: every model name, and where its weights come from.

Apart from `models`, so that a program can ask without importing torch.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from nlp_helpers.core import yaml_files

CATALOGUE = Path(__file__).with_name("models.yaml")
NEEDED = {  # fields, by source
    "package": ("distribution", "package", "sha256"),
    "hub": ("repository", "revision"),
    "adapters": ("base", "subfolder", "sha256"),
}


class ModelEntry(BaseModel):
    """One entry of models.yaml; which fields it has depends on `source`."""

    model_config = ConfigDict(extra="forbid")

    source: Literal["package", "hub", "adapters"]
    licence: str
    distribution: str | None = None
    package: str | None = None
    subfolder: str = ""
    gguf_file: str | None = None
    sha256: dict[str, str] = {}  # file name -> hash
    base: str | None = None
    repository: str | None = None
    revision: str | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> "ModelEntry":
        for name in NEEDED[self.source]:
            if not getattr(self, name):
                raise ValueError(f"source {self.source} needs {name}")
        return self


def registry() -> dict[str, ModelEntry]:
    """Read models.yaml."""
    return yaml_files.read_registry(CATALOGUE, ModelEntry)


def origin(name: str) -> str:
    """Say where a model's weights come from, down to the revision or hash."""
    entry = registry().get(name)
    if entry is None:
        return "a folder"
    if entry.source == "hub":
        return f"{entry.repository}, revision {entry.revision[:12]}"
    [digest, *_] = entry.sha256.values()
    source = entry.distribution or f"this project, on {entry.base}"
    return f"{source}, sha256 {digest[:12]}"
