"""Real trainings of a small BERT on 160 short reviews."""

import json
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard
from small_bert import small_config
from transformers import BertForSequenceClassification

from nlp_helpers import cli, session
from nlp_helpers.classification import (
    batches,
    checkpoints,
    processes,
    training,
)
from nlp_helpers.core import folders
from nlp_helpers.core.errors import UserError
from nlp_helpers.data import shards
from nlp_helpers.data.labels import STARS
from nlp_helpers.models import loading

WORDS = {0: "It came on a {}.", 1: "A wonderful {}!", 2: "This {} is awful."}
THINGS = ("camera", "phone", "player", "radio", "set of very long cables")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a small model, token shards and their texts."""
    folder = tmp_path_factory.mktemp("fine_tuning")
    torch.manual_seed(0)
    tokenizer = loading.load_tokenizer("minilm-l6")
    config = small_config(
        num_hidden_layers=2,
        hidden_dropout_prob=0.1,
        initializer_range=0.2,  # so that it learns fast
    )
    checkpoints.save_model(
        folder / "model", BertForSequenceClassification(config), tokenizer
    )
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 160)
    texts = [WORDS[i].format(generator.choice(THINGS)) for i in labels]
    (folder / "splits").mkdir()
    for name, rows in (("train", slice(120)), ("validation", slice(120, 160))):
        names = [str(number // 3) for number in range(160)]
        table = pa.table(
            {
                "text": texts[rows],
                "label": [STARS[label] for label in labels[rows]],
                "review": names[rows],
                "product": names[rows],
                "reviewer": names[rows],
            }
        )
        pq.write_table(table, folder / "splits" / f"{name}.parquet")
    made = {"group_by": "review", "labels": STARS}
    (folder / "splits" / "split.json").write_text(json.dumps(made))
    name = str(folder / "model")
    shards.write_shards(folder / "splits", folder / "shards", name, 32)
    return folder


@pytest.fixture(scope="module")
def settings(place):
    return training.Settings(
        model_name=str(place / "model"),
        num_epochs=3,
        batch_size=8,
        learning_rate=3e-3,
        warmup_ratio=0.1,
        weight_decay=0.01,
        class_weight="none",
        freeze_layers=0,
        adapter_rank=0,
        adapter_targets=[],
        seed=7,
    )


@pytest.fixture(scope="module")
def whole(place, settings):
    """Return the output of a training that nothing interrupted."""
    training.train(place, place / "whole", settings, "cpu", 4)
    return place / "whole"


def weights(output, kind="model"):
    return (output / kind / "model.safetensors").read_bytes()


def history(output):
    return json.loads((output / "history.json").read_text())


def test_an_epoch_has_every_text_once_and_follows_the_seed():
    epoch = batches.plan_epoch(103, 8, seed=1, epoch=0)
    assert sorted(np.concatenate(epoch)) == list(range(103))
    assert {len(rows) for rows in epoch} == {7, 8}
    assert list(map(len, batches.plan_epoch(33, 32, 1, 0))) == [17, 16]
    again = batches.plan_epoch(103, 8, seed=1, epoch=0)
    assert all(map(np.array_equal, epoch, again))
    # Asked at every step: shuffled once.
    assert batches.plan_epoch(103, 8, seed=1, epoch=0) is again
    for seed, number in ((2, 0), (1, 1)):
        other = batches.plan_epoch(103, 8, seed, number)
        assert not np.array_equal(other[0], epoch[0])


def test_processes_share_a_batch_by_its_tokens():
    lengths = np.random.default_rng(0).integers(1, 500, 64)
    rows = np.arange(64)[::-1]
    shares = [batches.shard(rows, lengths, process, 4) for process in range(4)]
    assert sorted(np.concatenate(shares)) == list(range(64))
    assert {len(share) for share in shares} == {16}
    tokens = [lengths[share].sum() for share in shares]
    assert max(tokens) < 1.05 * min(tokens)
    assert np.array_equal(batches.shard(rows, lengths, 0, 1), rows)


def test_each_step_and_process_has_its_own_dropout():
    seeds = {
        batches.step_seed(seed, step, process)
        for seed in range(3)
        for step in range(50)
        for process in range(4)
    }
    assert len(seeds) == 600


def test_weight_decay_spares_biases_and_layer_norms_and_nothing_else(settings):
    _, model = training.make_classifier(settings)
    decay, no_decay = training.parameter_groups(model.model, 0.01)
    names = {id(p): name for name, p in model.model.named_parameters()}
    assert len(decay["params"]) + len(no_decay["params"]) == len(names)
    assert (decay["weight_decay"], no_decay["weight_decay"]) == (0.01, 0.0)
    for parameter in no_decay["params"]:
        name = names[id(parameter)]
        assert name.endswith("bias") or "LayerNorm" in name
        assert parameter.ndim == 1
    for parameter in decay["params"]:
        assert parameter.ndim == 2


def test_class_weights_by_hand():
    labels = np.array([1, 1, 1, 1, 2, 2, 0, 1])
    balanced = training.class_weights(labels, "balanced")
    assert balanced.tolist() == pytest.approx([8 / 3, 8 / 15, 8 / 6])
    assert training.class_weights(labels, "none").tolist() == [1, 1, 1]


def test_the_loop_learns_what_can_be_learned(whole):
    found = history(whole)
    assert len(found["losses"]) == 45
    assert 0.7 < found["losses"][0] < 1.8
    assert np.mean(found["losses"][-5:]) < 0.2
    assert [row["step"] for row in found["validations"]] == [15, 30, 45]
    assert found["validations"][-1]["macro_f1"] > 0.95


def test_two_runs_end_byte_for_byte_the_same(place, settings, whole):
    training.train(place, place / "again", settings, "cpu", 45)
    assert weights(place / "again") == weights(whole)
    assert history(place / "again") == history(whole)
    training.train(
        place,
        place / "other",
        settings.model_copy(update=dict(seed=8)),
        "cpu",
        45,
    )
    assert weights(place / "other") != weights(whole)


def test_the_best_model_is_that_of_the_lowest_loss(place, settings):
    # A rate so high that the loss goes up again at the end.
    wild = settings.model_copy(
        update=dict(num_epochs=4, learning_rate=0.2, warmup_ratio=0)
    )
    output = place / "wild"
    training.train(place, output, wild, "cpu", 100)
    losses = [row["loss"] for row in history(output)["validations"]]
    assert losses[-1] > min(losses)  # or else the best is only the last
    tokenizer, best = loading.load_model(
        str(output / "best"), BertForSequenceClassification
    )
    tokens = shards.read_shards(
        place / "shards", "validation", settings.model_name
    )
    with torch.no_grad():
        padded = tokenizer.pad(
            {"input_ids": tokens.input_ids}, return_tensors="pt"
        )
        logits = best(**padded).logits
    loss = torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(tokens.labels)
    )
    assert loss.item() == pytest.approx(min(losses), abs=1e-4)


def test_both_models_of_a_training_have_a_card_of_their_own(whole):
    validations = history(whole)["validations"]
    best = min(validations, key=lambda row: row["loss"])
    for name, row in (("model", validations[-1]), ("best", best)):
        card = ModelCard.load(whole / name / "README.md")
        values = [result.metric_value for result in card.data.eval_results]
        assert values == [row["accuracy"], row["macro_f1"]]
        assert f"| steps | {row['step']} |" in card.text


def test_frozen_layers_stay_and_the_others_move(place, settings):
    _, before = training.make_classifier(settings)
    before = {n: p.clone() for n, p in before.model.named_parameters()}
    frozen = settings.model_copy(update=dict(num_epochs=1, freeze_layers=1))
    training.train(place, place / "frozen", frozen, "cpu", 100)
    _, after = loading.load_model(
        str(place / "frozen" / "model"), BertForSequenceClassification
    )
    for name, parameter in after.named_parameters():
        stays = "embeddings" in name or "layer.0." in name
        assert torch.equal(parameter, before[name]) == stays, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freeze_layers": 3}, "the model has only 2 layers"),
        ({"learning_rate": 1e30}, "lower learning_rate"),
    ],
)
def test_what_cannot_be_trained_is_one_line(place, settings, change, message):
    wrong = settings.model_copy(update=change)
    with pytest.raises(UserError, match=message):
        training.train(place, place / "wrong", wrong, "cpu", 4)
    assert not (place / "wrong" / "model").exists()


def test_balanced_classes_count_alike(place, settings):
    """The loss of a batch is the mean, each text with its class's weight."""
    balanced = settings.model_copy(update=dict(class_weight="balanced"))
    tokens = shards.read_shards(place / "shards", "train", settings.model_name)
    _, model = training.make_classifier(balanced)
    run = training.Run(training.Accelerator(cpu=True), model, tokens, balanced)
    model.eval()  # no dropout, so that the loss can be computed again
    rows = run.batch_rows(1)
    loss = run.training_step(1)
    tokenizer, again = training.make_classifier(balanced)
    plain = BertForSequenceClassification(again.config).eval()
    plain.load_state_dict(again.model.state_dict())
    plain.set_attn_implementation("sdpa")
    batch = {"input_ids": [tokens.input_ids[row] for row in rows]}
    logits = plain(**tokenizer.pad(batch, return_tensors="pt")).logits
    expected = torch.nn.functional.cross_entropy(
        logits,
        torch.from_numpy(tokens.labels[rows]),
        weight=training.class_weights(tokens.labels, "balanced"),
    )
    torch.testing.assert_close(loss, expected)


