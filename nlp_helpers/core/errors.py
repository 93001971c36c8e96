"""The one error that is meant for the reader of a notebook."""

import errno
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

# By the number of an error. What these say is also mended by moving.
DISK_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it readable and writable",
    errno.EPERM: "make it readable and writable",
    errno.ENOLCK: "mount it with locks",
    errno.EIO: "check the disk",
    errno.ENAMETOOLONG: "give it a shorter name",
}
REMEDIES = {
    errno.ENOENT: "restore it, or correct the path",
    errno.ENOTDIR: "remove the file that stands in the place of a folder",
    errno.EEXIST: "remove what stands in its place",
    errno.EISDIR: "remove the folder that stands in the place of a file",
    errno.ELOOP: "remove the links that lead to one another",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs, or raise the limit (ulimit -v)",
    errno.EAGAIN: "close other programs, or raise the limits (ulimit -a)",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EBUSY: "close the program that uses it",
    errno.ETXTBSY: "close the program that uses it",
    errno.ESTALE: "mount its disk again",
    errno.ENOTCONN: "mount its disk again",
    errno.EINVAL: "give it a plainer name, or use another disk",
}
MEMORY_REMEDY = (
    "there is too little memory: close other programs, raise the limit (ulimit"
    " -v), or take a smaller model"
)
OTHER_REMEDY = "see whether its disk can be read and written"


# As torch, safetensors and C++ say it.
NO_MEMORY = re.compile(
    r"can(not|'t) allocate memory|not enough memory|out of memory|bad_alloc",
    re.IGNORECASE,
)


class UserError(RuntimeError):
    """Something the user can mend: says what, why and what to do, in a line.

    A notebook shows the message alone, without the traceback, which would
    only point into the helpers.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


def run_command(command: Callable[[], None]) -> None:
    """Run a command; end with one line and status 1 on a known error.

    Known are a UserError, and an OSError or a MemoryError: the machine said
    no. Whatever else is raised is a mistake of the program, and keeps its
    traceback.
    """
    try:
        command()
    except (UserError, OSError, MemoryError) as error:
        said = error if isinstance(error, UserError) else explain(error)
        print(f"error: {said}", file=sys.stderr)
        sys.exit(1)


def explain(
    error: OSError | MemoryError,
    what: str = "the project elsewhere",
    target: str | Path = "",
) -> str:
    """Return a line that names the file, the cause and the remedy.

    Args:
        error: an error of the system; of a library, it may have no number,
            and no remedy is known.
        what: what could be put elsewhere.
        target: what was being written, if the error does not say it.
    """
    if isinstance(error, MemoryError):
        return "; ".join(filter(None, [str(error), MEMORY_REMEDY]))
    named = [error.filename, error.filename2]
    name = " to ".join(str(part) for part in named if part is not None)
    name = name or str(target)
    prefix = f"{name}: " if name else ""
    if error.errno is None:
        return prefix + (" ".join(str(error).split()) or type(error).__name__)
    remedy = REMEDIES.get(error.errno, OTHER_REMEDY)
    if error.errno == errno.EEXIST and not Path(name).exists():
        remedy = (
            "it is a link that leads nowhere: mount its disk, or remove it"
        )
    if error.errno in DISK_REMEDIES:
        remedy = f"{DISK_REMEDIES[error.errno]}, or move {what}"
    return f"{prefix}{error.strerror}; {remedy}"


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory or address space ran out.

    A file that cannot be mapped for that is as sound as before.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return bool(NO_MEMORY.search(str(error)))


def show_in_one_line(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    """Show what the machine refused, without the way through the helpers.

    What a reader's own cell raised by itself keeps its traceback, which
    points to the line. For `InteractiveShell.set_custom_exc`.
    """
    if isinstance(error, OSError | MemoryError) and _through_helpers(
        traceback
    ):
        line = f"{kind.__name__}: {explain(error)}"
        # As UserError; IPython asks each error for it.
        error.__dict__["_render_traceback_"] = lambda: [line]
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)


def _through_helpers(traceback: TracebackType | None) -> bool:
    """Tell whether a function of this package was at work."""
    package, _, _ = __name__.partition(".")
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == package:
            return True
        traceback = traceback.tb_next
    return False
