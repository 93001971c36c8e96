"""The card of a model whose texts were read, split, tokenised and judged."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from small_bert import small_config
from transformers import BertForSequenceClassification

from nlp_helpers.classification import (
    checkpoints,
    encoders,
    evaluation,
    model_card,
    training,
)
from nlp_helpers.data import preparing, shards
from nlp_helpers.models import loading

CLASSES = ("bill", "a | <b>", "other: [x](y)")
SIZES = (30, 60, 10)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with 100 texts in three classes, made by notebook 4."""
    folder = tmp_path_factory.mktemp("card")
    names = np.repeat(CLASSES, SIZES)
    rows = [
        {"text": f"text {n} of {name}", "label": name}
        for n, name in enumerate(names)
    ]
    source = folder / "mail.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    values = preparing.OFFLINE | {
        "review_source": str(source),
        "label_rule": "values",
        "max_length": 8,
        "group_by": "none",
    }
    preparing.prepare(values, folder / "data")
    return folder


@pytest.fixture(scope="module")
def settings():
    return training.Settings(
        model_name="minilm-l6",
        seed=7,
        num_epochs=2,
        batch_size=8,
        learning_rate=3e-4,
        warmup_ratio=0.1,
        weight_decay=0.01,
        class_weight="balanced",
        freeze_layers=0,
        adapter_rank=0,
        adapter_targets=[],
    )


@pytest.fixture(scope="module")
def sets(place):
    return [
        shards.read_shards(place / "data" / "shards", side, "minilm-l6")
        for side in ("train", "validation")
    ]


@pytest.fixture(scope="module")
def judged(place, sets):
    """Return a checkpoint, its logits and its metrics."""
    torch.manual_seed(0)
    config = small_config(num_labels=3, initializer_range=0.3)
    model = BertForSequenceClassification(config).eval()
    checkpoint = place / "checkpoint"
    tokenizer = loading.load_tokenizer("minilm-l6")
    checkpoints.save_model(checkpoint, model, tokenizer)
    labels = sets[1].labels
    logits = encoders.wrap(model).predict_logits(sets[1].input_ids)
    answers = {"m": logits.argmax(axis=1), "most": np.zeros_like(labels)}
    scores = evaluation.compare(labels, answers)
    metrics = {
        **{k: np.float64(v) for k, v in scores.loc["m"].items()},
        "macro_f1_mean": np.float32(0.25),
        "macro_f1_most": scores.loc["most", "macro_f1"],
        "gain": -0.125,
        "gain_low": -0.5,
        "num_steps": 20,
    }
    return checkpoint, logits, metrics


@pytest.fixture(scope="module")
def card(place, settings, sets, judged):
    checkpoint, logits, metrics = judged
    path = model_card.write(
        checkpoint, place / "data", settings, metrics, *sets, logits
    )
    assert path == checkpoint / "README.md"
    return ModelCard.load(path)


def copy_of(judged, folder):
    """Copy what a card needs of a checkpoint."""
    folder.mkdir()
    shutil.copy(judged[0] / "config.json", folder)
    return folder


def table(card, heading):
    """Return the rows of the table below a heading, by their first cell."""
    below = card.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("| ")]
    rows = [line[2:-2].replace("\\|", "/").split(" | ") for line in lines]
    return {name: values for name, *values in rows}


def test_the_header_is_what_the_hub_reads(card, judged, place):
    _, _, metrics = judged
    data = card.data
    assert data.pipeline_tag == "text-classification"
    assert data.library_name == "transformers"
    assert data.base_model is None  # it is not on the Hub
    results = {result.metric_type: result for result in data.eval_results}
    assert results["accuracy"].metric_value == metrics["accuracy"]
    assert results["f1"].metric_value == metrics["macro_f1"]
    assert results["f1"].metric_args == {"average": "macro"}
    made = json.loads((place / "data/shards/shards.json").read_text())
    digest = made["sha256"]["validation.parquet"]
    assert results["f1"].dataset_revision == digest


def test_the_base_of_the_hub_is_named(place, settings, sets, judged):
    folder = copy_of(judged, place / "of the hub")
    changed = settings.model_copy(update={"model_name": "bert-base-uncased"})
    path = model_card.write(folder, place / "data", changed, judged[2], *sets)
    card = ModelCard.load(path)
    assert card.data.base_model == "google-bert/bert-base-uncased"
    assert "revision 86b5e0934494bd15c9632b12f734a8a67f723594" in card.text


