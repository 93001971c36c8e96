"""The model card of a checkpoint: README.md, for people and for the Hub.

Every number in it is computed here or read from the files of the run, and
what was not measured is not there.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from nlp_helpers.classification import evaluation
from nlp_helpers.core import files
from nlp_helpers.data import splitting
from nlp_helpers.data.shards import TokenSet
from nlp_helpers.formatting import count, decimal
from nlp_helpers.models import registry
from nlp_helpers.parameters import TrainingSettings

NAME = "README.md"
SIDES = ("train", "validation")
MAX_CATEGORIES = 20  # that are listed
MAX_CLASSES = 20  # that a sentence names; tables have all
BASELINE = "macro_f1_"  # of metrics.json, before a baseline's name
OF_SEEDS = "macro_f1_mean"


def write(
    checkpoint: Path,
    data: Path,
    settings: TrainingSettings,
    metrics: Mapping[str, float],
    train: TokenSet,
    validation: TokenSet,
    logits: np.ndarray | None = None,
    elsewhere: pd.DataFrame | None = None,
) -> Path:
    """Write README.md into a model folder, in place of an older one.

    Args:
        checkpoint: the model folder.
        data: the folder of notebook 4, with shards/ and splits/.
        settings: of the training.
        metrics: what metrics.json has, or as much of it as is known.
        train: the training texts.
        validation: the validation texts.
        logits: of the validation texts, (N, classes); without them the card
            has nothing on single classes and on calibration.
        elsewhere: what `other_texts.score_other_texts` returned, if it was
            measured.

    Returns:
        The file.
    """
    # Plain numbers, as YAML knows no others.
    metrics = {name: float(value) for name, value in metrics.items()}
    made = files.read_json(data / "shards" / "shards.json")
    name = Path(settings.model_name).name  # of a folder, no more than that
    sections = [
        _introduction(checkpoint, name, settings, validation.names),
        _data(data, (train, validation), made["sha256"]),
        _recipe(settings, metrics),
        _scores(metrics),
    ]
    if logits is not None:
        sections += [
            _classes(validation, logits),
            _calibration(validation, logits, settings),
        ]
    if elsewhere is not None:
        sections.append(_elsewhere(elsewhere, metrics))
    sections.append(
        _limits(
            metrics,
            made["lengths"],
            validation,
            logits,
            tried=elsewhere is not None,
        )
    )
    digest = made["sha256"]["validation.parquet"]
    header = _metadata(settings, f"{name}-fine-tuned", metrics, digest)
    body = "\n\n".join(sections)
    card = ModelCard(f"---\n{header.to_yaml()}\n---\n\n{body}\n")
    files.write_text(checkpoint / NAME, str(card))
    return checkpoint / NAME


def _metadata(
    settings: TrainingSettings,
    name: str,
    metrics: Mapping[str, float],
    digest: str,
) -> ModelCardData:
    """Return what the Hub reads: the task, the base and the scores.

    The licence is for the person who publishes the model to choose.
    """
    entry = registry.registry().get(settings.model_name)
    base = entry.repository if isinstance(entry, registry.HubModel) else None
    of_all: dict[str, Any] = {"average": "macro"}
    kinds = {
        "accuracy": ("accuracy", "Accuracy", None),
        "macro_f1": ("f1", "Macro-F1", of_all),
    }
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type="parquet",
            dataset_name="validation.parquet",
            dataset_split="validation",
            dataset_revision=digest,
            metric_type=kind,
            metric_name=title,
            metric_value=metrics[key],
            metric_args=arguments,
        )
        for key, (kind, title, arguments) in kinds.items()
        if key in metrics
    ]
    return ModelCardData(
        base_model=base,
        library_name="transformers",
        pipeline_tag="text-classification",
        model_name=name,
        eval_results=results or None,
    )


def _introduction(
    checkpoint: Path,
    name: str,
    settings: TrainingSettings,
    names: Sequence[str],
) -> str:
    """Say what the model is, and what it was before."""
    config = files.read_json(checkpoint / "config.json")
    entry = registry.registry().get(settings.model_name)
    origin = "a model folder"
    if entry is not None:
        origin = f"licence: {entry.licence}"
    if isinstance(entry, registry.HubModel):
        origin += f"; {entry.repository}, revision {entry.revision}"
    return (
        f"# {name}, fine-tuned\n\n"
        f"A model of type {config['model_type']} that gives a text one of"
        f" {count(len(names), 'class', 'classes')}: {_listed(names)}. It began"
        f" as `{name}` ({origin}); the layer that chooses the class was drawn"
        f" at random, with seed {settings.seed}."
    )


def _data(
    data: Path, sets: Sequence[TokenSet], hashes: Mapping[str, str]
) -> str:
    """Describe the texts: how many, of which classes, from where."""
    rows = [["texts", *(f"{len(each):,}" for each in sets)]]
    for number, name in enumerate(sets[0].names):
        shares = (np.mean(each.labels == number) for each in sets)
        rows.append([name, *(f"{share:.1%}" for share in shares)])
    longest = (max(map(len, each.input_ids)) for each in sets)
    rows.append(["longest, in tokens", *map(str, longest)])
    digests = (hashes[f"{side}.parquet"] for side in SIDES)
    rows.append(["sha256 of the table", *digests])
    parts = ["## Data", _table(["", *SIDES], rows)]
    splits = data / "splits"
    if (splits / splitting.SPLIT_FILE).is_file():
        group_by = files.read_json(splits / splitting.SPLIT_FILE)["group_by"]
        kept = "The split kept nothing together."
        if group_by != "none":
            kept = f"All texts of a {group_by} are on one side."
        parts += [kept, *_categories(splits)]
    return "\n\n".join(parts)


def _categories(splits: Path) -> list[str]:
    """Say from which files the training texts come, the largest first."""
    table = pq.ParquetFile(splits / "train.parquet")
    if "category" not in table.schema_arrow.names:
        return []
    counts = table.read(["category"])["category"].to_pandas().value_counts()
    listed = ", ".join(
        f"{_clean(name)} ({size:,})"
        for name, size in counts[:MAX_CATEGORIES].items()
    )
    more = len(counts) - MAX_CATEGORIES
    return [
        f"Training texts by category: {listed}"
        + (f", and {more:,} more categories." if more > 0 else ".")
    ]


def _recipe(settings: TrainingSettings, metrics: Mapping[str, float]) -> str:
    """Tabulate the settings of the training."""
    values = settings.model_dump(exclude={"model_name"})
    rows = [[f"`{name}`", str(value)] for name, value in values.items()]
    steps = metrics.get("num_steps", metrics.get("step"))
    if steps is not None:
        rows.append(["steps", f"{int(steps):,}"])
    rows.append(["torch", torch.__version__])
    rows.append(["transformers", transformers.__version__])
    return f"## Recipe\n\n{_table(['setting', 'value'], rows)}"


def _scores(metrics: Mapping[str, float]) -> str:
    """Tabulate the scores on the validation texts, beside the baselines'."""
    rows = []
    if "accuracy" in metrics:
        rows.append(["accuracy", decimal(metrics["accuracy"]), ""])
    if "macro_f1" in metrics:
        interval = ""
        if {"low", "high"} <= metrics.keys():
            low, high = decimal(metrics["low"]), decimal(metrics["high"])
            interval = f"{low} to {high}"
        rows.append(["macro-F1", decimal(metrics["macro_f1"]), interval])
    if OF_SEEDS in metrics:
        mean = decimal(metrics[OF_SEEDS])
        rows.append(["macro-F1, mean of the seeds", mean, ""])
    for key, value in metrics.items():
        if key.startswith(BASELINE) and key != OF_SEEDS:
            name = key.removeprefix(BASELINE)
            title = f"macro-F1 of the baseline {name}"
            rows.append([title, decimal(value), ""])
    if "gain" in metrics:
        least = f"from {metrics['gain_low']:+.3f}"
        gain = f"{metrics['gain']:+.3f}"
        rows.append(["macro-F1, gain on the best baseline", gain, least])
    for key, title in (
        ("loss_before", "loss before training"),
        ("loss", "loss"),
        ("loss_after", "loss"),
    ):
        if key in metrics:
            rows.append([title, decimal(metrics[key]), ""])
    header = ["validation texts", "value", "95 % interval"]
    return f"## Scores\n\n{_table(header, rows)}"


