"""The models of the course notebooks: one copy for student and checks."""

from contextlib import redirect_stdout
from functools import lru_cache
from io import StringIO
from typing import Any

from nlp_helpers.models.loading import load_model, load_tokenizer


@lru_cache(maxsize=1)
def causal() -> tuple[Any, Any]:
    """Return tokenizer and model of notebook 01, in float32, on the CPU."""
    from transformers import AutoModelForCausalLM

    with redirect_stdout(StringIO()):
        return load_model("smollm2-135m", AutoModelForCausalLM)


@lru_cache(maxsize=1)
def masked() -> tuple[Any, Any]:
    """Return tokenizer and model of notebooks 02 and 03, as above."""
    from transformers import BertForMaskedLM

    with redirect_stdout(StringIO()):
        return load_model("minilm-l6-mlm", BertForMaskedLM)


@lru_cache(maxsize=1)
def encoder_tokenizer() -> Any:
    """Return the tokenizer of notebooks 04 and 05."""
    with redirect_stdout(StringIO()):
        return load_tokenizer("minilm-l6")
