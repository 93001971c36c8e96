"""Labelling tweets on a processor: transformers, this project, onnxruntime.

    pip install onnx onnxruntime onnxscript
    python benchmarks/inference.py --checkpoint FOLDER [--json PATH]

The checkpoint of notebook 5 labels 1,000 tweets: `pipeline` one by one and in
batches of 32; `packed`, which is `predict`, in the precision that it chooses
here (set NLP_HELPERS_FLOAT32=1 for float32); onnxruntime in float32 and with
dynamic int8 weights, one scale a channel, both on texts sorted by length in
passes of 1,024 tokens, which was faster than 512 or 4,096. Tokenising is
part of the time. In turns; the least of three rounds.

int8 must answer as well: its macro-F1 less that of float32, in five folds of
each kind of rated texts, and how many answers are the same.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from sklearn.metrics import f1_score
from torch.export import Dim
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    pipeline,
)

from nlp_helpers.classification import padding, predicting
from nlp_helpers.core import engine, files
from nlp_helpers.core.errors import run_command
from nlp_helpers.data import rated_texts
from nlp_helpers.data.labels import LABEL2ID
from nlp_helpers.data.shards import encode

ROUNDS, FOLDS = 3, 5
NUM_TWEETS = 1000
NUM_RATED = 2000  # of each kind
LONE = 100  # tweets that wait for their answer one after another
MAX_LENGTH = 512
KINDS = ("amazon-snippets", "tweets", "film-reviews", "editorials")
Answer = Callable[[list[str]], np.ndarray]  # texts to classes


class Exported(torch.nn.Module):
    """A classifier with the arguments and the result that ONNX shall have."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Return logits, (B, labels), of (B, T) ids and mask."""
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask
        ).logits


def export(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Write a checkpoint as ONNX, in float32 and in int8."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    ids = torch.ones(2, 7, dtype=torch.long)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    shape = {0: Dim("texts", min=1), 1: Dim("length", min=2, max=MAX_LENGTH)}
    paths = {"float32": folder / "float32.onnx", "int8": folder / "int8.onnx"}
    torch.onnx.export(
        Exported(model.float().eval()),
        (ids, mask),
        paths["float32"],
        dynamo=True,
        dynamic_shapes=(shape, shape),
        input_names=["input_ids", "attention_mask"],
        external_data=False,
        verbose=False,
    )
    quantize_dynamic(
        paths["float32"],
        paths["int8"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    return paths


def answer_with_onnx(path: Path, checkpoint: Path) -> Answer:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    config = AutoModelForSequenceClassification.from_pretrained(
        checkpoint
    ).config
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = engine.processors()
    session = onnxruntime.InferenceSession(path, options)

    def answer(texts: list[str]) -> np.ndarray:
        ids = encode(texts, tokenizer, MAX_LENGTH)
        classes = np.empty(len(texts), int)
        for rows in padding.group_by_length([len(i) for i in ids]):
            batch = padding.pad_for(config, [ids[row] for row in rows])
            arrays = {name: value.numpy() for name, value in batch.items()}
            [logits] = session.run(None, arrays)
            classes[rows] = logits.argmax(axis=1)
        return classes

    return answer


def answer_with_pipeline(checkpoint: Path, batch_size: int) -> Answer:
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    label = pipeline(
        "text-classification", model.float(), tokenizer=tokenizer, device="cpu"
    )

    def answer(texts: list[str]) -> np.ndarray:
        answers = label(
            texts,
            batch_size=batch_size,
            truncation=True,
            max_length=MAX_LENGTH,
        )
        return np.array([LABEL2ID[each["label"]] for each in answers])

    return answer


def answer_packed(checkpoint: Path) -> Answer:
    tokenizer, model = predicting.load_classifier(str(checkpoint))

    def answer(texts: list[str]) -> np.ndarray:
        rows = predicting.classify(texts, tokenizer, model)
        return np.array([LABEL2ID[row["label"]] for row in rows])

    return answer


def measure_speed(candidates: dict[str, Answer], metrics: dict) -> None:
    tweets = rated_texts.read("tweets")["text"]
    texts = tweets.sample(NUM_TWEETS, random_state=0).tolist()
    best = dict.fromkeys(candidates, np.inf)
    for _ in range(ROUNDS):
        for name, answer in candidates.items():
            started = time.perf_counter()
            answer(texts)
            best[name] = min(best[name], time.perf_counter() - started)
    for name, seconds in best.items():
        metrics[f"{name}_texts_per_s"] = NUM_TWEETS / seconds
    for name in ("packed", "onnx_float32", "onnx_int8"):
        waits = []
        for text in texts[:LONE]:
            started = time.perf_counter()
            candidates[name]([text])
            waits.append(time.perf_counter() - started)
        metrics[f"{name}_lone_p50_ms"] = 1000 * float(np.median(waits))
    for peer in ("pipeline_1", "pipeline_32", "onnx_float32", "onnx_int8"):
        metrics[f"packed_vs_{peer}"] = best[peer] / best["packed"]


def measure_answers(candidates: dict[str, Answer], metrics: dict) -> None:
    """Compare int8 with float32, both of onnxruntime, on rated texts."""
    for kind in KINDS:
        rated = rated_texts.read(kind)
        rated = rated.sample(min(NUM_RATED, len(rated)), random_state=0)
        texts, labels = rated["text"].tolist(), rated["label"].map(LABEL2ID)
        right = labels.to_numpy()
        whole = candidates["onnx_float32"](texts)
        small = candidates["onnx_int8"](texts)
        # Exporting with an example that pads nothing leaves the mask out.
        assert (candidates["packed"](texts) == whole).mean() > 0.98
        differences = []
        for fold in range(FOLDS):
            rows = np.arange(len(right)) % FOLDS == fold
            scores = [
                f1_score(right[rows], answers[rows], average="macro")
                for answers in (whole, small)
            ]
            differences.append(scores[1] - scores[0])
        metrics[f"int8_same_answers_{kind}"] = float((whole == small).mean())
        metrics[f"int8_macro_f1_mean_{kind}"] = float(np.mean(differences))
        metrics[f"int8_macro_f1_worst_{kind}"] = min(differences)


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(checkpoint: Path, json_path: Path | None) -> None:
    """Measure and print; write the metrics as JSON if asked."""
    os.environ["NLP_HELPERS_HEADLESS"] = "1"
    metrics: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = export(checkpoint, Path(folder))
        candidates = {
            "pipeline_1": answer_with_pipeline(checkpoint, 1),
            "pipeline_32": answer_with_pipeline(checkpoint, 32),
            "packed": answer_packed(checkpoint),
        }
        for name, path in paths.items():
            metrics[f"{name}_megabytes"] = path.stat().st_size / 1e6
            candidates[f"onnx_{name}"] = answer_with_onnx(path, checkpoint)
    measure_speed(candidates, metrics)
    measure_answers(candidates, metrics)
    for key, value in metrics.items():
        click.echo(f"{key} {value:,.3f}")
    if json_path:
        files.write_json(json_path, {"metrics": metrics})


if __name__ == "__main__":
    run_command(main)
