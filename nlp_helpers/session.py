"""One call at the top of a notebook: seed, device, versions, quiet logs."""

import os
import platform
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import transformers
from huggingface_hub.utils import disable_progress_bars
from tqdm.auto import tqdm

from nlp_helpers.errors import UserError
from nlp_helpers.paths import HEADLESS_VARIABLE

Item = TypeVar("Item")


@dataclass(frozen=True)
class Session:
    """What a notebook runs on."""

    seed: int
    device: torch.device
    dtype: torch.dtype

    def __str__(self) -> str:
        """Return one line that names all a reader needs to compare runs."""
        return (
            f"seed {self.seed} | {self.device}, {self.dtype} | Python"
            f" {platform.python_version()}, torch {torch.__version__},"
            f" transformers {transformers.__version__}"
        )


def start(seed: int, device: str = "auto") -> Session:
    """Seed every generator, choose the device, silence the libraries.

    Keras is told to compute with torch; that has to happen before its import.

    Args:
        seed: seeds Python, NumPy and torch, on every device.
        device: `cpu`, `cuda`, or `auto`, which takes CUDA where there is one.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if os.environ.get(HEADLESS_VARIABLE):
        disable_progress_bars()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device is cuda, but torch sees no CUDA device; set device to auto"
            " or cpu (on Colab: Runtime > Change runtime type > GPU)"
        )
    session = Session(seed, torch.device(device), torch.float32)
    print(session)
    return session


def autocast(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where the processor has it, else change nothing.

    A processor without bfloat16 instructions emulates them, many times
    slower than float32.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        fast = any(has.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=bool(fast))


def progress(
    items: Iterable[Item], total: int, description: str
) -> Iterator[Item]:
    """Pass `items` on with a bar, or headless with a line every tenth.

    The lines carry no times, so two equal runs print the same.
    """
    if not os.environ.get(HEADLESS_VARIABLE):
        yield from tqdm(items, total=total, desc=description, unit="step")
        return
    for count, item in enumerate(items, start=1):
        yield item
        if count * 10 // total > (count - 1) * 10 // total:
            print(f"{description}: {count} of {total}")
