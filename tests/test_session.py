import random

import numpy as np
import pytest
import torch

from nlp_helpers import session
from nlp_helpers.core import engine
from nlp_helpers.core.errors import UserError


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_the_same_seed_gives_the_same_numbers_everywhere():
    session.start(7, "cpu")
    first = draw()
    session.start(7, "cpu")
    assert draw() == first
    session.start(8, "cpu")
    assert not set(draw()) & set(first)


def test_evaluation_ends_in_the_mode_before_it_after_errors_too():
    frozen = torch.nn.Dropout()
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), frozen).train()
    frozen.eval()
    with pytest.raises(KeyboardInterrupt):
        with session.evaluation_mode(model):
            assert not any(module.training for module in model.modules())
            raise KeyboardInterrupt
    assert model.training and model[0].training and not frozen.training


def test_the_line_names_what_a_reader_needs(capsys, monkeypatch):
    session.start(7, "cpu")
    line = capsys.readouterr().out
    for part in ("seed 7", "cpu, torch.float32 | ", torch.__version__):
        assert part in line
    monkeypatch.setattr(session, "precision", lambda device: torch.bfloat16)
    session.start(7, "cpu")
    assert "float32 (training: torch.bfloat16) | " in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_missing_cuda_is_an_error_with_the_remedy():
    assert session.start(7, "auto").device.type == "cpu"
    with pytest.raises(UserError, match="set device to auto"):
        session.start(7, "cuda")


def test_headless_progress_prints_a_line_every_tenth(capsys):
    assert list(session.progress(range(25), 25, "epoch 1")) == [*range(25)]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0] == "epoch 1: 3 of 25"
    assert lines[-1] == "epoch 1: 25 of 25"


def test_watched_progress_is_a_bar(capsys, monkeypatch):
    monkeypatch.delenv("NLP_HELPERS_HEADLESS")
    assert list(session.progress(range(25), 25, "epoch 1")) == [*range(25)]
    captured = capsys.readouterr()
    assert not captured.out
    assert "25/25" in captured.err


def test_float32_can_be_asked_for(monkeypatch):
    has = {"amx_bf16": True, "avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    cpu = torch.device("cpu")
    assert session.precision(cpu) == torch.float32  # the tests ask for it
    monkeypatch.delenv("NLP_HELPERS_FLOAT32")
    assert session.precision(cpu) == torch.bfloat16
    has.update(amx_bf16=False, avx512_bf16=False)
    assert session.precision(cpu) == torch.float32


def test_torch_takes_no_more_threads_than_the_container_allows(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setattr(engine, "processors", lambda: 1)
        session.start(7, "cpu")
        assert torch.get_num_threads() == 1
        monkeypatch.setattr(engine, "processors", lambda: 64)
        session.start(7, "cpu")
        assert torch.get_num_threads() == 1  # OMP_NUM_THREADS may say so
    finally:
        torch.set_num_threads(before)
