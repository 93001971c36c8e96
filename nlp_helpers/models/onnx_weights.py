"""The weights of a BERT in a 4-bit ONNX file, as ordinary float32 tensors.

Files such as onnxruntime's `MatMulNBitsQuantizer` writes: each matrix in
blocks of 4-bit whole numbers, each block with a scale; embeddings as bytes
with one scale and zero point; biases and LayerNorm as they were. The operators
are specified in docs/ContribOperators.md of microsoft/onnxruntime.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlp_helpers.core.errors import UserError

ZERO_POINT = 8  # of MatMulNBits with 4 bits, where the file names none
QUANTISED, SCALE, OFFSET = "_quantized", "_scale", "_zero_point"


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read every weight under the name that it has in transformers.

    Args:
        path: of the ONNX file.

    Returns:
        Name -> float32 tensor; matrices are (outputs, inputs), as in
        `torch.nn.Linear`.

    Raises:
        UserError: onnx is not installed, or a matrix is packed in a way that
            is not known here.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            f"{path.name} is read with the package onnx, which is not"
            " installed; run `pip install --no-deps onnx==1.22.0`"
        ) from error
    graph = onnx.load(path).graph
    arrays = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
    }
    weights = _plain(arrays) | _embeddings(arrays)
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            weights[_weight_name(node.name)] = _matrix(node, arrays)
    return {
        name: torch.from_numpy(np.array(array, np.float32))
        for name, array in weights.items()
    }


def _plain(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return biases and LayerNorm, which kept names and numbers."""
    return {
        name: array
        for name, array in arrays.items()
        if name.endswith((".weight", ".bias")) and "::" not in name
    }


def _embeddings(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tables of vectors, which were packed as bytes."""
    names = [
        name.removesuffix(QUANTISED)
        for name in arrays
        if name.endswith(QUANTISED)
    ]
    return {
        name: arrays[name + SCALE]
        * (
            arrays[name + QUANTISED].astype(np.float32)
            - arrays[name + OFFSET].astype(np.float32)
        )
        for name in names
    }


def _weight_name(node: str) -> str:
    """Turn `/bert/pooler/dense/MatMul_Q4` into `bert.pooler.dense.weight`."""
    return ".".join([*node.strip("/").split("/")[:-1], "weight"])


def _matrix(node: Any, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return the matrix (outputs, inputs) that a product is made with.

    Raises:
        UserError: it is packed with other than 4 bits, with zero points of its
            own, or with reordered columns.
    """
    settings = {setting.name: setting.i for setting in node.attribute}
    others = [name for name in node.input[3:] if name]
    if settings["bits"] != 4 or others:
        raise UserError(
            f"{node.name} is packed in a way that is not read here"
            f" ({settings['bits']} bits, {', '.join(others) or 'no'} further"
            " inputs); export the model with 4 bits, symmetric"
        )
    outputs, inputs = settings["N"], settings["K"]
    packed, scales = (arrays[name] for name in node.input[1:3])
    # Two numbers a byte, the first in its lower half.
    numbers = np.stack([packed & 15, packed >> 4], axis=-1)
    blocks = numbers.reshape(outputs, -1, settings["block_size"])
    values = (blocks.astype(np.float32) - ZERO_POINT) * scales.reshape(
        outputs, -1, 1
    )
    return values.reshape(outputs, -1)[:, :inputs]  # the last block: padding
