"""Memory that nobody uses any more, given back to the system."""

import ctypes
import sys


def trim() -> None:
    """Have the C library give back what it keeps, where it is glibc.

    Tensors of ever other sizes leave holes in its heaps, which it keeps: a
    process that computes for days holds more and more. It takes some
    milliseconds.
    """
    if sys.platform == "linux":
        trim_heaps = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim_heaps is not None:  # musl has none
            trim_heaps(0)
