"""One call at the top of a notebook: seed, device, versions, quiet logs."""

import os
import platform
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from huggingface_hub.utils import disable_progress_bars
from IPython import get_ipython
from tqdm.auto import tqdm

from nlp_helpers import formatting
from nlp_helpers.core import engine, files
from nlp_helpers.core.errors import UserError, show_in_one_line
from nlp_helpers.core.paths import (
    FLOAT32_VARIABLE,
    HEADLESS_VARIABLE,
    SESSION_VARIABLE,
)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Session:
    """What a notebook runs on."""

    seed: int
    device: torch.device
    dtype: torch.dtype  # of weights and results
    training_dtype: torch.dtype  # of the matrix products of a training

    def __str__(self) -> str:
        """Return one line that names all a reader needs to compare runs."""
        dtype = str(self.dtype)
        if self.training_dtype != self.dtype:
            dtype += f" (training: {self.training_dtype})"
        return (
            f"seed {self.seed} | {self.device}, {dtype} | Python"
            f" {platform.python_version()}, torch {torch.__version__},"
            f" transformers {transformers.__version__}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return what the record of a run says of the session."""
        return {
            "device": str(self.device),
            "dtype": str(self.dtype),
            "training_dtype": str(self.training_dtype),
            "threads": torch.get_num_threads(),
        }


def start(seed: int, device: str = "auto") -> Session:
    """Seed every generator, choose the device, silence the libraries.

    Keras is told to compute with torch; that has to happen before its import.
    Tables are shown as `formatting` has it. A runner that names a file in
    NLP_HELPERS_SESSION finds there what its record says of device, precision
    and threads.

    Args:
        seed: seeds Python, NumPy and torch, on every device.
        device: `cpu`, `cuda`, or `auto`, which takes CUDA where there is one.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    silence_libraries()
    formatting.use_for_tables()
    limit_threads()
    if shell := get_ipython():
        shell.set_custom_exc((OSError, MemoryError), show_in_one_line)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch_device = choose_device(device)
    session = Session(
        seed, torch_device, torch.float32, precision(torch_device)
    )
    print(session)
    if path := os.environ.get(SESSION_VARIABLE):
        files.write_json(Path(path), session.as_json())
    return session


def limit_threads() -> None:
    """Let torch compute in no more threads than this process has processors.

    By itself it counts the machine's, and a container may have few of them.
    """
    torch.set_num_threads(min(torch.get_num_threads(), engine.processors()))


def choose_device(device: str) -> torch.device:
    """Return the device that `cpu`, `cuda` or `auto` means here.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    # Not accelerate's is_cuda_available, which counts the GPUs that the driver
    # names: a driver may be too old for this torch.
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device is cuda, but torch sees no CUDA device; set device to auto"
            " or cpu (on Colab: Runtime > Change runtime type > GPU)"
        )
    return torch.device(device)


def silence_libraries() -> None:
    """Let transformers report errors alone, and no bars of its own."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if os.environ.get(HEADLESS_VARIABLE):
        disable_progress_bars()


def precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the processor has it, else float32.

    A processor without bfloat16 instructions emulates them, many times
    slower than float32. Where NLP_HELPERS_FLOAT32 is set, the answer is
    float32: for tests, whose numbers must not depend on the processor.
    """
    if os.environ.get(FLOAT32_VARIABLE):
        return torch.float32
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = _has_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def _has_bfloat16() -> bool:
    """Say whether this processor has instructions for bfloat16."""
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.11
        return torch.cpu._is_avx512_bf16_supported()
    has = torch.cpu.get_capabilities()
    return any(has.get(name) for name in ("amx_bf16", "avx512_bf16"))


def autocast(device: torch.device) -> torch.autocast:
    """Compute matrix products in bfloat16 where `precision` says so."""
    enabled = precision(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off; afterwards each part is in the mode it was in.

    After an error or an interrupt too: a model left in evaluation mode would
    be trained further without dropout.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def progress(
    items: Iterable[Item],
    total: int,
    description: str,
    done: int = 0,
    quiet: bool = False,
) -> Iterator[Item]:
    """Pass `items` on with a bar, or headless with a line every tenth.

    The lines carry no times, so two equal runs print the same.

    Args:
        items: what is left to do.
        total: of all items, those done before included.
        description: what the bar or the lines are called.
        done: how many were done before.
        quiet: show nothing.
    """
    if not os.environ.get(HEADLESS_VARIABLE):
        yield from tqdm(
            items,
            initial=done,
            total=total,
            desc=description,
            unit="step",
            disable=quiet,
        )
        return
    for count, item in enumerate(items, start=done + 1):
        yield item
        if count * 10 // total > (count - 1) * 10 // total and not quiet:
            print(f"{description}: {count} of {total}", flush=True)