def test_a_folder_as_base_is_named_without_its_place(
    place, settings, sets, judged
):
    folder = copy_of(judged, place / "own")
    base = str(place / "my-encoder")
    own = settings.model_copy(update={"model_name": base})
    path = model_card.write(folder, place / "data", own, judged[2], *sets)
    text = path.read_text("utf-8")
    assert "It began as `my-encoder` (a model folder)" in text
    assert str(place) not in text


def test_data_and_recipe_are_those_of_the_run(card, sets):
    rows = table(card, "Data")
    sizes = [len(tokens) for tokens in sets]
    assert sum(sizes) == 100
    assert rows["texts"] == [str(size) for size in sizes]
    assert rows["bill"] == ["30.0%", "30.0%"]
    assert rows["a / &lt;b&gt;"] == ["60.0%", "60.0%"]
    assert rows["longest, in tokens"] == ["8", "8"]
    assert f"by category: mail ({sizes[0]})." in card.text
    assert "The split kept nothing together." in card.text
    recipe = table(card, "Recipe")
    assert recipe["`learning_rate`"] == ["0.0003"]
    assert recipe["`seed`"] == ["7"]
    assert recipe["steps"] == ["20"]
    assert recipe["torch"] == [torch.__version__]


def test_scores_stand_beside_their_intervals_and_baselines(card, judged):
    _, _, metrics = judged
    rows = table(card, "Scores")
    low, high = metrics["low"], metrics["high"]
    assert rows["macro-F1"] == [
        f"{metrics['macro_f1']:.3f}",
        f"{low:.3f} to {high:.3f}",
    ]
    most = f"{metrics['macro_f1_most']:.3f}"
    assert rows["macro-F1 of the baseline most"] == [most, ""]
    assert rows["macro-F1, mean of the seeds"] == ["0.250", ""]
    gain = rows["macro-F1, gain on the best baseline"]
    assert gain == ["-0.125", "from -0.500"]
    assert "- It may be no better than the best baseline." in card.text


def test_classes_and_calibration_are_computed(card, judged, sets):
    _, logits, _ = judged
    labels, predicted = sets[1].labels, logits.argmax(axis=1)
    rows = table(card, "Each class")
    number = sets[1].names.index("bill")
    found = (predicted == number) & (labels == number)
    assert rows["bill"][1] == f"{found.sum() / (labels == number).sum():.3f}"
    assert rows["bill"][3] == "6"
    below = card.text.partition("## How sure it is")[2].partition("##")[0]
    lines = [line for line in below.splitlines() if line.startswith("| 0")]
    assert sum(int(line.split(" | ")[2][:-2]) for line in lines) == 20
    error = evaluation.calibration_error(
        evaluation.reliability(labels, logits)
    )
    assert f"Expected calibration error: {error:.3f}." in card.text


def test_limits_are_those_of_these_texts(card, sets):
    rarest = "The rarest class, other: [x](y), has 2 validation texts."
    assert rarest in card.text
    full = sum(len(ids) == 8 for each in sets for ids in each.input_ids)
    assert 0 < full < 100
    read = f"the first 8 tokens were read; {full} texts filled them all."
    assert read in card.text


def test_what_was_not_measured_is_not_there(place, settings, sets, judged):
    folder = copy_of(judged, place / "less")
    metrics = {"step": 5, "loss": 1.0, "accuracy": 0.5}
    path = model_card.write(folder, place / "data", settings, metrics, *sets)
    card = ModelCard.load(path)
    rows = table(card, "Scores")
    del rows["validation texts"], rows["---"]
    assert rows == {"accuracy": ["0.500", ""], "loss": ["1.000", ""]}
    assert table(card, "Recipe")["steps"] == ["5"]
    for heading in ("Each class", "How sure", "baseline"):
        assert heading not in card.text
    [result] = card.data.eval_results
    assert result.metric_type == "accuracy"


def test_other_texts_are_listed_with_what_they_cost(
    place, settings, sets, judged
):
    folder = copy_of(judged, place / "elsewhere")
    checkpoint, logits, metrics = judged
    scores = {"texts": 500, "accuracy": 0.5, "macro_f1": 0.25}
    table_of_tweets = pd.DataFrame(
        [{**scores, "low": 0.2, "high": 0.3}], index=["tweets"]
    )
    path = model_card.write(
        folder,
        place / "data",
        settings,
        metrics,
        *sets,
        logits,
        table_of_tweets,
    )
    written = ModelCard.load(path)
    row = table(written, "On texts of other kinds")["tweets"]
    change = f"{0.25 - metrics['macro_f1']:+.3f}"
    assert row == ["500", "0.500", "0.250", "0.200 to 0.300", change]
    assert "texts from elsewhere were not tried" not in written.text
    assert "other texts cost what stands above" in written.text
