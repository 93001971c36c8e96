import os
import platform
import subprocess

import pytest

from nlp_helpers.core import memory

HOLES = """
import sys

import numpy as np
import psutil

from nlp_helpers.core import memory

# Below 128 KiB, so from the heap; the last one keeps its end in use.
parts = [np.ones(100_000 // 8) for _ in range(3000)]
last = parts.pop()
before = psutil.Process().memory_info().rss
del parts
if sys.argv[1] == "trim":
    memory.trim()
print((before - psutil.Process().memory_info().rss) // 2**20)
"""


def given_back(python, action):
    """Return how many MiB go back when 286 are freed below one in use."""
    done = subprocess.run(
        [python, "-c", HOLES, action],
        env={**os.environ, "MALLOC_TRIM_THRESHOLD_": str(2**30)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_was_freed_goes_back_to_the_system(python):
    assert given_back(python, "keep") < 20
    assert given_back(python, "trim") > 200


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory.trim()
