"""A process that has imported the libraries already, to fork kernels from.

Importing torch and transformers takes a kernel several seconds. Here one
process imports them, once, and does nothing else: no tensor operation, no
CUDA. Each kernel is a copy of it, made by `fork` in milliseconds; the
standard library's fork server does the work, `provisioner` the rest.
"""

import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Windows has none
    from multiprocessing.context import ForkServerContext

NAME = "forkserver-provisioner"
MAIN_MODULE = threading.Lock()
MAX_TMPDIR_BYTES = 70  # bytes; the path of a socket has 107 at most
# What the notebooks import. A module that starts threads when it is imported
# must not be here: a thread is not copied.
MODULES = [
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "IPython.core.interactiveshell",
    "torch",
    "pandas",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "pyarrow.parquet",
    "sklearn.linear_model",
    "sklearn.feature_extraction.text",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "transformers.models.llama.modeling_llama",
    "transformers.pipelines",
    "nlp_helpers.language_models.masked_lm",
    "nlp_helpers.language_models.next_token",
    "nlp_helpers.plots",
    "nlp_helpers.data.splitting",
    "nlp_helpers.classification.baselines",
    "nlp_helpers.classification.predicting",
    "nlp_helpers.classification.training",
]


def available() -> bool:
    """Tell whether this system can fork what has imported much.

    macOS has `fork`, but ends a child that calls Apple's own libraries. Before
    3.10.9, other users of the machine could send the fork server what it
    unpickles (CVE-2022-42919). Its socket has a path below TMPDIR, which may
    be too long for one.
    """
    return (
        sys.platform == "linux"
        and sys.version_info >= (3, 10, 9)
        and len(os.fsencode(tempfile.gettempdir())) <= MAX_TMPDIR_BYTES
    )


def start() -> None:
    """Start the process that imports, without waiting for it."""
    if available():
        from multiprocessing import forkserver

        _context()
        forkserver.ensure_running()


def fork(function: Any, arguments: tuple[Any, ...]) -> BaseProcess:
    """Call a function in a copy of the process; return the new process.

    Raises:
        RuntimeError: the process to be copied was killed meanwhile.
    """
    process = _context().Process(target=function, args=arguments)
    with _without_main_module():
        try:
            process.start()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(
                "the process that kernels are forked from was killed; start"
                " the command again, or add --plain-kernels"
            ) from error
    return process


def _context() -> "ForkServerContext":
    """Return the fork server's context."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nlp_helpers.runner.forkserver_main"])
    return context


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Hide `__main__`, which the new process would import otherwise."""
    with MAIN_MODULE:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
