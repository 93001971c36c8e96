"""Fine-tuning with frozen layers, and with what they compute kept.

    python benchmarks/frozen_layers.py [--data FOLDER] [--json PATH]

Layers that are not trained compute the same in each epoch, apart from their
dropout. `all` trains all layers, as notebook 5 does; `frozen` leaves the
first layers as they are, with `freeze_layers`; `cached` computes these once
for each text, without dropout, and keeps their vectors in memory. Same data,
seed and settings: those of notebook 5's offline profile. In turn; the least
seconds of the rounds count, saving left out.
"""

import time
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn

from nlp_helpers import parameters, session
from nlp_helpers.classification import evaluation, training
from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import run_command
from nlp_helpers.data import shards

NOTEBOOK = "05_bert_fine_tuning"


class Kept(nn.Module):
    """Stands for the embeddings and the first layers of a BERT."""

    def __init__(self, vectors: list[torch.Tensor]) -> None:
        super().__init__()
        self.vectors = vectors  # (tokens, H) of each text
        self.rows: np.ndarray = np.arange(0)

    def forward(self, **ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of the texts `rows`, (1, all tokens, H)."""
        return torch.cat([self.vectors[row] for row in self.rows])[None]


class CachedRun(training.Run):
    """A training in which the frozen layers compute each text once."""

    def keep(self) -> None:
        """Compute the frozen layers for each text."""
        bert = self.classifier.model.base_model
        self.parts = bert.embeddings, bert.encoder.layer
        kept = self.settings.freeze_layers
        ends: list[torch.Tensor] = []
        hook = bert.encoder.layer[kept - 1].register_forward_hook(
            lambda _, args, output: ends.append(output[0])
        )
        vectors: list[torch.Tensor] = [torch.empty(0)] * len(self.tokens)
        device = self.accelerator.device
        with torch.no_grad(), session.evaluation_mode(self.classifier):
            for rows in self.classifier.plan(self.lengths):
                texts = [self.tokens.input_ids[row] for row in rows]
                with session.autocast(device):
                    self.classifier(**self.classifier.collate(texts))
                found = ends.pop().split(self.lengths[rows].tolist())
                for row, vector in zip(rows, found, strict=True):
                    vectors[row] = vector
        hook.remove()
        self.short = Kept(vectors), bert.encoder.layer[kept:]

    def compute_loss(self, rows: np.ndarray) -> torch.Tensor:
        """See `training.Run`; of the kept vectors."""
        bert = self.classifier.model.base_model
        self.short[0].rows = rows
        bert.embeddings, bert.encoder.layer = self.short
        loss = super().compute_loss(rows)
        bert.embeddings, bert.encoder.layer = self.parts
        return loss


def train(data: Path, kind: str, frozen: int) -> tuple[float, float]:
    """Train once; return the seconds and the validation macro-F1."""
    profile = paths.project_root() / "params" / "offline"
    values = parameters.read_parameters(NOTEBOOK, profile / f"{NOTEBOOK}.yaml")
    values["freeze_layers"] = frozen
    [settings] = training.read_settings(values)
    train_set, validation = (
        shards.read_shards(data / "shards", split, settings.model_name)
        for split in ("train", "validation")
    )
    _, model = training.make_classifier(settings, train_set.names)
    accelerator = training.make_accelerator("cpu")
    kind_of_run = CachedRun if kind == "cached" else training.Run
    run = kind_of_run(accelerator, model, train_set, settings)
    started = time.perf_counter()
    if isinstance(run, CachedRun):
        run.keep()
    for step in session.progress(
        range(1, run.num_steps + 1), run.num_steps, f"{kind} {frozen}"
    ):
        run.training_step(step)
    seconds = time.perf_counter() - started
    predicted = model.predict_logits(validation.input_ids).argmax(axis=1)
    scores = evaluation.score(validation.labels, predicted)
    return seconds, scores["macro_f1"]


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("outputs/offline/04_amazon_preprocessing"),
    help="The output_dir of notebook 04.",
)
@click.option("--frozen", "numbers", multiple=True, default=(3, 5))
@click.option("--rounds", default=3)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    data: Path, numbers: tuple[int, ...], rounds: int, json_path: Path | None
) -> None:
    """Measure and print; write the metrics as JSON if asked."""
    session.silence_libraries()
    session.limit_threads()
    candidates = [("all", 0)]
    candidates += [(k, n) for n in numbers for k in ("frozen", "cached")]
    metrics: dict[str, float] = {}
    for _ in range(rounds):
        for kind, frozen in candidates:
            seconds, macro_f1 = train(data, kind, frozen)
            name = f"{kind}_{frozen}"
            least = metrics.get(f"{name}_seconds", np.inf)
            metrics[f"{name}_seconds"] = min(seconds, least)
            metrics[f"{name}_macro_f1"] = macro_f1
    for name, value in metrics.items():
        click.echo(f"{name} {value:,.3f}")
    if json_path:
        files.write_json(json_path, {"metrics": metrics})


if __name__ == "__main__":
    run_command(main)
