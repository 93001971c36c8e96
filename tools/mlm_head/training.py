"""The training loop of the masked-language-model head.

MiniLM-L6 is published as a sentence encoder, without the head that turns a
hidden state into a word. The loop trains that head (dense, LayerNorm, output
bias; the decoder is tied to the word embeddings): alone, together with
low-rank adapters (LoRA, Hu et al. 2021) on every linear layer of the
encoder, or together with the whole encoder.
"""

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    BertForMaskedLM,
    PreTrainedTokenizerBase,
)
from transformers.masking_utils import sdpa_mask

from nlp_helpers import session
from nlp_helpers.classification import attention, checkpoints
from nlp_helpers.core import files, folders
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading
from tools.mlm_head import examples, metrics, texts

BASE_MODEL = "minilm-l6"
ATTENTION = "sdpa_float32"  # the name transformers knows it by


@dataclass(frozen=True)
class Settings:
    """What decides the weights, with the texts and the number of steps."""

    train: str = "adapters"  # head, adapters or encoder
    start_from: str = ""  # folder of adapters and head; else both are new
    rank: int = 64
    batch_rows: int = 16
    max_length: int = 128
    learning_rate: float = 4e-4
    warmup_steps: int = 200
    decay_fraction: float = 0.97
    mask_fraction: float = 0.2
    whole_word_fraction: float = 0.25
    seed: int = 2026


def learning_rate_at(step: int, num_steps: int, settings: Settings) -> float:
    """Warm up, hold, and go down to zero over the last `decay_fraction`.

    Nothing before the decay depends on `num_steps`: an unfinished run can be
    lengthened, or be brought to its end early.
    """
    warm = min(1.0, step / max(1, settings.warmup_steps))
    decay = min(
        1.0, (num_steps + 1 - step) / (num_steps * settings.decay_fraction)
    )
    return settings.learning_rate * warm * decay


def build_model(settings: Settings) -> BertForMaskedLM | PeftModel:
    """Load the encoder, draw a head, and say what is trained.

    Raises:
        UserError: `settings.train` is none of head, adapters, encoder, or
            the folder to start from holds no adapters of this rank.
    """
    torch.manual_seed(settings.seed)  # the head is drawn at random
    _, model = loading.load_model(
        BASE_MODEL,
        BertForMaskedLM,
        new_head=True,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
    )
    loading.tie_output_bias(model)
    if settings.train == "adapters":
        adapted = add_adapters(model, settings.rank)
        if settings.start_from:
            load_adapters(adapted, Path(settings.start_from))
        return adapted
    if settings.start_from:
        raise UserError("--start-from is for adapters; leave out --train")
    if settings.train not in ("head", "encoder"):
        raise UserError(
            f"train is {settings.train!r}; it can be head, adapters, encoder"
        )
    model.requires_grad_(settings.train == "encoder")
    model.cls.predictions.transform.requires_grad_(True)
    model.cls.predictions.bias.requires_grad_(True)
    return model


def add_adapters(model: BertForMaskedLM, rank: int) -> PeftModel:
    """Freeze the encoder, add adapters, leave the head trainable."""
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=r".*encoder\.layer\.\d+\..*(query|key|value|dense)",
        modules_to_save=["transform"],
        bias="none",
    )
    adapted = get_peft_model(model, config)
    inner(adapted).cls.predictions.bias.requires_grad_(True)
    return adapted


def load_adapters(model: PeftModel, folder: Path) -> None:
    """Put the adapters and the head that `save` wrote into `model`.

    Raises:
        UserError: the folder has none, or they are of another rank.
    """
    adapters = _read_weights(folder)
    bias = adapters.pop("bias")
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
    if _shapes(adapters) != _shapes(wanted):
        raise UserError(
            f"the adapters in {folder / loading.ADAPTERS} do not fit; pass the"
            " --rank they were trained with"
        )
    set_peft_model_state_dict(model, adapters)
    inner(model).cls.predictions.bias.data.copy_(bias)


