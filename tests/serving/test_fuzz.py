"""Requests that nobody thought of, from the service's own description.

FUZZ_CASES=10000 sends as many; 2,000 by default, which takes a minute.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nlp_helpers.serving.process import start_server
from nlp_helpers.serving.settings import TASKS

# Each example of these costs a forward pass for every token.
GENERATING = "text-generation|completions"
CASES = int(os.environ.get("FUZZ_CASES", "2000"))
ADDRESSES = 6  # that take a body, besides those


def cases(url, *options):
    """Send requests made from the description; return how many they were."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run"]
    command += [f"{url}/openapi.json", "--checks=not_a_server_error"]
    command += ["--seed=1", "--generation-database=none", "--no-color"]
    command += ["--phases=examples,fuzzing", "--workers=2", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    [count] = re.findall(r"([\d,]+) generated", done.stdout)
    return int(count.replace(",", ""))


@pytest.mark.slow
def test_no_request_that_fits_the_description_makes_it_fail(checkpoint):
    # All of them: a model that is being loaded is a 503, and rightly so.
    options = [f"--preload={task}" for task in TASKS]
    with start_server(checkpoint, *options, "--max-new-tokens=20") as url:
        each = f"--max-examples={CASES // ADDRESSES + 50}"
        few = f"--max-examples={CASES // 150}"
        sent = cases(url, f"--exclude-path-regex={GENERATING}", each)
        sent += cases(url, f"--include-path-regex={GENERATING}", few)
        assert sent >= CASES
