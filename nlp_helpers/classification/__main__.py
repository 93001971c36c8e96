"""Fine-tune without a notebook, in one process or under accelerate.

python -m nlp_helpers.classification --help
accelerate launch --num_processes 4 -m nlp_helpers.classification ...
"""

from pathlib import Path

import click

from nlp_helpers import parameters
from nlp_helpers.classification import training
from nlp_helpers.core import paths
from nlp_helpers.core.errors import run_command

NOTEBOOK = "05_bert_fine_tuning"


@click.command(context_settings={"show_default": True})
@click.option(
    "--params",
    type=click.Path(dir_okay=False, path_type=Path),
    default=f"params/offline/{NOTEBOOK}.yaml",
    help="Parameters of notebook 05.",
)
@click.option("--output-dir", help="Replaces output_dir of PARAMS.")
def main(params: Path, output_dir: str | None) -> None:
    """Train as notebook 05 does, all seeds, into OUTPUT_DIR/training.

    If it is interrupted, start it again: it resumes. The last checkpoints are
    kept, so that notebook 05 can evaluate without training again.
    """
    if not params.is_file():  # here; then it is one below the root
        params = paths.resolve(params)
    values = parameters.read_file(NOTEBOOK, params)
    output = paths.resolve(output_dir or values["output_dir"]) / "training"
    for settings in training.read_settings(values):
        training.train(
            paths.resolve(values["data_dir"]),
            output / f"seed-{settings.seed}",
            settings,
            values["device"],
            values["checkpoint_every"],
        )


if __name__ == "__main__":
    run_command(main)
