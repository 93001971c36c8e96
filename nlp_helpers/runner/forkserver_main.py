"""What the fork server does before its first fork; imported nowhere else."""

import atexit
import gc
import os
import signal
from contextlib import suppress
from importlib import import_module

from nlp_helpers.runner.forkserver import MODULES

# The debugger, which no kernel here uses, would print what it is missing.
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
# There is no garbage among imports, and looking for it takes a second.
gc.disable()
# Control-C ends the runner, which ends this process; a traceback adds nothing.
interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
for name in MODULES:
    with suppress(Exception):  # the notebook that needs it will say what it is
        import_module(name)
signal.signal(signal.SIGINT, interrupt)
# The kernels never look at these objects again, so they stay shared.
gc.freeze()
gc.enable()
# The server has nothing to save; taking its modules apart takes a second.
atexit.register(os._exit, 0)
