import asyncio

import pytest
from small_bert import save_classifier

from nlp_helpers.serving.process import start_server

PRELOADED = ("text-classification", "fill-mask", "feature-extraction")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A small classifier with the tokenizer of MiniLM."""
    path = tmp_path_factory.mktemp("served") / "checkpoint"
    return str(save_classifier(path))


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
