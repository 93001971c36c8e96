"""The smallest BERT that the tests can do with, drawn at random."""

import torch
from transformers import BertConfig, BertForSequenceClassification

from nlp_helpers.classification import checkpoints
from nlp_helpers.data.labels import ID2LABEL, LABEL2ID
from nlp_helpers.models import loading


def small_config(**others) -> BertConfig:
    """Return the configuration of two heads and one layer, or as given."""
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    return BertConfig(**sizes | others)


def save_classifier(path):
    """Write a checkpoint of the three classes, with MiniLM's tokenizer."""
    torch.manual_seed(0)
    config = small_config(
        num_hidden_layers=2,
        id2label=ID2LABEL,
        label2id=LABEL2ID,
        initializer_range=0.3,  # so that the answers differ
    )
    checkpoints.save_model(
        path,
        BertForSequenceClassification(config),
        loading.load_tokenizer("minilm-l6"),
    )
    return path
