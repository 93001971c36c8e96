"""Tasks of notebook 05, first part: loss, packed texts, the training loop."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from nlp_helpers.classification.packing import pack
from nlp_helpers.course import models
from nlp_helpers.course.answers import Function, Number, Tensor
from nlp_helpers.course.task import Mistake, Task

LOGITS = torch.tensor(
    [[2.0, 0.5, -1.0], [0.2, 0.1, 0.3], [-1.0, 0.0, 2.5], [1.5, 1.0, -0.5]]
)
LABELS = torch.tensor([0, 1, 2, 1])
SOME_IDS = [
    [101, 2307, 4950, 102],
    [101, 2009, 3631, 1999, 1037, 2733, 1012, 102],
    [101, 102],
    [101, 2204, 999, 102],
]
MIN_TEXTS, MAX_TEXTS, MAX_CHARACTERS = 3, 20, 1000  # of a student's own

PACKED = "Batches without padding"
MODEL = "The model"
LOOP = "The loop by hand"

Batches = Sequence[tuple[torch.Tensor, torch.Tensor]]
Step = Callable[[torch.nn.Module, Any, torch.Tensor], None]


def right_probabilities() -> torch.Tensor:
    """Return the probability of each text's right class, (N,)."""
    return LOGITS.softmax(-1)[range(len(LABELS)), LABELS]


def lengths(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Return the number of ids of each text."""
    return [len(sequence) for sequence in sequences]


def cu_seqlens(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return where packed texts begin, and where the last one ends."""
    return pack(sequences)["cu_seqlens"]


def positions(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the position of each id in its own text."""
    return pack(sequences)["position_ids"][0]


def training_step(
    model: torch.nn.Module, optimizer: Any, loss: torch.Tensor
) -> None:
    """Move the weights of a model once."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def without_clearing(
    model: torch.nn.Module, optimizer: Any, loss: torch.Tensor
) -> None:
    """Move them, and keep the gradients for the next batch."""
    loss.backward()
    optimizer.step()


def step_first(
    model: torch.nn.Module, optimizer: Any, loss: torch.Tensor
) -> None:
    """Move them by the gradients of the batch before."""
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()


def loop(step: Step, mean: bool = False) -> Callable[..., list[float]]:
    """Return a training loop that does `step` after each loss.

    Args:
        step: what follows a loss.
        mean: return the mean of all losses in place of each.
    """

    def train(
        model: torch.nn.Module, optimizer: Any, batches: Batches
    ) -> list[float]:
        found = []
        for inputs, labels in batches:
            loss = cross_entropy(model(inputs), labels)
            step(model, optimizer, loss)
            found.append(loss.item())
        return [sum(found) / len(found)] if mean else found

    return train


def loop_probes() -> list[tuple[Any, ...]]:
    """Return a small model, its optimizer, and the same six batches."""
    generator = torch.Generator().manual_seed(2018)
    model = torch.nn.Linear(4, 3)
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator))
    centres = torch.randn(3, 4, generator=generator)
    batches = []
    for _ in range(6):
        labels = torch.randint(3, (8,), generator=generator)
        noise = torch.randn(8, 4, generator=generator)
        batches.append((centres[labels] + noise / 2, labels))
    return [(model, torch.optim.AdamW(model.parameters(), lr=0.1), batches)]


def learning_rate(
    step: int, num_steps: int, num_warmup: int, highest: float
) -> float:
    """Return the rate of a step: up in a straight line, and down again."""
    if step < num_warmup:
        return highest * step / num_warmup
    return highest * (num_steps - step) / (num_steps - num_warmup)


def schedule_probes() -> list[tuple[int, int, int, float]]:
    """Return steps before, in and after the warm-up."""
    steps = (5, 0, 10, 40, 99, 100)
    return [(step, 100, 10, 0.5) for step in steps]


def own_texts(texts: Any) -> str:
    """Say what is wrong with a student's own list of texts."""
    if not isinstance(texts, list) or not all(
        isinstance(text, str) and text.strip() for text in texts
    ):
        return "your own texts are a list of texts that are not empty"
    if not MIN_TEXTS <= len(texts) <= MAX_TEXTS:
        return f"hand in {MIN_TEXTS} to {MAX_TEXTS} texts"
    if max(map(len, texts)) > MAX_CHARACTERS:
        return f"at most {MAX_CHARACTERS} characters a text are enough here"
    if len(set(lengths(own_ids(texts)))) < 2:
        return "let your texts have different lengths"
    return ""


def own_ids(texts: Sequence[str], marks: bool = True) -> list[list[int]]:
    """Return the ids of texts, with `[CLS]` and `[SEP]` or without."""
    tokenizer = models.encoder_tokenizer()
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=marks)[
        "input_ids"
    ]
    return ids