def test_long_batches_are_cut_and_learn_the_same(place, settings, monkeypatch):
    monkeypatch.setattr(training.packing, "MAX_TOKENS", 20)
    short = settings.model_copy(update=dict(num_epochs=1))
    _, model = training.make_classifier(short)
    tokens = shards.read_shards(place / "shards", "train", settings.model_name)
    run = training.Run(training.Accelerator(cpu=True), model, tokens, short)
    model.eval()
    cut = run.training_step(1)
    cut_gradient = run.optimizer.state[run.parameters["classifier.weight"]]
    monkeypatch.undo()
    _, model = training.make_classifier(short)
    run = training.Run(training.Accelerator(cpu=True), model, tokens, short)
    model.eval()
    torch.testing.assert_close(run.training_step(1), cut)
    torch.testing.assert_close(
        run.optimizer.state[run.parameters["classifier.weight"]]["exp_avg"],
        cut_gradient["exp_avg"],
    )


def newest_step(output):
    names = [path.name for path in output.glob("checkpoints/step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_as_if_it_never_was(
    place, settings, whole
):
    """Real processes, killed by SIGKILL at random moments of their progress.

    They are forked from a process that has imported the modules, and nothing
    else: an import takes longer than the training.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nlp_helpers.classification.training"])
    output = place / "killed"
    arguments = (place, output, settings, "cpu", 1)
    generator = random.Random(0)
    reached, kills = set(), 0
    while kills < 20:
        process = context.Process(target=training.train, args=arguments)
        process.start()
        goal = newest_step(output) + generator.randrange(5)
        while process.is_alive() and newest_step(output) < goal:
            time.sleep(0.005)
        process.join(generator.uniform(0, 0.1))
        if process.exitcode is not None:
            assert process.exitcode == 0
            assert weights(output) == weights(whole)
            shutil.rmtree(output)  # and once more
            continue
        process.kill()
        process.join()
        kills += 1
        reached.add(newest_step(output))
    assert len(reached) >= 5  # it was killed while it trained
    training.train(*arguments)
    for kind in ("model", "best"):
        assert weights(output, kind) == weights(whole, kind)
    assert history(output) == history(whole)


TRAIN_ON_DRIVE = """
import json, sys
from pathlib import Path
from nlp_helpers.classification import training
place, output, settings = sys.argv[1:]
settings = training.Settings(**json.loads(settings))
training.train(Path(place), Path(output), settings, "cpu", 1)
"""


def test_a_training_on_drive_goes_on_after_a_kill(
    place, settings, whole, python, project, tmp_path, monkeypatch
):
    """A folder that is slow and has no locks: the runtime ended, and again."""
    habits = str(project / "tests" / "drive")
    monkeypatch.setenv("DRIVE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", habits, prepend=os.pathsep)
    output = tmp_path / "seed-7"
    command = [python, "-c", TRAIN_ON_DRIVE, str(place), str(output)]
    command.append(settings.model_dump_json())
    first = subprocess.Popen(command)
    while newest_step(output) < 3 and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert 3 <= newest_step(output) < len(history(whole)["losses"])
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert history(output) == history(whole)
    assert weights(output) == weights(whole)


def test_a_checkpoint_of_other_texts_or_settings_is_refused(
    place, settings, whole
):
    other = settings.model_copy(update=dict(learning_rate=1e-3))
    with pytest.raises(UserError, match="learning_rate 0.003, not 0.001"):
        training.train(place, whole, other, "cpu", 4)
    tokens = shards.read_shards(place / "shards", "train", settings.model_name)
    _, model = training.make_classifier(settings)
    cpu = torch.device("cpu")
    before = training.make_fingerprint(settings, model, cpu, tokens)
    tokens.input_ids[5] = tokens.input_ids[5][::-1].copy()
    changed = training.make_fingerprint(settings, model, cpu, tokens)
    assert {n for n in before if before[n] != changed[n]} == {"texts"}
    with torch.no_grad():
        model.model.bert.embeddings.word_embeddings.weight[7, 7] += 0.1
    moved = training.make_fingerprint(settings, model, cpu, tokens)
    assert {n for n in before if moved[n] != changed[n]} == {"weights"}


def test_a_checkpoint_of_another_precision_is_refused(
    place, settings, whole, monkeypatch
):
    monkeypatch.setattr(
        training.session, "precision", lambda device: torch.bfloat16
    )
    with pytest.raises(UserError, match="precision torch.float32, not torch"):
        training.train(place, whole, settings, "cpu", 4)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_texts_longer_than_the_model_reads_are_refused(
    place, settings, monkeypatch, split
):
    def read(folder, name, model_name):
        length = 513 if name == split else 512
        return shards.TokenSet([np.ones(length, int)], np.array([1]))

    monkeypatch.setattr(training, "read_shards", read)
    with pytest.raises(UserError, match="reads 512 tokens .* have 513; run"):
        training.train(place, place / "long", settings, "cpu")


def test_two_trainings_do_not_write_to_one_folder(place, settings, whole):
    with folders.exclusive(whole):
        with pytest.raises(UserError, match="being written by another proc"):
            training.train(place, whole, settings, "cpu")
    assert (whole / "history.json").exists()


def test_what_killed_trainings_left_is_removed(place, settings, whole):
    output = place / "cleared"
    left = [output / f".{name}-0123" for name in ("model", "best")]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    training.train(place, output, settings, "cpu", 45)
    assert not any(folder.exists() for folder in left)
    assert weights(output) == weights(whole)


def tell_apart(checkpoints):
    """Write a loss that no training has into the newest; return it."""
    path = max(checkpoints.glob("step-*")) / "state.json"
    state = json.loads(path.read_text())
    state["history"]["losses"][0] = 99.0
    path.write_text(json.dumps(state))
    return 99.0


def write_parameters(place, settings, **others):
    values = settings.model_dump() | {
        "data_dir": str(place),
        "sentences": ["A camera."],
        "num_seeds": 1,
        "num_processes": 1,
        "checkpoint_every": 4,
        "device": "cpu",
        "output_dir": str(place / "launched"),
    }
    path = place / "05.yaml"
    path.write_text(yaml.safe_dump(values | others))
    return path


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(place, settings):
    """Through `accelerate launch`, over gloo, at the same global batch."""
    still = place / "still"  # a model without dropout
    model = BertForSequenceClassification.from_pretrained(
        place / "model", hidden_dropout_prob=0.0
    )
    tokenizer = loading.load_tokenizer(settings.model_name)
    checkpoints.save_model(still, model, tokenizer)
    alone = settings.model_copy(
        update=dict(model_name=str(still), class_weight="balanced")
    )
    data = place / "still_data"
    shards.write_shards(
        place / "splits", data / "shards", alone.model_name, 32
    )
    training.train(data, place / "alone", alone, "cpu", 100)
    parameters = write_parameters(place, alone, data_dir=str(data))
    launch = Path(sys.executable).with_name("accelerate")
    # Without --multi_gpu accelerate starts one process on a machine without
    # GPUs; with it, as many as it is told, and `device: cpu` does the rest.
    command = [launch, "launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["-m", "nlp_helpers", "train", "--params", parameters]
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {"NLP_HELPERS_HEADLESS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "45 steps on cpu in float32, texts packed, 2 processes" in done.stdout
    )
    assert done.stdout.count("45 of 45") == 1  # the main process alone
    found = history(place / "launched" / "training" / "seed-7")
    expected = history(place / "alone")
    assert found["losses"] == pytest.approx(expected["losses"], abs=2e-3)
    for one, other in zip(
        found["validations"], expected["validations"], strict=True
    ):
        assert one == pytest.approx(other, abs=0.03)
    # Its last checkpoint stays, so that a notebook has nothing to train.
    launched = place / "launched" / "training" / "seed-7"
    before = weights(launched)
    forged = tell_apart(launched / "checkpoints")
    training.train(data, launched, alone, "cpu", 100)
    assert history(launched)["losses"][0] == forged
    assert weights(launched) == before
    # From a notebook: this process has computed, so it cannot be forked.
    training.launch(2, data, place / "spawned", alone, "cpu", 100)
    assert history(place / "spawned") == found


@pytest.mark.slow
def test_a_process_that_fails_is_named(place, settings):
    with pytest.raises(
        UserError, match="process . of the training failed: no token sh"
    ):
        training.launch(2, place / "none", place / "x", settings, "cpu", 100)


def lock(place, output):
    return folders.exclusive(output)


def damage_a_checkpoint(place, output):
    (output / "checkpoints" / "step-00000004").mkdir(parents=True)


def close_the_checkpoints(place, output):
    output.mkdir(parents=True)
    (output / "checkpoints").touch()  # noticed after four steps


def close_the_history(place, output):
    (output / "history.json").mkdir(parents=True)


def take_the_data(place, output):
    """Of the second machine alone."""
    shutil.copytree(place / "shards", place / "theirs" / "shards")
    for shard in (place / "theirs" / "shards").glob("validation*"):
        shard.unlink()


def train_on_two_machines(place, settings, output):
    """Run two processes that nobody watches over; return their errors."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = []
    for rank in range(2):
        data = place / "theirs" if rank else place
        data = data if data.exists() else place
        parameters = write_parameters(place, settings, data_dir=str(data))
        parameters = parameters.rename(place / f"{output.name}-{rank}.yaml")
        together = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
        together |= {"LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        together |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
        environment = {name: str(value) for name, value in together.items()}
        command = [sys.executable, "-m", "nlp_helpers", "train", "--params"]
        command += [parameters, "--output-dir", output.parent.parent]
        processes.append(
            subprocess.Popen(
                list(map(str, command)),
                env=os.environ | environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [1, 1], said
    return said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "first", "message"),
    [
        (lock, 0, "is being written by another process; wait for it"),
        (damage_a_checkpoint, 0, "step-00000004 is damaged (state.json"),
        (close_the_checkpoints, 0, "Not a directory; remove the file"),
        (close_the_history, 0, "history.json: Is a directory"),
        (take_the_data, 1, "has 0 rows of validation, 40 were written"),
    ],
)
def test_where_one_machine_refuses_the_others_end(
    place, settings, break_it, first, message
):
    output = place / break_it.__name__ / "training" / "seed-7"
    with break_it(place, output) or nullcontext():
        said = train_on_two_machines(place, settings, output)
    lines = [text.strip().splitlines()[-1] for text in said]
    assert message in lines[first]
    assert message in lines[1 - first]
    told = lines[1 - first].endswith(f"(said by process {first})")
    assert told or break_it is damage_a_checkpoint  # which both see
    assert "Traceback" not in said[0] + said[1]


def test_a_configured_precision_does_not_come_between(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = processes.make_accelerator("cpu")
    assert accelerator.mixed_precision == "no"
    assert not accelerator.native_amp


def test_the_device_means_the_same_as_elsewhere(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no CUDA device"):
        processes.make_accelerator("cuda")


def test_a_process_that_trained_elsewhere_does_not_change_over(monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    processes.make_accelerator("cpu")
    # As if there were a GPU: accelerate stays on the CPU without a word.
    monkeypatch.setattr(
        session, "choose_device", lambda device: torch.device("cuda")
    )
    with pytest.raises(
        UserError, match="device is cuda, .* is on cpu.; restart"
    ):
        processes.make_accelerator("cuda")
    monkeypatch.undo()
    # And it raises an error of its own where it is to leave one.
    AcceleratorState._reset_state(reset_partial_state=True)
    with monkeypatch.context() as environment:
        environment.setenv("ACCELERATE_TORCH_DEVICE", "meta")
        assert Accelerator().device.type == "meta"
    with pytest.raises(
        UserError, match="device is cpu, .* initialized .*; restart"
    ):
        processes.make_accelerator("cpu")
    AcceleratorState._reset_state(reset_partial_state=True)


def test_weights_without_numbers_stop_the_training(place, settings):
    tokens = shards.read_shards(place / "shards", "train", settings.model_name)
    _, model = training.make_classifier(settings)
    run = training.Run(
        processes.make_accelerator("cpu"), model, tokens, settings
    )
    torch.nn.init.constant_(model.model.classifier.bias, torch.nan)
    with pytest.raises(UserError, match="lower learning_rate"):
        run.validate(tokens, 1)


def test_a_notebook_trains_in_its_own_process(place, settings, whole, capsys):
    output = place / "from_notebook"
    training.launch(1, place, output, settings, "cpu", 45)
    assert weights(output) == weights(whole)
    assert "45 steps on cpu in float32" in capsys.readouterr().out


def test_the_command_reads_the_file_that_stands_here(root, monkeypatch):
    (root / "mine").mkdir()
    for folder, seed in ((root / "mine", "here"), (root, "root")):
        (folder / "my.yaml").write_text(f"seed: {seed}\n")
    monkeypatch.chdir(root / "mine")
    with pytest.raises(UserError, match=r"^my.yaml: "):
        cli.train.callback(Path("my.yaml"), None)
    monkeypatch.chdir(root.parent)
    with pytest.raises(UserError, match=rf"^{root / 'my.yaml'}: "):
        cli.train.callback(Path("my.yaml"), None)


def test_seeds_count_upwards(settings):
    values = settings.model_dump() | {"num_seeds": 3, "device": "cpu"}
    found = training.read_settings(values)
    assert [one.seed for one in found] == [7, 8, 9]
    assert found[0] == settings


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="needs a core of its own"
)
def test_notebook_05_goes_on_after_its_run_was_killed(
    place, root, project, python
):
    """A loss written into the checkpoint tells that the second run read it."""
    shutil.copytree(project / "notebooks", root / "notebooks")
    path = root / "params" / "offline" / "05_bert_fine_tuning.yaml"
    path.parent.mkdir(parents=True)
    given = yaml.safe_load((project / path.relative_to(root)).read_text())
    given |= {"model_name": str(place / "model"), "data_dir": str(place)}
    given |= {"num_epochs": 40, "checkpoint_every": 10}
    path.write_text(yaml.safe_dump(given))
    command = [python, "-m", "nlp_helpers", "run", "05"]
    one_core = {next(iter(os.sched_getaffinity(0)))}  # beside other tests
    options = {
        "stdout": subprocess.DEVNULL,
        "preexec_fn": lambda: os.sched_setaffinity(0, one_core),
    }
    process = subprocess.Popen(command, **options)
    output = root / "outputs" / "offline" / "05_bert_fine_tuning"
    folder = output / "training" / f"seed-{given['seed']}"
    while not list(folder.glob("checkpoints/step-*")):
        assert process.poll() is None
        time.sleep(0.01)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive  # the kernel ends by itself
    assert not (folder / "history.json").exists()
    forged = tell_apart(folder / "checkpoints")
    subprocess.run(command, check=True, **options)
    losses = json.loads((folder / "history.json").read_text())["losses"]
    assert len(losses) == 40 * 4 and losses[0] == forged > max(losses[1:])
    record = json.loads((output / "run.json").read_text())
    assert record["status"] == "finished" and record["threads"] == 1
