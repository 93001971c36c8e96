"""Requests that nobody thought of, from the service's own description."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nlp_helpers.serving.process import start_server
from nlp_helpers.serving.settings import TASKS

# Each example of these costs a forward pass for every token.
GENERATING = "text-generation|completions"
MIN_CASES = 10_000


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
def test_ten_thousand_requests_and_no_failure_of_the_server(checkpoint):
    # All of them: a model that is being loaded is a 503, and rightly so.
    options = [f"--preload={task}" for task in TASKS]
    with start_server(checkpoint, *options, "--max-new-tokens=20") as url:
        quick = [f"--exclude-path-regex={GENERATING}", "--max-examples=1750"]
        slow = [f"--include-path-regex={GENERATING}", "--max-examples=60"]
        assert cases(url, *quick) + cases(url, *slow) >= MIN_CASES
