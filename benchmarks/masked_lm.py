"""How well masked language models answer: fixed masks and probe sentences.

    python benchmarks/masked_lm.py [--model NAME]... [--json PATH]

NAME is a name of nlp_helpers/models/models.yaml or a model folder. With the
Hub at hand, `--model minilm-l6-mlm --model bert-base-uncased --model
distilbert-base-uncased` puts all three into the same tables. The models must
share a tokenizer, or else their questions differ.

`held_out.jsonl` has whole documents that the shipped head never saw. Real
Amazon reviews are asked about where a folder has files of them; no model here
was trained on those.
"""

import json
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForMaskedLM

from nlp_helpers.core import files, paths
from nlp_helpers.core.errors import run_command
from nlp_helpers.language_models.masked_lm import use_mask_token
from nlp_helpers.language_models.next_token import top_k_table
from nlp_helpers.models import loading
from tools.mlm_head import metrics

HERE = Path(__file__).parent
NUM_REVIEWS = 300
# Probe, second segment or None, answers of which one must be among the first
# so many; None where a person has to judge the five.
PROBES = (
    ("who was puppet expert ?", "puppet [MASK] was a puppeteer", "expert", 1),
    ("who was jim henson ?", "jim [MASK] was a puppeteer", "henson", 1),
    ("The capital of France is [MASK].", None, "paris", 5),
    (
        "The battery life of this camera is [MASK].",
        None,
        "good great excellent amazing poor bad terrible short long fine awful"
        " fantastic incredible outstanding perfect decent nice limited superb"
        " wonderful horrible disappointing better low impressive",
        1,
    ),
    ("This is a [MASK].", None, None, 5),
    ("He is a [MASK].", None, None, 5),
    (
        "She poured herself a cup of [MASK].",
        None,
        "tea coffee water milk wine",
        5,
    ),
    (
        "I bought this phone for my [MASK].",
        None,
        "wife son daughter mother",
        5,
    ),
    ("It stopped [MASK] after two weeks.", None, "working", 5),
    (
        "They went to the [MASK] to buy some bread.",
        None,
        "store shop market",
        5,
    ),
)


def read_reviews(folder: Path) -> list[str]:
    """Read a fixed sample of the reviews in `folder`, or none."""
    texts = [
        json.loads(line)["reviewText"]
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    texts = [text for text in texts if text.strip()]
    order = np.random.default_rng(metrics.SEED).permutation(len(texts))
    return [texts[i] for i in order[:NUM_REVIEWS]]


@torch.inference_mode()
def answer(first: str, second: str | None, tokenizer, model) -> list[str]:
    """Return the five most probable words for the mask of a probe."""
    masked = [
        text
        if text is None or "[MASK]" not in text
        else use_mask_token(text, tokenizer)
        for text in (first, second)
    ]
    inputs = tokenizer(*masked, return_tensors="pt")
    [position] = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero()
    logits = model(**inputs).logits[0, position[0]]
    return [t.strip() for t in top_k_table(logits, tokenizer, 5)["token"]]


def is_right(words: list[str], expected: str | None, within: int) -> str:
    """Say yes or no, or that a person has to judge."""
    if expected is None:
        return "no single answer" if len(set(words)) == len(words) else "no"
    return "yes" if set(words[:within]) & set(expected.split()) else "no"


@click.command()
@click.option("--model", "names", multiple=True, default=["minilm-l6-mlm"])
@click.option("--json", "json_path", type=click.Path(), default=None)
@click.option(
    "--reviews",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: paths.project_root().parent / "shared" / "data",
    help="Folder with real reviews (.jsonl, field reviewText), if at hand.",
)
def main(names: list[str], json_path: str | None, reviews: Path) -> None:
    """Print tables for every model; write them as JSON too.

    The main metrics at the head of that file are the first model's.
    """
    for name in names:
        loading.fetch_model(name)  # a wrong name shows at once
    documents = metrics.read_held_out(HERE / "held_out.jsonl")
    amazon = read_reviews(reviews)
    written = {}
    for name in names:
        tokenizer, model = loading.load_model(name, AutoModelForMaskedLM)
        scores = metrics.evaluate_held_out(
            model, tokenizer, documents, metrics.SEED
        )
        if amazon:
            scores["amazon"] = metrics.evaluate(
                model, tokenizer, amazon, metrics.SEED
            )
        table = pd.DataFrame(scores).T.astype({"masked": int})
        click.echo(table.round(3).to_string())
        probes = []
        for first, second, expected, within in PROBES:
            words = answer(first, second, tokenizer, model)
            text = first if second is None else f"{first} / {second}"
            right = is_right(words, expected, within)
            probes.append((right, text, " ".join(words)))
        click.echo(pd.DataFrame(probes).to_string(header=False, index=False))
        written[name] = {"metrics": scores, "probes": probes}
    if not amazon:
        click.echo(f"no reviews in {reviews}: the amazon row is left out")
    first = written[names[0]]["metrics"]
    result = {
        "top1_heldout": first["all"]["top1"],
        "top5_heldout": first["all"]["top5"],
        "top1_amazon": first["amazon"]["top1"] if amazon else None,
    }
    if json_path:
        content = {"metrics": result, "models": written}
        files.write_json(Path(json_path), content)


if __name__ == "__main__":
    run_command(main)