def average(sources: Sequence[Path], output: Path) -> None:
    """Write the mean of the weights that runs made from one another.

    The mean of weights on one path of training often forgets less than the
    last of them (Wortsman et al. 2022, Robust fine-tuning of zero-shot
    models). It is taken of the factors, so the rank stays what it was.

    Raises:
        UserError: a folder has no adapters, or they are of another shape.
    """
    first, *others = [_read_weights(folder) for folder in sources]
    for folder, other in zip(sources[1:], others, strict=True):
        if _shapes(other) != _shapes(first):
            raise UserError(
                f"{folder} and {sources[0]} hold adapters of different shapes;"
                " average weights of one --rank"
            )
    mean = {
        name: torch.stack([tensor, *(o[name] for o in others)]).mean(0).half()
        for name, tensor in first.items()
    }
    bias = {"bias": mean.pop("bias")}
    with folders.atomic_folder(output, locked=False) as staging:
        shutil.copy(sources[0] / loading.ADAPTER_CONFIG, staging)
        save_file(mean, staging / loading.ADAPTERS, metadata={"format": "pt"})
        save_file(bias, staging / loading.OUTPUT_BIAS)


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read adapters, head and output bias in single precision.

    Raises:
        UserError: a file is missing or damaged.
    """
    try:
        tensors = load_file(folder / loading.ADAPTERS)
        tensors["bias"] = load_file(folder / loading.OUTPUT_BIAS)["bias"]
    except (OSError, KeyError, SafetensorError) as error:
        raise UserError(
            f"{folder} holds no weights that a run wrote ({error}); give the"
            " weights/ folder inside a run's --output"
        ) from error
    return {name: tensor.float() for name, tensor in tensors.items()}


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    """Return the shape of each tensor."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def attention_function(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend in float32; return (R, T, heads, size of a head), no weights."""
    attended = attention.attend_in_float32(
        query, key, value, attn_mask=attention_mask, scale=scaling
    )
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention_function)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def inner(model: BertForMaskedLM | PeftModel) -> BertForMaskedLM:
    """Return the BERT inside the adapters, or the model itself."""
    bert = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(bert, BertForMaskedLM)
    return bert


