"""Train the masked-language-model head that the offline encoder lacks.

MiniLM-L6 is published as a sentence encoder, without the head that turns a
hidden state into a word. This module trains that head (dense, LayerNorm,
output bias; the decoder is tied to the word embeddings) together with
low-rank adapters (LoRA, Hu et al. 2021) on every linear layer of the encoder.
The recipe is BERT's (Devlin et al. 2019): mask whole words, replace 80 % by
[MASK], 10 % by a random token, leave 10 %.

    python -m nlp_helpers.masked_lm_training --wordnet /usr/share/wordnet
"""

import math
import time
from pathlib import Path

import click
import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertTokenizerFast, get_scheduler

from nlp_helpers import files, models
from nlp_helpers.masked_lm_corpus import build_corpus

BASE_MODEL = "minilm-l6"
HELD_OUT_SHARE = 0.02
EVALUATED_DOCUMENTS = 2000


def encode_corpus(
    tokenizer: BertTokenizerFast,
    documents: list[str],
    pairs: list[tuple[str, str]],
    max_length: int,
) -> list[dict[str, np.ndarray]]:
    """Tokenise to dicts of input_ids, token_type_ids and word numbers (T,)."""
    examples = []
    for texts in filter(None, (documents, pairs)):
        encoded = tokenizer(texts, truncation=True, max_length=max_length)
        for index, ids in enumerate(encoded["input_ids"]):
            words = [-1 if w is None else w for w in encoded.word_ids(index)]
            types = np.array(encoded["token_type_ids"][index])
            words = (
                np.array(words) + 1000 * types
            )  # numbering restarts at [SEP]
            words[np.isin(ids, tokenizer.all_special_ids)] = -1
            examples.append(
                {
                    "input_ids": np.array(ids),
                    "token_type_ids": types,
                    "words": words,
                }
            )
    return [example for example in examples if len(example["input_ids"]) > 4]


def mask_words(
    example: dict[str, np.ndarray],
    mask_share: float,
    mask_token_id: int,
    vocab_size: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Mask whole words: return (input_ids, labels), labels -100 where kept.

    In a two-segment example only the second segment is masked.
    """
    ids, words = example["input_ids"].copy(), example["words"]
    segment = example["token_type_ids"].max()
    candidates = np.unique(
        words[(words >= 0) & (example["token_type_ids"] == segment)]
    )
    count = max(1, round(mask_share * len(candidates)))
    chosen = np.isin(words, generator.choice(candidates, count, replace=False))
    labels = np.where(chosen, ids, -100)
    draw = generator.random(len(ids))
    ids[chosen & (draw < 0.8)] = mask_token_id
    random_ids = generator.integers(1000, vocab_size, len(ids))
    ids = np.where(chosen & (draw >= 0.9), random_ids, ids)
    return ids, labels


def make_batches(
    examples: list[dict[str, np.ndarray]],
    batch_tokens: int,
    generator: np.random.Generator,
) -> list[list[int]]:
    """Group indices of similar length into batches of about `batch_tokens`."""
    lengths = np.array([len(example["input_ids"]) for example in examples])
    noise = generator.random(len(examples))
    order = np.lexsort((noise, lengths))
    batches, batch = [], []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > batch_tokens:
            batches.append(batch)
            batch = []
        batch.append(int(index))
    batches.append(batch)
    return [batches[i] for i in generator.permutation(len(batches))]


def collate(
    examples: list[dict[str, np.ndarray]],
    mask_share: float,
    tokenizer: BertTokenizerFast,
    generator: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """Mask and pad: four tensors of shape (B, T), labels among them."""
    width = max(len(example["input_ids"]) for example in examples)
    batch = {
        name: torch.full((len(examples), width), fill)
        for name, fill in (
            ("input_ids", tokenizer.pad_token_id),
            ("token_type_ids", 0),
            ("attention_mask", 0),
            ("labels", -100),
        )
    }
    for row, example in enumerate(examples):
        ids, labels = mask_words(
            example,
            mask_share,
            tokenizer.mask_token_id,
            len(tokenizer),
            generator,
        )
        size = len(ids)
        batch["input_ids"][row, :size] = torch.from_numpy(ids)
        types = torch.from_numpy(example["token_type_ids"])
        batch["token_type_ids"][row, :size] = types
        batch["attention_mask"][row, :size] = 1
        batch["labels"][row, :size] = torch.from_numpy(labels)
    return batch


def masked_logits(
    model: BertForMaskedLM, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (logits, labels) of the M masked positions: (M, V) and (M,).

    Only these positions go through the head: at 20 % masking that saves four
    fifths of the products with the 30,522-word vocabulary.
    """
    hidden = model.bert(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        token_type_ids=batch["token_type_ids"],
    ).last_hidden_state  # (B, T, H)
    chosen = batch["labels"] != -100
    return model.cls(hidden[chosen]), batch["labels"][chosen]


@torch.no_grad()
def evaluate(
    model: BertForMaskedLM,
    examples: list[dict[str, np.ndarray]],
    tokenizer: BertTokenizerFast,
    seed: int,
) -> dict[str, float]:
    """Loss, top-1 and top-5 share on fixed masks over 15 % of the words."""
    model.eval()
    generator = np.random.default_rng(seed)
    total = {"loss": 0.0, "top1": 0.0, "top5": 0.0}
    count = 0
    for start in range(0, len(examples), 32):
        batch = collate(
            examples[start : start + 32], 0.15, tokenizer, generator
        )
        logits, labels = masked_logits(model, batch)
        hits = logits.topk(5).indices == labels[:, None]  # (M, 5)
        loss = torch.nn.functional.cross_entropy(
            logits, labels, reduction="sum"
        )
        total["loss"] += loss.item()
        total["top1"] += hits[:, 0].sum().item()
        total["top5"] += hits.sum().item()
        count += len(labels)
    model.train()
    return {name: value / count for name, value in total.items()}


def add_adapters(model: BertForMaskedLM, rank: int) -> torch.nn.Module:
    """Freeze the encoder, add adapters, leave the head trainable."""
    models.tie_output_bias(model)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=r".*encoder\.layer\.\d+\..*(query|key|value|dense)",
        modules_to_save=["transform"],
        bias="none",
    )
    adapted = get_peft_model(model, config)
    adapted.base_model.model.cls.predictions.bias.requires_grad_(True)
    return adapted


