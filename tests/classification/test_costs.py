import json
import time

import pytest

from nlp_helpers.classification import costs
from nlp_helpers.core.errors import UserError

HOLD = """
import sys, time
held = bytearray(200_000_000)
end = time.process_time() + 0.5
while time.process_time() < end:
    pass
"""


@pytest.fixture
def command(monkeypatch):
    """Let another program stand for the training; return how to choose it."""
    real = costs.subprocess.run

    def choose(code):
        def run(arguments, **settings):
            python, c, launcher, *_, path = arguments
            program = [python, "-c", code, path]
            return real([python, c, launcher, *program], **settings)

        monkeypatch.setattr(costs.subprocess, "run", run)

    return choose


def test_time_and_memory_are_those_of_the_process_alone(tmp_path, command):
    ours = bytearray(800_000_000)  # not the training's
    command(HOLD)
    started = time.perf_counter()
    found = costs.measure_training({"seed": 1}, tmp_path / "one")
    assert 0.5 <= found["processor_seconds"] <= found["seconds"] * 1.1
    assert found["seconds"] <= time.perf_counter() - started
    assert 200e6 < found["peak_memory"] < 400e6
    command("pass")
    again = costs.measure_training({"seed": 1}, tmp_path / "two")
    assert again["peak_memory"] < 100e6  # not the most so far
    assert len(ours)


def test_a_training_begins_anew_with_the_parameters_given(tmp_path, command):
    (tmp_path / "training" / "seed-1").mkdir(parents=True)
    command("pass")
    costs.measure_training({"seed": 1, "output_dir": "elsewhere"}, tmp_path)
    assert not (tmp_path / "training").exists()
    given = json.loads((tmp_path / "parameters.yaml").read_text())
    assert given == {"seed": 1, "output_dir": str(tmp_path)}


def test_a_training_that_fails_says_why(tmp_path):
    with pytest.raises(UserError, match="failed: error: .*seed is missing"):
        costs.measure_training({"model_name": "minilm-l6"}, tmp_path)


def test_the_size_of_a_folder_is_that_of_all_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "inner" / "b").write_bytes(b"345")
    assert costs.size_of(tmp_path) == 5
    assert costs.size_of(tmp_path / "a") == 2