def _classes(tokens: TokenSet, logits: np.ndarray) -> str:
    """Tabulate the scores of each class, and name the commonest mistake."""
    predicted = logits.argmax(axis=1)
    table = evaluation.per_class_table(tokens.labels, predicted, tokens.names)
    rows = [
        [name, *map(decimal, scores), f"{int(texts):,}"]
        for name, *scores, texts in table.itertuples()
    ]
    parts = ["## Each class", _table(["class", *table.columns], rows)]
    counts = evaluation.confusion_counts(
        tokens.labels, predicted, len(tokens.names)
    )
    np.fill_diagonal(counts, 0)
    if counts.any():
        right, taken = np.unravel_index(counts.argmax(), counts.shape)
        parts.append(
            f"The commonest mistake: {_clean(tokens.names[right])} taken for"
            f" {_clean(tokens.names[taken])},"
            f" {count(int(counts.max()), 'text')}."
        )
    return "\n\n".join(parts)


def _calibration(
    tokens: TokenSet, logits: np.ndarray, settings: TrainingSettings
) -> str:
    """Compare how sure the model is with how often it is right."""
    table = evaluation.reliability(tokens.labels, logits)
    error = evaluation.calibration_error(table)
    rows = [
        [decimal(sure), decimal(right), f"{int(texts):,}"]
        for _, sure, right, texts in table.itertuples()
    ]
    parts = [
        "## How sure it is",
        _table(["mean confidence", "accuracy", "texts"], rows),
        f"Expected calibration error: {decimal(error)}.",
    ]
    if settings.class_weight == "balanced":
        parts.append(
            "In the loss all classes weighed the same, however many texts"
            " they have."
        )
    return "\n\n".join(parts)


