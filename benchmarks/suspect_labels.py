"""How many labels that were turned on purpose are found, and how soon.

    python benchmarks/suspect_labels.py [--json PATH]

On the packaged text messages (two classes) and review sentences (three), 5 %
of the labels are turned to another class, drawn five times. Of the first k
texts that `suspects` lists, precision at k is the share whose label was
turned; by chance it would be the share that was turned of all.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd

from nlp_helpers.classification import suspect_labels
from nlp_helpers.core import files
from nlp_helpers.core.errors import run_command
from nlp_helpers.data import preparing, reading, sources, splitting
from nlp_helpers.data.fields import Wanted

SHARE, DRAWS = 0.05, 5
KS = (20, 50, 100, 200)
WANTED = {
    "sms-spam": Wanted(label_field="spam", label_rule="values"),
    preparing.OFFLINE["review_source"]: Wanted(),
}


def read_table(source: str, folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the texts of a source with their groups; their classes."""
    review_files = sources.fetch_reviews(source, [])
    reading.read_reviews(review_files, folder / "parts", wanted=WANTED[source])
    splitting.split(folder / "parts", folder / "splits")
    return suspect_labels.read_both_sides(folder / "splits")


def measure(table: pd.DataFrame, labels: np.ndarray, draw: int) -> list[float]:
    """Turn labels; return the precision at each k, and by chance."""
    given, turned = suspect_labels.flip_labels(labels, SHARE, draw)
    probabilities = suspect_labels.judge(table["text"], given, table["group"])
    rows = suspect_labels.find_suspects(given, probabilities).index
    return [*(turned[rows[:k]].mean() for k in KS), turned.mean()]


@click.command(help=__doc__)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(json_path: Path | None) -> None:
    """Measure both sources."""
    figures = {}
    for source in WANTED:
        with tempfile.TemporaryDirectory() as folder:
            table, labels = read_table(source, Path(folder))
        draws = [measure(table, labels, draw) for draw in range(DRAWS)]
        means = np.mean(draws, axis=0)
        *at_k, chance = means.tolist()
        listed = ", ".join(
            f"{p:.2f} at {k}" for k, p in zip(KS, at_k, strict=True)
        )
        print(f"{source}: {len(table):,} texts; {listed}; chance {chance:.2f}")
        figures[source] = dict(zip(map(str, KS), at_k, strict=True))
        figures[source]["chance"] = chance
    if json_path:
        files.write_json(json_path, {"figures": figures})


if __name__ == "__main__":
    run_command(main)
