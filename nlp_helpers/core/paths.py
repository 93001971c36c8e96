"""The project root, the folders below it, the cache, and what sets them."""

import importlib.metadata
import importlib.util
import os
import re
import sys
from pathlib import Path

import platformdirs

from nlp_helpers.core.errors import UserError

ROOT_VARIABLE = "NLP_HELPERS_ROOT"
CACHE_VARIABLE = "NLP_HELPERS_CACHE"
HEADLESS_VARIABLE = "NLP_HELPERS_HEADLESS"  # lines instead of bars
FLOAT32_VARIABLE = "NLP_HELPERS_FLOAT32"  # no bfloat16
SESSION_VARIABLE = "NLP_HELPERS_SESSION"  # a file for what a session is
# Folders of the root that may be links, to a larger disk perhaps.
MOVABLE = ("outputs", "data")


def project_root() -> Path:
    """Return the folder that relative parameters such as `output_dir` mean.

    It is the folder named by NLP_HELPERS_ROOT, else the closest folder above
    the working directory that holds this project, else the working directory
    itself (a notebook opened alone, on Colab for example).

    Raises:
        UserError: NLP_HELPERS_ROOT begins with the `~name` of nobody.
    """
    if os.environ.get(ROOT_VARIABLE):
        return _named_by(ROOT_VARIABLE).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    return here


def outputs() -> Path:
    """Return the folder of all runs and of the reference."""
    return project_root() / "outputs"


def resolve(path: str | Path) -> Path:
    """Return `path` as an absolute path, relative ones below the root.

    Links are followed. `outputs` and `data` in the root may be links to
    somewhere else, as a whole; no other link may lead out of the root.

    Raises:
        UserError: a relative path leads out of the project root, or `~name`
            is nobody's.
    """
    root = project_root()
    try:
        path = Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: there is no such user") from error
    full = (root / path).resolve()
    folders = (root, *((root / name).resolve() for name in MOVABLE))
    if not path.is_absolute() and not any(map(full.is_relative_to, folders)):
        raise UserError(
            f"{path} leads out of the project folder {root}; give a path below"
            " it, or an absolute path"
        )
    return full


def looks_like_path(text: str) -> bool:
    """Tell whether a text names a file or folder, which may not be there.

    A key in base64 may begin with a slash too, but not with a folder of this
    machine.
    """
    if re.match(r"(~|\.\.?)[/\\]|[A-Za-z]:[/\\]|file://", text):
        return True
    first = re.match(r"/[^/]+(?=/)", text)
    return first is not None and Path(first[0]).is_dir()


def shown(path: Path) -> str:
    """Return `path` as people should see it: relative to the root if below."""
    root = project_root()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def cache_folder() -> Path:
    """Return the folder for files that can be made again at any time.

    Kernels work in notebooks/, so a relative one is below the project root.

    Raises:
        UserError: this user has no home folder, or NLP_HELPERS_CACHE begins
            with the `~name` of nobody.
    """
    if os.environ.get(CACHE_VARIABLE):
        return project_root() / _named_by(CACHE_VARIABLE)
    try:
        folder = platformdirs.user_cache_path("nlp_helpers")
    except RuntimeError:
        folder = Path("~")
    if not folder.is_absolute():  # as older platformdirs say it
        raise UserError(
            f"this user has no home folder; set {CACHE_VARIABLE} to a folder"
            " for the cache"
        )
    return folder


def _named_by(variable: str) -> Path:
    """Return the path in an environment variable.

    Raises:
        UserError: it begins with the `~name` of nobody.
    """
    named = os.environ[variable]
    try:
        return Path(named).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{variable} is {named}, and there is no such user; correct it"
        ) from error


def reinstall(distribution: str) -> str:
    """Return the remedy for a package with damaged files."""
    try:
        pin = f"{distribution}=={importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        pin = distribution
    return (
        f"install the package again: `{sys.executable} -m pip install"
        f" --force-reinstall --no-deps {pin}`"
    )


def package_folder(
    package: str, distribution: str, requirements: str = "offline.txt"
) -> Path:
    """Return the folder of an installed package without importing it.

    Args:
        package: its name in Python.
        distribution: its name for pip.
        requirements: the list in requirements/ that has it, for the message.

    Raises:
        UserError: the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"package {distribution} is not installed; run `make setup`, or"
            f" `pip install --no-deps -r requirements/{requirements}`"
        )
    return Path(spec.submodule_search_locations[0])