def _elsewhere(scores: pd.DataFrame, metrics: Mapping[str, float]) -> str:
    """Tabulate what a change of domain costs."""
    rows = [
        [
            str(row.Index),
            f"{row.texts:,}",
            decimal(row.accuracy),
            decimal(row.macro_f1),
            f"{decimal(row.low)} to {decimal(row.high)}",
            f"{row.macro_f1 - metrics['macro_f1']:+.3f}",
        ]
        for row in scores.itertuples()
    ]
    header = ["texts of another kind", "texts", "accuracy", "macro-F1"]
    header += ["95 % interval", "macro-F1, against validation"]
    return (
        "## On texts of other kinds\n\n"
        "Texts that people rated (Hutto and Gilbert 2014), drawn at random;"
        " the mean rating says which class is right.\n\n"
        f"{_table(header, rows)}"
    )


def _limits(
    metrics: Mapping[str, float],
    lengths: Mapping[str, Sequence[int]],
    tokens: TokenSet,
    logits: np.ndarray | None,
    tried: bool,
) -> str:
    """Say what the numbers do not show, as far as it can be computed."""
    longest = sum(lengths[side][-1] for side in SIDES)
    numbers = np.bincount(tokens.labels, minlength=len(tokens.names))
    rarest = int(numbers.argmin())
    others = "other texts cost what stands above"
    limits = [
        "The validation texts come from the same files as the training texts;"
        f" {others if tried else 'texts from elsewhere were not tried'}.",
        f"Of a text the first {len(lengths['train']) - 1} tokens were read;"
        f" {count(longest, 'text')} filled them all.",
        f"The rarest class, {_clean(tokens.names[rarest])}, has"
        f" {count(int(numbers[rarest]), 'validation text')}.",
    ]
    if logits is not None:
        table = evaluation.per_class_table(
            tokens.labels, logits.argmax(axis=1), tokens.names
        )
        worst = table["f1"].idxmin()
        limits.append(
            f"The class with the lowest F1 is {_clean(worst)}:"
            f" {decimal(table.loc[worst, 'f1'])}."
        )
    if metrics.get("gain_low", 1.0) <= 0:
        limits.append("It may be no better than the best baseline.")
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _table(header: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    names = [_clean(name) for name in header]
    lines = [names, ["---"] * len(names)]
    lines += [[_clean(value) for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _listed(names: Sequence[str]) -> str:
    """List the names of classes, the first ones of many."""
    listed = ", ".join(map(_clean, names[:MAX_CLASSES]))
    return listed + (", ..." if len(names) > MAX_CLASSES else "")


def _clean(text: str) -> str:
    """Write a text of the user's so that a table takes it as it is."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")
