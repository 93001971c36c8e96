"""Packages that only some notebooks need, named at once where missing."""

import importlib.metadata
import sys
from collections.abc import Iterable

from nlp_helpers.core.errors import UserError


def require(pins: Iterable[str], who: str) -> None:
    """Name all packages that are missing at once, before any work is done.

    Args:
        pins: `name==version`, as in `hosted.PACKAGES`. Another version that is
            installed already is enough.
        who: needs them, for the message: `notebook 7`.

    Raises:
        UserError: some are not installed; it says how to install just these.
    """
    missing = [pin for pin in pins if not is_installed(pin.split("==")[0])]
    if missing:
        raise UserError(
            f"{who} needs what is not installed; run `{sys.executable} -m pip"
            f" install --no-deps {' '.join(missing)}`, and this cell again"
        )


def is_installed(distribution: str) -> bool:
    """Say whether a package of this name is installed, in any version."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
