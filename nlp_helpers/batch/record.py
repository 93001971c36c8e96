"""run.json beside every executed notebook: what ran, and how it ended."""

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nlp_helpers import files

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "papermill")


class Record:
    """The record of one notebook, on disk from the first moment.

    It says `running` until `finish` is called, so a run that was killed can
    be told from one that ended.
    """

    def __init__(
        self, path: Path, profile: str, parameters: dict[str, Any]
    ) -> None:
        """Write the record as `running`."""
        self.path = path
        self.started = time.perf_counter()
        self.content: dict[str, Any] = {
            "status": "running",
            "profile": profile,
            "parameters": parameters,
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
        }
        files.write_json(path, self.content)

    def finish(self, status: str, error: str | None = None) -> float:
        """Write `finished`, `failed` or `interrupted`; return the seconds."""
        seconds = round(time.perf_counter() - self.started, 2)
        self.content.update(status=status, seconds=seconds, error=error)
        files.write_json(self.path, self.content)
        return seconds
