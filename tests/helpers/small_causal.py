"""Small models that continue texts, drawn at random, with own tokenizers."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

TEXTS = ["what is the name of the Indian", "the capital of France is Paris"]
SPECIAL = ["<s>", "</s>"]
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
CONFIGS = {"gpt2": GPT2Config, "gpt_neox": GPTNeoXConfig, "llama": LlamaConfig}


def make_tokenizer(template="$A", alphabet=None, **settings):
    """Train a byte-level tokenizer on TEXTS.

    Args:
        template: what is put around a text, such as `<s> $A </s>`.
        alphabet: the bytes it knows, as characters; None is all 256.
        settings: of transformers' tokenizer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if alphabet is None:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template,
        special_tokens=[(token, SPECIAL.index(token)) for token in SPECIAL],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"bos_token": "<s>", "eos_token": "</s>"} | settings,
    )


def make_model(kind, tokenizer, spare_rows=0, **settings):
    """Draw a model of a kind of CONFIGS with a row for each token, or more."""
    torch.manual_seed(0)
    config = CONFIGS[kind](
        vocab_size=len(tokenizer) + spare_rows,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
        **SMALL | settings,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def save(folder, kind="llama", spare_rows=0, tokenizer=None, **settings):
    """Write a model folder; return its tokenizer as it was written."""
    tokenizer = tokenizer or make_tokenizer()
    model = make_model(kind, tokenizer, spare_rows, **settings)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer
