"""Training each architecture here beside its own padded-to-longest training.

    python benchmarks/encoders.py [--reviews FOLDER] [--json PATH]

Every type of encoder that notebook 5 trains, as large as MiniLM-L6 (six
layers, 384 wide) and with random weights, trains on the same texts in the same
batches of 16: as `transformers` has it, each batch padded to its longest text,
and as this project has it, packed or padded by groups of similar length. Both
in the precision that notebook 5 chooses here; set NLP_HELPERS_FLOAT32=1 to
compare what padding alone costs (padded attention is slow in bfloat16 on a
processor). In turn; the best of three rounds counts, after one step that warms
up.
"""

import time
from collections.abc import Callable
from pathlib import Path

import click
import fine_tuning
import numpy as np
import torch
import transformers
from torch.nn.functional import cross_entropy

from nlp_helpers import session
from nlp_helpers.classification import encoders, processes, training
from nlp_helpers.core import files
from nlp_helpers.core.errors import run_command
from nlp_helpers.data.shards import TokenSet
from nlp_helpers.models import registry

BATCH = 16
ROUNDS = 3
SIZES = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
ROBERTA = {"pad_token_id": 1, "max_position_embeddings": 514}
SETTINGS: dict[str, dict[str, object]] = {
    "albert": {"embedding_size": 128},
    "camembert": ROBERTA,
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    "distilbert": {"dim": 384, "n_layers": 6, "hidden_dim": 1536},
    "electra": {"embedding_size": 128},
    "modernbert": {
        "pad_token_id": 0,
        **dict.fromkeys(("bos_token_id", "cls_token_id"), 1),
        **dict.fromkeys(("eos_token_id", "sep_token_id"), 2),
    },
    "mpnet": ROBERTA,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "xlnet": {"d_model": 384, "n_layer": 6, "n_head": 12, "d_inner": 1536},
}
Step = Callable[[np.ndarray], None]


def build(kind: str, **others: float) -> transformers.PreTrainedModel:
    """Return a classifier of a type, with random weights."""
    own = SETTINGS.get(kind, {}) | others
    sizes = {} if kind in ("distilbert", "xlnet") else SIZES
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=30522, num_labels=3, **sizes, **own
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    return model.train()


def padded_step(kind: str, tokens: TokenSet) -> Step:
    """Return a step as transformers has it, padded to the longest."""
    model = build(kind)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(rows: np.ndarray) -> None:
        texts = [torch.from_numpy(tokens.input_ids[row]) for row in rows]
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        lengths = torch.tensor([len(text) for text in texts])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        with session.autocast(torch.device("cpu")):
            logits = model(input_ids=ids, attention_mask=mask).logits
        labels = torch.from_numpy(tokens.labels[rows])
        cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def project_step(kind: str, tokens: TokenSet) -> Step:
    """Return a step of notebook 5."""
    model = build(kind, **encoders.settings_of(kind))
    settings = fine_tuning.notebook_settings().model_copy(
        update={"batch_size": BATCH, "num_epochs": 1, "class_weight": "none"}
    )
    run = training.Run(
        processes.make_accelerator("cpu"),
        encoders.wrap(model),
        tokens,
        settings,
    )

    def step(rows: np.ndarray) -> None:
        run.batch_rows = lambda number: rows
        run.training_step(1)

    return step


def seconds(step: Step, batches: list[np.ndarray]) -> float:
    """Return how long a step takes for all batches."""
    started = time.perf_counter()
    for rows in batches:
        step(rows)
    return time.perf_counter() - started


@click.command(help=__doc__)
@click.option(
    "--reviews",
    type=click.Path(path_type=Path),
    default=Path("../shared/data"),
    help="Folder of real reviews, for their lengths; else drawn lengths.",
)
@click.option("--number", default=16, show_default=True, help="Of texts.")
@click.option("--only", multiple=True, help="A type; all if not given.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    reviews: Path, number: int, only: tuple[str, ...], json_path: Path | None
) -> None:
    """Measure every type, print a line for each."""
    session.silence_libraries()
    session.limit_threads()
    lengths, origin = fine_tuning.review_lengths(reviews, number)
    tokens = fine_tuning.make_tokens(lengths)
    batches = np.split(np.arange(number), range(BATCH, number, BATCH))
    dtype = session.precision(torch.device("cpu"))
    print(f"{number} texts, lengths {origin}, {lengths.sum()} tokens; {dtype}")
    ratios = {}
    for kind in only or registry.TRAINABLE:
        steps = [make(kind, tokens) for make in (padded_step, project_step)]
        for step in steps:
            step(batches[0])
        times = np.array(
            [[seconds(s, batches) for s in steps] for _ in range(ROUNDS)]
        ).min(axis=0)
        ratios[kind] = float(times[0] / times[1])
        print(
            f"{kind} ({registry.TRAINABLE[kind]}): {times[0]:.2f} s padded to"
            f" the longest, {times[1]:.2f} s here, {ratios[kind]:.2f}x"
        )
    if json_path:
        files.write_json(json_path, {"figures": ratios})


if __name__ == "__main__":
    run_command(main)