NO_END = "the end of the last text is missing"
NO_START = "the beginning of the first text is missing"
ARE_LENGTHS = "these are the lengths; each number is the sum of those before"
TASKS = (
    Task(
        "05.1",
        ("loss_by_hand",),
        MODEL,
        Number(low=0),
        lambda: float(cross_entropy(LOGITS, LABELS)),
        (
            Mistake(
                "this takes the probability of the answer, the largest one;"
                " the loss asks for that of the right class",
                lambda: -float(LOGITS.softmax(-1).max(-1).values.log().mean()),
            ),
            Mistake(
                "this is the sum over the texts; the loss is their mean",
                lambda: float(cross_entropy(LOGITS, LABELS, reduction="sum")),
            ),
            Mistake(
                "the mean is taken before the logarithm; take the logarithm"
                " of each probability first",
                lambda: -math.log(float(right_probabilities().mean())),
            ),
            Mistake(
                "the logarithm has another base; use the natural one",
                lambda: -float(right_probabilities().log10().mean()),
            ),
            Mistake("", lambda: float(right_probabilities().log().mean())),
        ),
    ),
    Task(
        "05.2",
        ("blind_loss",),
        MODEL,
        Number(low=0),
        lambda: math.log(5),
        (
            Mistake(
                "this is the loss for the three classes of the notebook; here"
                " are more",
                lambda: math.log(3),
            ),
            Mistake(
                "this is the probability of the right class; the loss is its"
                " logarithm, with the sign turned",
                lambda: 1 / 5,
            ),
            Mistake(
                "the logarithm has another base; use the natural one",
                lambda: math.log2(5),
            ),
        ),
    ),
    Task(
        "05.3",
        ("cu_seqlens",),
        PACKED,
        Tensor(tolerance=0),
        lambda: cu_seqlens(SOME_IDS),
        (
            Mistake(ARE_LENGTHS, lambda: lengths(SOME_IDS)),
            Mistake(NO_START, lambda: cu_seqlens(SOME_IDS)[1:]),
            Mistake(NO_END, lambda: cu_seqlens(SOME_IDS)[:-1]),
            Mistake(
                "these are the last places of the texts; a text ends before"
                " the number that follows its beginning",
                lambda: [0, *(cu_seqlens(SOME_IDS)[1:] - 1)],
            ),
        ),
    ),
    Task(
        "05.4",
        ("position_ids",),
        PACKED,
        Tensor(tolerance=0),
        lambda: positions(SOME_IDS),
        (
            Mistake(
                "the positions run on through all texts; each text begins"
                " anew",
                lambda: range(len(positions(SOME_IDS))),
            ),
            Mistake(
                "the first token of a text has the position 0",
                lambda: positions(SOME_IDS) + 1,
            ),
            Mistake(
                "these say which text a token belongs to, not where it stands"
                " in it",
                lambda: [
                    number for number, ids in enumerate(SOME_IDS) for _ in ids
                ],
            ),
        ),
    ),
    Task(
        "05.5",
        ("train",),
        LOOP,
        Function(Tensor(), loop_probes),
        lambda: loop(training_step),
        (
            Mistake(
                "these are the losses of the untrained model: no weight has"
                " moved. What must follow the loss of each batch, and in"
                " which order?",
                lambda: loop(lambda model, optimizer, loss: None),
            ),
            Mistake(
                "the gradients of the earlier batches are still there and are"
                " added to those of each new one",
                lambda: loop(without_clearing),
            ),
            Mistake(
                "each step uses the gradients of the batch before: the"
                " gradients come first, then the step",
                lambda: loop(step_first),
            ),
            Mistake("", lambda: loop(training_step, mean=True)),
        ),
        points=3,
    ),
    Task(
        "05.6",
        ("learning_rate",),
        LOOP,
        Function(Number(), schedule_probes),
        lambda: learning_rate,
        (
            Mistake(
                "there is no warm-up: the first steps have the full rate",
                lambda: (
                    lambda step, n, warm, high: (
                        high
                        if step < warm
                        else learning_rate(step, n, warm, high)
                    )
                ),
            ),
            Mistake(
                "after the warm-up the rate stays the same; it should fall to"
                " zero",
                lambda: (
                    lambda step, n, warm, high: (
                        high
                        if step > warm
                        else learning_rate(step, n, warm, high)
                    )
                ),
            ),
            Mistake(
                "the fall is counted from the first step, so the rate jumps"
                " at the end of the warm-up; count from there",
                lambda: (
                    lambda step, n, warm, high: (
                        high * step / warm
                        if step < warm
                        else high * (1 - step / n)
                    )
                ),
            ),
            Mistake(
                "each step has the rate of the one after it; steps are"
                " counted from 0",
                lambda: (
                    lambda step, n, warm, high: learning_rate(
                        step + 1, n, warm, high
                    )
                ),
            ),
        ),
        points=2,
    ),
)
OWN_TASKS = (
    Task(
        "05.12",
        ("my_texts", "my_cu_seqlens"),
        PACKED,
        Tensor(tolerance=0),
        lambda texts: cu_seqlens(own_ids(texts)),
        (
            Mistake(
                "the marks that the tokenizer puts around each text are"
                " missing",
                lambda texts: cu_seqlens(own_ids(texts, marks=False)),
            ),
            Mistake(ARE_LENGTHS, lambda texts: lengths(own_ids(texts))),
            Mistake(NO_START, lambda texts: cu_seqlens(own_ids(texts))[1:]),
            Mistake(
                "every text has the length of the longest, as with padding;"
                " packed texts keep their own",
                lambda texts: [
                    number * max(lengths(own_ids(texts)))
                    for number in range(len(texts) + 1)
                ],
            ),
        ),
        own=own_texts,
        examples=(
            (["It works.", "My bicycle bell rusted in the rain.", "Blue."],),
            (["a b c", "one two three four", "uncomfortable", "so so"],),
        ),
    ),
)
