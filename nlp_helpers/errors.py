"""The one error that is meant for the reader of a notebook."""

import sys
from collections.abc import Callable


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
