"""The training loop, on one processor, one GPU or many.

Batches, dropout and learning rate of a step are functions of seed and step.
What a checkpoint must hold is therefore short: the weights, the optimizer's
moments, the step, and the metrics so far.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.functional import cross_entropy
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_linear_schedule_with_warmup,
)

from nlp_helpers import session
from nlp_helpers.classification import (
    adapters,
    attention,
    batches,
    checkpoints,
    classifier,
    encoders,
    evaluation,
    model_card,
    packing,
    padding,
)
from nlp_helpers.classification.classifier import Classifier
from nlp_helpers.classification.processes import make_accelerator, together
from nlp_helpers.core import files, folders
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.labels import STARS
from nlp_helpers.data.shards import TokenSet, read_shards
from nlp_helpers.models import fitting
from nlp_helpers.parameters import TrainingSettings as Settings

MAX_GRAD_NORM = 1.0


@dataclass
class History:
    """What happened so far: the loss of each step, and each validation."""

    losses: list[float] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)

    @property
    def best(self) -> dict[str, float]:
        """Return the validation of the lowest loss."""
        return min(self.validations, key=lambda metrics: metrics["loss"])


def read_settings(parameters: Mapping[str, Any]) -> list[Settings]:
    """Return the settings of each of `num_seeds` trainings.

    Args:
        parameters: of notebook 05; its `globals()` will do.
    """
    values = {name: parameters[name] for name in Settings.model_fields}
    seeds = range(values["seed"], values["seed"] + parameters["num_seeds"])
    return [Settings(**values | {"seed": seed}) for seed in seeds]


def make_classifier(
    settings: Settings, names: Sequence[str] = STARS
) -> tuple[PreTrainedTokenizerBase, Classifier]:
    """Load the encoder, draw a head for the classes; freeze, add adapters.

    Args:
        settings: name the encoder.
        names: of the classes, in the order of their numbers.

    Raises:
        UserError: the model has fewer layers than are to be frozen.
    """
    torch.manual_seed(settings.seed)  # the head is drawn at random
    tokenizer, model = encoders.load_encoder(
        settings.model_name,
        new_head=True,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    freeze(model.model, settings.freeze_layers)
    if settings.adapter_rank:
        adapters.add(
            model.model, settings.adapter_rank, settings.adapter_targets
        )
    return tokenizer, model


def freeze(model: PreTrainedModel, num_layers: int) -> None:
    """Leave the embeddings and the first `num_layers` layers as they are.

    Raises:
        UserError: the model has fewer layers, or one for all, as ALBERT.
    """
    if not num_layers:
        return
    encoder = model.base_model
    layers = next(
        m for m in encoder.modules() if isinstance(m, torch.nn.ModuleList)
    )
    if num_layers > len(layers):
        raise UserError(
            f"freeze_layers is {num_layers}, but the model has only"
            f" {len(layers)} layers of weights; lower it"
        )
    last = next(layers[num_layers - 1].parameters())
    layers[:num_layers].requires_grad_(False)
    for parameter in encoder.parameters():  # in the order of computation
        if parameter is last:
            return
        parameter.requires_grad_(False)


def parameter_groups(
    model: torch.nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    """Split the parameters: weight decay for matrices alone.

    Decay pulls weights towards zero. A bias or a LayerNorm scale has no
    reason to be near zero, so BERT (Devlin et al. 2019) leaves them out.
    They are the vectors among the parameters; MPNet and XLNet have biases
    of each head, which are tables.
    """
    decay: list[torch.nn.Parameter] = []
    no_decay: list[torch.nn.Parameter] = []
    for name, parameter in checkpoints.trained_parameters(model).items():
        is_bias = parameter.ndim < 2 or "bias" in name
        (no_decay if is_bias else decay).append(parameter)
    return [
        {"params": decay, "weight_decay": weight_decay},
        {"params": no_decay, "weight_decay": 0.0},
    ]


def class_weights(
    labels: np.ndarray, kind: str, num_classes: int = len(STARS)
) -> torch.Tensor:
    """Return the weight of each class in the loss, (num_classes,).

    `balanced` is scikit-learn's: N / (classes * texts of the class), so
    that each class weighs as much as any other. `none` is 1 for each.
    """
    if kind == "none":
        return torch.ones(num_classes)
    counts = np.bincount(labels, minlength=num_classes).clip(min=1)
    weights = len(labels) / (len(counts) * counts)
    return torch.from_numpy(weights.astype(np.float32))


def launch(
    num_processes: int,
    data: Path,
    output: Path,
    settings: Settings,
    device: str,
    checkpoint_every: int,
) -> None:
    """Call `train` from a notebook: here, or in several new processes.

    Accelerate's notebook_launcher would fork them, and a kernel in which
    torch has computed cannot be forked: its threads stay behind. So they are
    started afresh, by the launcher that it uses too.

    Raises:
        UserError: there are fewer GPUs than processes, or one of them failed.
    """
    arguments = (data, output, settings, device, checkpoint_every)
    if num_processes == 1:
        return train(*arguments)
    is_cuda = session.choose_device(device).type == "cuda"
    if is_cuda and num_processes > torch.cuda.device_count():
        raise UserError(
            f"num_processes is {num_processes}, but this machine has"
            f" {torch.cuda.device_count()} GPU(s); lower num_processes"
        )
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        # What other processes write there is unpickled: a file of this
        # user's, and no port that others can reach.
        rdzv_backend="c10d",
        rdzv_configs={"store_type": "file"},
        local_addr="localhost",
        start_method="spawn",
        max_restarts=0,
    )
    try:
        elastic_launch(config, train)(*arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        cause = failure.message  # a signal's, or what an exception left
        if not isinstance(cause, str):
            cause = cause["message"].removeprefix("UserError: ")
        raise UserError(
            f"process {failure.local_rank} of the training failed: {cause}"
        ) from error


def train(
    data: Path,
    output: Path,
    settings: Settings,
    device: str = "auto",
    checkpoint_every: int = 50,
) -> None:
    """Fine-tune on the shards of `data`; write everything to `output`.

    `output` gets `model` (after the last step), `best` (the validation of
    the lowest loss; both are ordinary model folders), history.json, and
    every `checkpoint_every` steps, a checkpoint, the last after the last step.
    Called again, the training goes on from there. After it was killed it ends
    with the same weights as if it had not been (on a GPU up to rounding), if
    there are as many processes as before.
    Several processes, started by accelerate, share each batch.

    Raises:
        UserError: there are no shards, the disk is too small, a checkpoint
            is damaged or of another run, another process trains there, or
            the loss is not finite.
    """
    session.silence_libraries()  # this may be a new process
    session.limit_threads()
    accelerator = make_accelerator(device)
    with ExitStack() as stack:
        with together(accelerator):
            if accelerator.is_main_process:
                stack.enter_context(folders.exclusive(output))
        _train(accelerator, data, output, settings, checkpoint_every)


def _train(
    accelerator: Accelerator,
    data: Path,
    output: Path,
    settings: Settings,
    checkpoint_every: int,
) -> None:
    """Do what `train` says, with the folder to this training alone."""
    shows = accelerator.is_main_process
    with together(accelerator):
        train_set, validation = (
            read_shards(data / "shards", split, settings.model_name)
            for split in ("train", "validation")
        )
    # On each machine one process goes first, and fills the cache.
    for goes_first in (True, False):
        with together(accelerator):
            if accelerator.is_local_main_process == goes_first:
                with nullcontext() if shows else redirect_stdout(None):
                    tokenizer, model = make_classifier(
                        settings, train_set.names
                    )
    with together(accelerator):
        for tokens in (train_set, validation):
            check_lengths(model, tokens, settings)
        fingerprint = make_fingerprint(
            settings, model, accelerator.device, train_set, validation
        )
    run = Run(accelerator, model, train_set, settings)
    folder = output / "checkpoints"
    history = History(**run.restore(folder, fingerprint))
    with together(accelerator):
        if shows:
            (output / "history.json").unlink(missing_ok=True)
            for name in ("model", "best"):
                files.HalfMade(output / name).remove()
            checkpoints.check_space(output, run.classifier)
            print(f"seed {settings.seed}: {run}")

    def describe(name: str, metrics: Mapping[str, float]) -> None:
        folder = output / name
        sets = (train_set, validation)
        model_card.write(folder, data, settings, metrics, *sets)

    steps = range(len(history.losses) + 1, run.num_steps + 1)
    pending = []
    for step in session.progress(
        steps,
        run.num_steps,
        f"seed {settings.seed}",
        done=len(history.losses),
        quiet=not shows,
    ):
        pending.append(run.training_step(step))
        epoch_ends = step % run.steps_per_epoch == 0
        if not (epoch_ends or step % checkpoint_every == 0):
            continue
        history.losses += run.gather_losses(pending)
        pending = []
        if epoch_ends:
            history.validations.append(run.validate(validation, step))
        with together(accelerator):
            if epoch_ends and history.best is history.validations[-1]:
                run.save_model(output / "best", tokenizer)
                if shows:
                    describe("best", history.best)
            run.save(folder, step, asdict(history), fingerprint)
    with together(accelerator):
        run.save_model(output / "model", tokenizer)
        if shows:
            describe("model", history.validations[-1])
            files.write_json(output / "history.json", asdict(history))


def check_lengths(
    model: Classifier, tokens: TokenSet, settings: Settings
) -> None:
    """Refuse texts that are longer than the model has positions.

    Raises:
        UserError: there are such texts.
    """
    longest = max(map(len, tokens.input_ids))
    limit = fitting.max_length(model.config)
    if longest > limit:
        raise UserError(
            f"{settings.model_name} reads {limit} tokens at most, and"
            f" some texts have {longest}; run notebook 04 with"
            f" max_length {limit}"
        )


class Run:
    """What the loop works on: the model, its optimizer, the texts."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: Classifier,
        tokens: TokenSet,
        settings: Settings,
    ) -> None:
        """Put the model on its device and make the optimizer."""
        self.accelerator, self.settings = accelerator, settings
        self.tokens = tokens
        self.lengths = np.array([len(ids) for ids in tokens.input_ids])
        self.weights = class_weights(
            tokens.labels, settings.class_weight, len(tokens.names)
        )
        self.steps_per_epoch = -(-len(tokens) // settings.batch_size)
        self.num_steps = settings.num_epochs * self.steps_per_epoch
        # Of all processes the same: nobody waits for those that refuse.
        if len(tokens) // self.steps_per_epoch < accelerator.num_processes:
            raise UserError(
                f"batch_size {settings.batch_size} gives some of"
                f" {accelerator.num_processes} processes no text; raise it or"
                " start fewer processes"
            )
        self.classifier = model
        self.model = accelerator.prepare(model)
        self.parameters = checkpoints.trained_parameters(self.classifier.model)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.classifier.model, settings.weight_decay),
            lr=settings.learning_rate,
            fused=True,
        )
        self.scheduler = get_linear_schedule_with_warmup(
            self.optimizer,
            int(settings.warmup_ratio * self.num_steps),
            self.num_steps,
        )
        self.model.train()

    def __str__(self) -> str:
        """Return one line: what computes, in which precision, how much."""
        device = self.accelerator.device
        precision = str(session.precision(device)).removeprefix("torch.")
        count = self.accelerator.num_processes
        processes = f", {count} processes" if count > 1 else ""
        return (
            f"{self.num_steps} steps on {device.type} in {precision},"
            f" texts {self.classifier.how}{processes}{self._describe_part()}"
        )

    def _describe_part(self) -> str:
        """Return how many weights are trained, if not all are."""
        total = sum(p.numel() for p in self.classifier.parameters())
        trained = sum(p.numel() for p in self.parameters.values())
        if trained == total:
            return ""
        return f", {trained:,} of {total:,} weights trained"

    def batch_rows(self, step: int) -> np.ndarray:
        """Return the rows that step 1, 2, ... takes, of all processes."""
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        return batches.plan_epoch(
            len(self.tokens),
            self.settings.batch_size,
            self.settings.seed,
            epoch,
        )[index]

    def training_step(self, step: int) -> torch.Tensor:
        """Train on one batch; return this process's share of its loss."""
        accelerator = self.accelerator
        torch.manual_seed(
            batches.step_seed(
                self.settings.seed, step, accelerator.process_index
            )
        )
        rows = self.batch_rows(step)
        weight = float(self.weights[self.tokens.labels[rows]].sum())
        mine = batches.shard(
            rows,
            self.lengths,
            accelerator.process_index,
            accelerator.num_processes,
        )
        passes = self.classifier.plan(self.lengths[mine])
        runs = [mine[rows] for rows in passes]
        loss = torch.zeros((), device=accelerator.device)
        for number, micro_batch in enumerate(runs, start=1):
            # Processes exchange their gradients once, after the last pass.
            waits = number < len(runs)
            with accelerator.no_sync(self.model) if waits else nullcontext():
                # They exchange means; a sum of all is what is wanted.
                part = self.compute_loss(micro_batch) / weight
                accelerator.backward(part * accelerator.num_processes)
            loss += part.detach()
        accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return loss

    def compute_loss(self, rows: np.ndarray) -> torch.Tensor:
        """Return the weighted cross-entropy of some texts, added up."""
        device = self.accelerator.device
        batch = self.classifier.collate(
            [self.tokens.input_ids[row] for row in rows]
        )
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        labels = torch.from_numpy(self.tokens.labels[rows]).to(device)
        with session.autocast(device):
            logits = self.model(**batch)
        weights = self.weights.to(device)
        return cross_entropy(
            logits.float(), labels, weight=weights, reduction="sum"
        )

    def gather_losses(self, pending: Sequence[torch.Tensor]) -> list[float]:
        """Add up the processes' shares of the losses of some steps.

        Raises:
            UserError: a loss is not a finite number.
        """
        losses = self.accelerator.reduce(torch.stack(list(pending)), "sum")
        self._check(losses)
        return losses.tolist()

    def _check(self, numbers: torch.Tensor) -> None:
        """Stop where there is no number any more."""
        if not numbers.isfinite().all():
            raise UserError(
                "the loss is no longer a finite number; lower learning_rate"
                f" (now {self.settings.learning_rate})"
            )

    def validate(self, tokens: TokenSet, step: int) -> dict[str, float]:
        """Return `step` and the mean loss, accuracy and macro-F1.

        Raises:
            UserError: the weights give no finite numbers.
        """
        accelerator = self.accelerator
        count = accelerator.num_processes
        mine = np.arange(len(tokens))[accelerator.process_index :: count]
        logits = torch.zeros(len(tokens), len(tokens.names))
        logits[mine] = torch.from_numpy(
            self.classifier.predict_logits(
                [tokens.input_ids[row] for row in mine]
            )
        )
        logits = accelerator.reduce(logits.to(accelerator.device), "sum")
        gathered = logits.cpu().numpy()
        self._check(torch.from_numpy(gathered))
        return {
            "step": step,
            "loss": float(evaluation.losses(tokens.labels, gathered).mean()),
            **evaluation.score(tokens.labels, gathered.argmax(axis=1)),
        }

    def save_model(
        self, folder: Path, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        """Write the model folder, in one process.

        With adapters it has them merged, and once more in adapters/, small.
        """
        if self.accelerator.is_main_process:
            model = self.classifier.model
            checkpoints.save_model(
                folder, adapters.merge(model), tokenizer, self._save_adapters
            )

    def _save_adapters(self, folder: Path) -> None:
        """Write the adapters alone into a model folder, if there are any."""
        model = self.classifier.model
        if adapters.present(model):
            base = self.settings.model_name
            adapters.save(model, folder / "adapters", base)

    def save(
        self,
        folder: Path,
        step: int,
        history: dict[str, Any],
        fingerprint: dict[str, Any],
    ) -> None:
        """Write a checkpoint, in one process."""
        if self.accelerator.is_main_process:
            state = {
                "fingerprint": fingerprint,
                "history": history,
                "scheduler": self.scheduler.state_dict(),
            }
            checkpoints.save(
                folder, step, self.parameters, self.optimizer, state
            )

    def restore(
        self, folder: Path, fingerprint: dict[str, Any]
    ) -> dict[str, Any]:
        """Load the newest checkpoint; return its history, or {}."""
        with together(self.accelerator):
            state = checkpoints.restore(
                folder, self.parameters, self.optimizer, fingerprint
            )
        step = torch.tensor([state["step"] if state else 0])
        steps = self.accelerator.gather(step.to(self.accelerator.device))
        if (steps != steps[0]).any():
            raise UserError(
                f"not all machines see the checkpoints in {folder}; put"
                " output_dir on a shared disk, or remove that folder to start"
                " again"
            )
        if state is None:
            return {}
        self.scheduler.load_state_dict(state["scheduler"])
        for group, rate in zip(
            self.optimizer.param_groups,
            state["scheduler"]["_last_lr"],
            strict=True,
        ):
            group["lr"] = rate
        return state["history"]


def make_fingerprint(
    settings: Settings,
    model: torch.nn.Module,
    device: torch.device,
    *token_sets: TokenSet,
) -> dict[str, str | int | float]:
    """Return what decides the weights in the end, but for processes."""
    texts = (
        part
        for tokens in token_sets
        for part in (
            "\n".join(tokens.names).encode(),
            tokens.labels.tobytes(),
            *(
                len(ids).to_bytes(4, "little") + ids.tobytes()
                for ids in tokens.input_ids
            ),
        )
    )
    parts = (adapters, attention, batches, classifier, encoders)
    modules = (*parts, packing, padding)
    code = (__file__, *(str(module.__file__) for module in modules))
    return settings.model_dump() | checkpoints.base_fingerprint(
        model, texts, map(Path, code), device
    )
