"""The one error that is meant for the reader of a notebook."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

# By the number of an error, which an OSError may lack.
REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.ENOLCK: "mount it with locks",
}


class UserError(RuntimeError):
    """Something the user can mend: says what, why and what to do, in a line.

    A notebook shows the message alone, without the traceback, which would
    only point into the helpers.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


def run_command(command: Callable[[], None]) -> None:
    """Run a command; end with one line and status 1 on a known error."""
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(1)


def explain(
    error: OSError,
    what: str = "the project elsewhere",
    target: str | Path = "a file",
) -> str:
    """Return a line that names the file, the cause and the remedy.

    Args:
        error: its number is one of `REMEDIES`.
        what: what could be put elsewhere.
        target: what was being written, if the error does not say it.
    """
    target = error.filename or target
    return (
        f"{target}: {error.strerror}; {REMEDIES[error.errno]}, or move {what}"
    )