def masked_logits(
    model: BertForMaskedLM, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (logits, labels) of the M masked positions: (M, V) and (M,).

    Only these positions go through the head: at 20 % masking that saves four
    fifths of the products with the 30,522-word vocabulary.
    """
    inputs = {name: batch[name] for name in batch if name != "labels"}
    hidden = model.bert(**inputs).last_hidden_state  # (R, T, H)
    chosen = batch["labels"] != examples.IGNORED
    return model.cls(hidden[chosen]), batch["labels"][chosen]


def load_examples(
    folder: Path, tokenizer: PreTrainedTokenizerBase, settings: Settings
) -> list[examples.Example]:
    """Tokenise train.jsonl, each source as often as sources.yaml says.

    Raises:
        UserError: there is no train.jsonl, or no WordNet.
    """
    path = folder / "train.jsonl"
    if not path.is_file():
        raise UserError(
            f"no {path}; write it with"
            f" python -m tools.mlm_head collect --folder {folder}"
        )
    if not (folder / texts.WORDNET).is_dir():
        raise UserError(
            f"{folder} has no WordNet, of which the pairs are made; unpack it"
            f" with python -m tools.mlm_head fetch --folder {folder}"
        )
    rows = path.read_text(encoding="utf-8").splitlines()
    sources = texts.read_sources()
    documents = []
    for row in map(json.loads, rows):
        repeats = sources[row["source"]].get("repeats", 1)
        documents += [row["text"]] * repeats
    pairs = texts.make_pairs(folder, np.random.default_rng(settings.seed))
    limit = settings.max_length
    return examples.encode_documents(
        tokenizer, documents, limit
    ) + examples.encode_pairs(tokenizer, pairs, limit)


def train(
    folder: Path,
    held_out_path: Path,
    output: Path,
    num_steps: int,
    evaluate_every: int,
    settings: Settings,
    device: str = "auto",
) -> None:
    """Train on `folder`/train.jsonl; write `output`/weights, with metrics.

    Every `evaluate_every` steps, a checkpoint and the weights are written.
    Started again, the run goes on from the checkpoint and ends with the same
    weights as one that was never interrupted. With more steps it is
    lengthened, as long as the learning rate has not begun to fall.

    Raises:
        UserError: a text is missing, the checkpoint is of another run, or
            another process trains there, or the loss is not finite.
    """
    held_out = metrics.read_held_out(held_out_path)
    with folders.exclusive(output):
        _train(
            folder,
            held_out,
            output,
            num_steps,
            evaluate_every,
            settings,
            device,
        )


def _train(
    folder: Path,
    held_out: dict[str, list[str]],
    output: Path,
    num_steps: int,
    evaluate_every: int,
    settings: Settings,
    device: str,
) -> None:
    """Do what `train` says, with the folder to this run alone."""
    torch_device = session.start(seed=settings.seed, device=device).device
    tokenizer = loading.load_tokenizer(BASE_MODEL)
    model = build_model(settings)
    # Not `model.to`: mypy misreads that of transformers.
    torch.nn.Module.to(model, torch_device)
    model.train()
    if torch_device.type == "cpu":
        inner(model).set_attn_implementation(ATTENTION)
    parameters = checkpoints.trained_parameters(model)
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=settings.learning_rate,
        weight_decay=0.01,
        fused=True,
    )
    checkpoint_folder = output / "checkpoints"
    checkpoints.check_space(output, model)
    corpus = load_examples(folder, tokenizer, settings)
    fingerprint = make_fingerprint(settings, model, corpus, torch_device)
    state = checkpoints.restore(
        checkpoint_folder, parameters, optimizer, fingerprint
    )
    first_step, tokens = (state["step"], state["tokens"]) if state else (0, 0)
    if state:
        check_num_steps(state, num_steps, settings)
    if first_step >= num_steps:
        return print(f"{output} has the {first_step} steps: nothing to train")
    lengths = np.array([len(example.input_ids) for example in corpus])
    print(
        f"{len(corpus):,} examples, {lengths.sum():,} tokens;"
        f" {sum(p.numel() for p in parameters.values()):,} trained parameters"
    )
    masker = examples.Masker(
        tokenizer, settings.mask_fraction, settings.whole_word_fraction
    )
    plan = examples.plan_batches(
        lengths, settings.batch_rows, settings.max_length, settings.seed
    )
    steps = range(first_step + 1, num_steps + 1)
    bar = tqdm(steps, initial=first_step, total=num_steps, mininterval=10)
    started, started_tokens = time.perf_counter(), tokens
    for step, rows in zip(bar, islice(plan, first_step, None), strict=False):
        batch = examples.make_batch(
            [[corpus[i] for i in row] for row in rows],
            settings.max_length,
            masker,
            np.random.default_rng([settings.seed, step]),
        )
        rate = learning_rate_at(step, num_steps, settings)
        loss = train_step(model, batch, optimizer, rate, torch_device)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {step}; lower --learning-rate"
            )
        tokens += int(sum(lengths[i] for row in rows for i in row))
        if step % evaluate_every == 0 or step == num_steps:
            speed = (tokens - started_tokens) / (time.perf_counter() - started)
            scores = metrics.evaluate_held_out(
                inner(model), tokenizer, held_out, metrics.SEED
            )["all"]
            summary = {"step": step, "tokens": tokens, **scores}
            tqdm.write(
                f"step {step}, {tokens / 1e6:.2f} M tokens, {speed:.0f} a"
                f" second: top-1 {scores['top1']:.3f},"
                f" top-5 {scores['top5']:.3f}, loss {scores['loss']:.2f}"
            )
            weights = output / "weights"
            with folders.atomic_folder(weights, locked=False) as staging:
                save(model, staging)
                files.write_json(staging / "metrics.json", summary)
            state = {
                "fingerprint": fingerprint,
                "tokens": tokens,
                "num_steps": num_steps,
            }
            checkpoints.save(
                checkpoint_folder, step, parameters, optimizer, state
            )


def make_fingerprint(
    settings: Settings,
    model: torch.nn.Module,
    corpus: list[examples.Example],
    device: torch.device,
) -> dict[str, str | int | float]:
    """Return all that decides the weights but the number of steps."""
    content = (
        example.second_start.to_bytes(2, "little")
        + example.input_ids.tobytes()
        for example in corpus
    )
    sources = map(Path, (__file__, attention.__file__, examples.__file__))
    return asdict(settings) | checkpoints.base_fingerprint(
        model, content, sources, device
    )


def check_num_steps(
    state: dict[str, Any], num_steps: int, settings: Settings
) -> None:
    """Refuse another number of steps once the rate depends on it.

    Raises:
        UserError: it has begun to fall, as the first number said.
    """
    step, planned = state["step"], state["num_steps"]
    rates = {learning_rate_at(step, n, settings) for n in (planned, num_steps)}
    if len(rates) > 1:
        raise UserError(
            f"at step {step} the learning rate is falling towards --num-steps"
            f" {planned} already; set it back, or start in another --output"
        )


def train_step(
    model: BertForMaskedLM | PeftModel,
    batch: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    device: torch.device,
) -> float:
    """Take one step and return the loss, in nats per masked token."""
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    with session.autocast(device):
        logits, labels = masked_logits(inner(model), batch)
    loss = torch.nn.functional.cross_entropy(logits.float(), labels)
    loss.backward()
    [group] = optimizer.param_groups
    torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
    group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def save(model: BertForMaskedLM | PeftModel, folder: Path) -> None:
    """Write what was trained in half precision.

    Adapters and head, if there are adapters; else a whole model folder.
    """
    if not isinstance(model, PeftModel):
        half = {n: t.half() for n, t in model.state_dict().items()}
        model.save_pretrained(folder, state_dict=half)
        loading.load_tokenizer(BASE_MODEL).save_pretrained(folder)
        return
    # The default would be the path of the base model on this machine.
    model.peft_config["default"].base_model_name_or_path = BASE_MODEL
    # Looking for new words would ask the Hub about the base model.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    weights = folder / loading.ADAPTERS
    tensors = {name: t.half() for name, t in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    bias = inner(model).cls.predictions.bias.detach().cpu().half()
    save_file({"bias": bias}, folder / loading.OUTPUT_BIAS)
