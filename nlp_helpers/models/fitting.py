"""Whether a tokenizer fits its model: what it adds, its ids, its lengths.

Tokenizers are files of their own, and those of published models do not always
agree with the model beside them. `loading` asks once, for every notebook.
"""

import inspect

from tokenizers import processors
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from nlp_helpers.core.errors import UserError

# Their positions are counted from the padding's id on, as RoBERTa's are: a
# model of 514 positions reads 512 tokens.
POSITIONS_AFTER_PADDING = {
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
PROBE = "a"  # any text shows what is added to every text


def max_length(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase | None = None
) -> int:
    """Return the tokens of the longest text that a model reads.

    The smaller of what the tokenizer names and what the model has positions
    for; VERY_LARGE_INTEGER, as transformers has it, if neither names a limit.

    Args:
        config: of the model.
        tokenizer: its limit counts too, if it is given and names one.
    """
    text_config = config.get_text_config()
    positions = getattr(text_config, "max_position_embeddings", None)
    if positions and text_config.model_type in POSITIONS_AFTER_PADDING:
        positions -= (text_config.pad_token_id or 0) + 1
    named = tokenizer.model_max_length if tokenizer is not None else None
    # XLNet says -1 for no limit.
    limits = [int(limit) for limit in (positions, named) if limit]
    return min((n for n in limits if n > 0), default=VERY_LARGE_INTEGER)


def fit_tokenizer(
    name: str, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
) -> None:
    """Compare the tokenizer's ids with the model's, and set its max length.

    Args:
        name: of the model, for the message.
        tokenizer: its `model_max_length` becomes `max_length`.
        config: of the model.

    Raises:
        UserError: the tokenizer has ids that the model has no rows for.
    """
    tokenizer.model_max_length = max_length(config, tokenizer)
    rows = getattr(config.get_text_config(), "vocab_size", None)
    token, highest = max(
        tokenizer.get_vocab().items(), key=lambda pair: pair[1]
    )
    if rows and highest >= rows:
        raise UserError(
            f"{name}: the tokenizer has ids up to {highest} ({token!r}), and"
            f" the model has {rows} rows of embeddings, 0 to {rows - 1}; put"
            " the tokenizer files that belong to this model into its folder"
        )


def fit_inputs(
    name: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> None:
    """Let the tokenizer give what the model takes, and nothing after a prompt.

    A model that continues a text gets no token that closes the text: it would
    go on after the end. Nor does it get segment ids: GPT-2 takes them, and
    adds the vectors of words that nobody wrote. Says so in one line.

    Raises:
        UserError: the tokenizer closes texts, and is not a fast one.
    """
    taken = set(inspect.signature(model.forward).parameters)
    if model.can_generate():
        taken.discard("token_type_ids")
    tokenizer.model_input_names = [
        name for name in tokenizer.model_input_names if name in taken
    ]
    before, after = added_tokens(tokenizer)
    if model.can_generate() and after:
        closing = " ".join(tokenizer.convert_ids_to_tokens(after))
        if not tokenizer.is_fast:
            raise UserError(
                f"{name}: the tokenizer closes each text with {closing}, and"
                " is written in Python, where this cannot be changed; choose a"
                " model with a tokenizer.json"
            )
        _add_in_front_alone(tokenizer, before)
        print(
            f"{name}: the tokenizer closes each text with {closing}; left out"
            " here, because the text is to be continued"
        )
    opening = tokenizer.cls_token
    if not model.can_generate() and opening:
        if tokenizer.cls_token_id not in (*before, *after):
            print(
                f"{name}: the tokenizer puts no {opening} before a text, as"
                " models of this kind expect; its answers may be worse"
            )


def added_tokens(
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer puts before and after every text."""
    inner = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    whole = tokenizer(PROBE)["input_ids"]
    for start in range(len(whole) - len(inner) + 1):
        end = start + len(inner)
        if whole[start:end] == inner:
            return whole[:start], whole[end:]
    return [], []


def _add_in_front_alone(
    tokenizer: PreTrainedTokenizerBase, before: list[int]
) -> None:
    """Make a fast tokenizer put `before` before a text, nothing after it."""
    tokens = tokenizer.convert_ids_to_tokens(before)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=[*tokens, "$A"],
        pair=[*tokens, "$A", "$B:1"],
        special_tokens=list(dict(zip(tokens, before, strict=True)).items()),
    )