def save_adapters(
    adapted: torch.nn.Module, folder: Path, figures: dict[str, float]
) -> None:
    """Write adapters, head and figures in half precision, whole or not."""
    # The default would be the path of the base model on this machine.
    adapted.peft_config["default"].base_model_name_or_path = BASE_MODEL
    with files.staged_folder(folder) as staging:
        adapted.save_pretrained(staging)
        weights = staging / "adapter_model.safetensors"
        tensors = {name: t.half() for name, t in load_file(weights).items()}
        save_file(tensors, weights, metadata={"format": "pt"})
        bias = adapted.base_model.model.cls.predictions.bias.detach()
        save_file({"bias": bias.half()}, staging / "output_bias.safetensors")
        files.write_json(staging / "figures.json", figures)


@click.command(context_settings={"show_default": True})
@click.option(
    "--wordnet",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with WordNet's data files.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to write; replaced at every evaluation.",
)
@click.option("--num-steps", default=2600, help="Optimizer steps.")
@click.option("--batch-tokens", default=2048, help="Tokens of one step.")
@click.option("--learning-rate", default=1e-3, help="Highest of the run.")
@click.option("--rank", default=32, help="Rank of the adapters.")
@click.option("--mask-share", default=0.2, help="Share of words masked.")
@click.option("--max-length", default=96, help="Longest example in tokens.")
@click.option("--evaluate-every", default=260, help="Steps in between.")
@click.option("--seed", default=2018, help="Seeds every random choice.")
def train(
    wordnet: Path,
    output: Path,
    num_steps: int,
    batch_tokens: int,
    learning_rate: float,
    rank: int,
    mask_share: float,
    max_length: int,
    evaluate_every: int,
    seed: int,
) -> None:
    """Train head and adapters; write them with their figures to OUTPUT.

    The defaults are the run that made the weights shipped with the project.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)  # the head is drawn from torch's global generator
    tokenizer, base = models.load(
        BASE_MODEL,
        BertForMaskedLM,
        new_head=True,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
    )
    documents, pairs = build_corpus(wordnet, generator)
    held_out = generator.random(len(documents)) < HELD_OUT_SHARE
    validation = [documents[i] for i in np.flatnonzero(held_out)]
    training = [documents[i] for i in np.flatnonzero(~held_out)]
    validation = validation[:EVALUATED_DOCUMENTS]
    validation_set = encode_corpus(tokenizer, validation, [], max_length)
    training_set = encode_corpus(tokenizer, training, pairs, max_length)

    adapted = add_adapters(base, rank).train()
    model = adapted.base_model.model
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=learning_rate, weight_decay=0.01
    )
    scheduler = get_scheduler("cosine", optimizer, num_steps // 20, num_steps)
    words = sum(len(document.split()) for document in training)
    trainable = sum(p.numel() for p in parameters)
    click.echo(f"{words:,} words, {len(pairs):,} pairs")
    click.echo(f"{trainable:,} trained parameters")

    tokens, started, batches = 0, time.perf_counter(), []
    for step in range(1, num_steps + 1):
        if not batches:
            batches = make_batches(training_set, batch_tokens, generator)
        chosen = [training_set[i] for i in batches.pop()]
        batch = collate(chosen, mask_share, tokenizer, generator)
        logits, labels = masked_logits(model, batch)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        if not math.isfinite(loss.item()):
            raise click.ClickException(f"loss is {loss.item()} at step {step}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        tokens += int(batch["attention_mask"].sum())
        if step % evaluate_every == 0 or step == num_steps:
            figures = evaluate(model, validation_set, tokenizer, seed)
            save_adapters(
                adapted, output, {**figures, "tokens": tokens, "step": step}
            )
            seconds = time.perf_counter() - started
            summary = " ".join(f"{k} {v:.3f}" for k, v in figures.items())
            click.echo(
                f"step {step}, {tokens / 1e6:.2f} M tokens, {seconds:.0f} s:"
                f" {summary}"
            )


if __name__ == "__main__":
    train()
