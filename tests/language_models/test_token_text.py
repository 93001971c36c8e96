import pytest
import small_causal
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from nlp_helpers.core.errors import UserError
from nlp_helpers.language_models import next_token, token_text
from nlp_helpers.models import loading


@pytest.fixture(scope="module")
def smollm():
    return loading.load_tokenizer("smollm2-135m")


@pytest.fixture(scope="module")
def sentencepiece():
    """A tokenizer with a token for each byte, as Llama 2's has."""
    tokens = ["<unk>", "▁", "a", "b", *(f"<0x{n:02X}>" for n in range(256))]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>"
    )


def texts_of(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [token_text.token_text(tokenizer, number) for number in ids]


def test_half_characters_are_shown_as_bytes(smollm, sentencepiece):
    assert texts_of(smollm, "你 is") == ["<0xE4><0xBD>", "<0xA0>", " is"]
    assert texts_of(sentencepiece, "a 你") == [
        *["a", " ", "<0xE4>", "<0xBD>", "<0xA0>"]
    ]
    # The sign itself, which somebody typed, is no half character.
    ids = smollm("\ufffd")["input_ids"]
    assert token_text.ids_text(smollm, ids) == "\ufffd"


def test_halves_side_by_side_are_joined(smollm):
    ids = smollm("Say 你好")["input_ids"]
    assert token_text.ids_text(smollm, ids) == "Say 你好"
    assert token_text.ids_text(smollm, ids[:-1]) == "Say 你<0xE5><0xA5>"


def test_an_id_without_a_token_is_shown_by_its_number(smollm):
    assert token_text.token_text(smollm, 60_000) == "<id 60000>"


def test_the_tables_of_notebook_1_show_bytes(smollm):
    logits = torch.zeros(len(smollm))
    ids = smollm("你")["input_ids"]
    logits[ids] = torch.tensor([9.0, 8.0])
    best = next_token.top_k_table(logits, smollm, 2)
    assert best["token"].tolist() == ["<0xE4><0xBD>", "<0xA0>"]
    model = small_causal.make_model("llama", smollm)
    prompt = torch.tensor([smollm("Say 你")["input_ids"][:-1]])
    _, steps = next_token.decode_greedily(model, smollm, prompt, 1)
    assert steps["text so far"].iloc[0] == "Say <0xE4><0xBD>"


@pytest.mark.parametrize(
    "prompt",
    [
        "what is name of the Indian",
        "what is name of the Indian  ",
        " two  spaces\n",
        "你好 ꙮ 😀",
        "x <|im_start|>y \ufffd",
    ],
)
def test_a_prompt_that_the_model_reads_as_typed_says_nothing(
    smollm, capsys, prompt
):
    token_text.check_prompt(prompt, smollm)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("prompt", "read", "lost"),
    [
        # SmolLM2 has no token for the bytes F1 and 04.
        ("a \U00040000", "a <0x80><0x80><0x80>", "(U+40000 without a name)"),
        ("a\x04b", "'ab'", "'\\x04' (U+0004 without a name)"),
    ],
)
def test_what_a_prompt_lost_is_said(smollm, capsys, prompt, read, lost):
    token_text.check_prompt(prompt, smollm)
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("the model reads another text than the prompt: ")
    assert read in line and line.endswith(lost)


def test_capitals_and_unknown_words_are_named(capsys):
    bert = loading.load_tokenizer("minilm-l6")
    token_text.check_prompt("Stop ☃", bert)
    [line] = capsys.readouterr().out.splitlines()
    assert line == (
        "the model reads another text than the prompt: 'stop [UNK]'; lost:"
        " 'S' (U+0053 LATIN CAPITAL LETTER S), '☃' (U+2603 SNOWMAN)"
    )
    token_text.check_prompt("stop  it", bert)
    [line] = capsys.readouterr().out.splitlines()
    assert line == "the model reads other spaces than the prompt: 'stop it'"


def test_a_prompt_of_which_nothing_is_left_is_refused():
    tokenizer = small_causal.make_tokenizer(alphabet=[])
    assert tokenizer("你")["input_ids"] == []
    with pytest.raises(UserError, match="no token for anything in .* '你'"):
        token_text.check_prompt("你", tokenizer)
