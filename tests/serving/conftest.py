import asyncio

import pytest
import torch
from small_bert import small_config
from transformers import BertForSequenceClassification

from nlp_helpers.classification import checkpoints
from nlp_helpers.data.labels import ID2LABEL, LABEL2ID
from nlp_helpers.models import loading
from nlp_helpers.serving.process import start_server

PRELOADED = ("text-classification", "fill-mask", "feature-extraction")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A small classifier with the tokenizer of MiniLM."""
    torch.manual_seed(0)
    config = small_config(
        num_hidden_layers=2,
        id2label=ID2LABEL,
        label2id=LABEL2ID,
        initializer_range=0.3,  # so that the answers differ
    )
    path = tmp_path_factory.mktemp("served") / "checkpoint"
    checkpoints.save_model(
        path,
        BertForSequenceClassification(config),
        loading.load_tokenizer("minilm-l6"),
    )
    return str(path)


@pytest.fixture(scope="session")
def server(checkpoint):
    """The address of a service, in a process of its own."""
    options = [f"--preload={task}" for task in PRELOADED]
    with start_server(checkpoint, *options) as url:
        yield url


@pytest.fixture
def run():
    """Run a coroutine to its end."""
    return asyncio.run
