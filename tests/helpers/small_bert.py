"""The smallest BERT that the tests can do with, drawn at random."""

from transformers import BertConfig


def small_config(**others) -> BertConfig:
    """Return the configuration of two heads and one layer, or as given."""
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    return BertConfig(**sizes | others)
