"""Give a folder the habits of a mounted Google Drive: slow, and without locks.

Python imports this file at start where its folder is on PYTHONPATH. Below the
folder that DRIVE names, each opening takes a while, nothing can be locked,
and no folder can be renamed over another.
"""

import errno
import fcntl
import os
import sys
import time

DRIVE = os.environ["DRIVE"]
SECONDS = 0.01  # of an opening
_rename = os.rename


def is_below(path):
    """Tell whether a path lies in the folder."""
    named = isinstance(path, str | os.PathLike)
    return named and os.path.abspath(path).startswith(DRIVE)


def wait(event, arguments):
    """Audit hook: openings take a while."""
    if event == "open" and is_below(arguments[0]):
        time.sleep(SECONDS)


def flock(descriptor, operation):
    """Take the place of fcntl.flock."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def rename(source, target, **options):
    """Take the place of os.rename."""
    if is_below(target) and os.path.isdir(target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), target)
    _rename(source, target, **options)


sys.addaudithook(wait)
fcntl.flock = flock
os.rename = os.replace = rename
