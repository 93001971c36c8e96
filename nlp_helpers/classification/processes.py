"""The processes of one training: on which device, and how they end together.

accelerate starts them, or the notebook's `training.launch`.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator

from nlp_helpers import session
from nlp_helpers.core.errors import UserError, explain

MAX_REFUSAL = 2000  # bytes of what a process tells the others


def make_accelerator(device: str) -> Accelerator:
    """Return what moves the work to `cpu`, `cuda`, or as `auto` decides.

    A precision that the user's own configuration of accelerate asks for must
    not come between: it is chosen by `session.precision`.

    Raises:
        UserError: CUDA was asked for and there is none, or this process has
            trained elsewhere before, which accelerate does not forget, or was
            launched for another device.
    """
    wanted = session.choose_device(device).type
    try:
        accelerator = Accelerator(cpu=wanted == "cpu", mixed_precision="no")
    except ValueError as error:  # it does not go from CUDA to the CPU
        raise _other_device(wanted, str(error)) from error
    actual = accelerator.device.type
    if actual != wanted:
        raise _other_device(wanted, f"it is on {actual}")
    atexit.unregister(_end_exchange)  # of the training before this one
    atexit.register(_end_exchange)
    return accelerator


def _end_exchange() -> None:
    """Stop the threads that exchange tensors with other processes.

    Gloo's may still hold some while the interpreter ends, and to free them
    then aborts the process (pytorch/pytorch#179291). They stop when nothing
    knows the group any more, and the model that exchanged its gradients does.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()


def _other_device(wanted: str, cause: str) -> UserError:
    """Return the error about a device that accelerate does not change to."""
    return UserError(
        f"device is {wanted}, but accelerate has already been set up for"
        f" another device ({cause}); restart the kernel, or set device to"
        " that one"
    )


@contextmanager
def together(accelerator: Accelerator) -> Iterator[None]:
    """Let all processes end if one of them refuses to go on.

    Else the others wait for it, in the next exchange, for as long as the
    network lets them. The block must exchange nothing itself.

    Raises:
        UserError: another process refused; says which, and why.
    """
    refusal: Exception | None = None
    try:
        yield
    except Exception as error:
        refusal = error
    said = ""
    if accelerator.num_processes > 1:
        said = _exchange(accelerator, refusal)
    if refusal is not None:
        raise refusal
    if said:
        raise UserError(said)


def _exchange(accelerator: Accelerator, refusal: Exception | None) -> str:
    """Tell the others of a refusal; return what the first of them says."""
    cause = "" if refusal is None else str(refusal) or type(refusal).__name__
    if isinstance(refusal, OSError):
        cause = explain(refusal)
    text = cause.encode()[:MAX_REFUSAL]
    # As numbers: whatever is exchanged as an object would be unpickled.
    row = torch.zeros(1, MAX_REFUSAL, dtype=torch.uint8)
    row[0, : len(text)] = torch.tensor(list(text), dtype=torch.uint8)
    rows = accelerator.gather(row.to(accelerator.device)).cpu()
    for number, numbers in enumerate(rows):
        found = bytes(numbers.tolist()).rstrip(b"\0").decode(errors="ignore")
        if found:
            return f"{found} (said by process {number})"
    return ""
