import errno
import json
import shutil
from pathlib import Path

import pytest
import torch

from nlp_helpers.classification import checkpoints
from nlp_helpers.core import files, folders
from nlp_helpers.core.errors import UserError

resource = pytest.importorskip("resource")  # not on Windows
FINGERPRINT = {"learning_rate": 1e-3, "seed": 1}


@pytest.fixture
def training():
    """Return the parameters and the optimizer of a small model, trained."""
    torch.manual_seed(0)
    model = torch.nn.Linear(40, 30)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    parameters = dict(model.named_parameters())
    take_steps(parameters, optimizer, 3)
    return parameters, optimizer


def take_steps(parameters, optimizer, number):
    for step in range(number):
        for parameter in parameters.values():
            parameter.grad = torch.full_like(parameter, 0.1 * (step + 1))
        optimizer.step()


def fresh(training):
    parameters = {
        name: torch.nn.Parameter(torch.zeros_like(value))
        for name, value in training[0].items()
    }
    return parameters, torch.optim.AdamW(parameters.values(), lr=1e-3)


def save(folder, step, training):
    checkpoints.save(folder, step, *training, {"fingerprint": FINGERPRINT})


def test_a_restored_training_goes_on_bit_for_bit(training, tmp_path):
    save(tmp_path, 3, training)
    other = fresh(training)
    state = checkpoints.restore(tmp_path, *other, FINGERPRINT)
    assert state["step"] == 3
    for one in (training, other):
        take_steps(*one, 2)
    for name, parameter in training[0].items():
        assert torch.equal(parameter, other[0][name])


def test_only_the_newest_stays_and_no_pickle(training, tmp_path):
    (tmp_path / ".step-00000002").mkdir()  # half-written by a killed process
    for step in (1, 2, 1_000_000):
        save(tmp_path, step, training)
    [folder] = tmp_path.iterdir()
    assert folder.name == "step-01000000"
    assert {path.name for path in folder.iterdir()} == {
        "state.json",
        "tensors.safetensors",
    }


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_nothing_stays_mapped_to_a_file_that_will_be_removed(
    training, tmp_path
):
    save(tmp_path, 1, training)
    parameters, optimizer = fresh(training)
    checkpoints.restore(tmp_path, parameters, optimizer, FINGERPRINT)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_failed_copy_of_a_folder_is_one_line(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(b"x" * 9000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(UserError, match="copy cannot be written: .*File"):
            folders.copy_folder(source, tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {p.name for p in tmp_path.iterdir()} == {"source", ".copy.lock"}


def test_a_failed_save_leaves_the_one_before(training, tmp_path):
    save(tmp_path, 1, training)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(UserError, match="File too large.*free some space"):
            save(tmp_path, 2, training)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    state = checkpoints.restore(tmp_path, *fresh(training), FINGERPRINT)
    assert state["step"] == 1


def test_a_disk_that_fills_up_with_the_state_is_one_line(
    training, tmp_path, monkeypatch
):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    save(tmp_path, 1, training)
    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(UserError, match="No space left.*free some space"):
        save(tmp_path, 2, training)
    state = checkpoints.restore(tmp_path, *fresh(training), FINGERPRINT)
    assert state["step"] == 1


def cut(folder):
    path = folder / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
    path = folder / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def lose(folder):
    (folder / "tensors.safetensors").unlink()


def garble(folder):
    (folder / "state.json").write_text("{")


def shorten(folder):
    (folder / "state.json").write_text('{"step": 3}')


@pytest.mark.parametrize("damage", [cut, flip, lose, garble, shorten])
def test_a_damaged_checkpoint_is_refused(training, tmp_path, damage):
    save(tmp_path, 3, training)
    damage(tmp_path / "step-00000003")
    other = fresh(training)
    with pytest.raises(UserError, match="step-00000003 is damaged"):
        checkpoints.restore(tmp_path, *other, FINGERPRINT)
    assert not other[0]["weight"].any()  # nothing of it was taken


def test_a_checkpoint_of_another_training_is_refused(training, tmp_path):
    save(tmp_path, 3, training)
    with pytest.raises(UserError, match="seed 1, not 2; restore the old seed"):
        checkpoints.restore(
            tmp_path, *fresh(training), FINGERPRINT | {"seed": 2}
        )
    with pytest.raises(UserError, match="NLP_HELPERS_FLOAT32 as it was"):
        checkpoints.restore(
            tmp_path, *fresh(training), FINGERPRINT | {"precision": "bfloat16"}
        )
    with pytest.raises(UserError, match="from another model"):
        parameters, optimizer = fresh(training)
        parameters["more"] = parameters.pop("bias")
        checkpoints.restore(tmp_path, parameters, optimizer, FINGERPRINT)


def test_too_small_a_disk_is_refused_before_the_training(
    tmp_path, monkeypatch
):
    model = torch.nn.Linear(1000, 500)
    trained = model.weight.nbytes + model.bias.nbytes  # 2 MB

    def check(folder, free):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        checkpoints.check_space(folder, model)

    check(tmp_path, 9 * trained)  # two checkpoints of three, three models
    with pytest.raises(UserError, match="0.01. GB free.* need 0.018 GB"):
        check(tmp_path, 9 * trained - 1)
    # What an interrupted run left will be replaced.
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "model.safetensors").write_bytes(bytes(trained))
    check(tmp_path, 8 * trained)
    with pytest.raises(UserError):
        check(tmp_path / "another", 8 * trained)
    # What is frozen is saved with the models, and not in checkpoints.
    model.weight.requires_grad_(False)
    check(tmp_path / "another", 3 * trained + 6 * model.bias.nbytes)
    with pytest.raises(UserError):
        check(tmp_path / "another", 3 * trained)


def test_removed_checkpoints_are_gone(training, tmp_path):
    save(tmp_path / "checkpoints", 3, training)
    (tmp_path / ".checkpoints-0a1b" / "step-00000001").mkdir(parents=True)
    for _ in range(2):
        checkpoints.remove(tmp_path / "checkpoints")
        assert not list(tmp_path.iterdir())


def test_the_state_is_plain_json(training, tmp_path):
    losses = [0.1, 1 / 3, 1e-300]
    checkpoints.save(
        tmp_path, 3, *training, {"fingerprint": {}, "losses": losses}
    )
    text = (tmp_path / "step-00000003" / "state.json").read_text()
    assert json.loads(text)["losses"] == losses  # to the last digit
