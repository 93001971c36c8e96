import json

import pytest
import small_causal
import torch
from small_bert import small_config
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertForMaskedLM,
    BertModel,
    ByT5Tokenizer,
    CamembertConfig,
    DistilBertConfig,
    DistilBertForMaskedLM,
    EsmConfig,
    GenerationConfig,
    IBertConfig,
    LongformerConfig,
    LukeConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
    XLNetConfig,
    XmodConfig,
)

from nlp_helpers.core.errors import UserError
from nlp_helpers.language_models import next_token
from nlp_helpers.models import fitting, loading

PROMPT = "the name of the Indian"


def continue_as_notebook_1_does(tokenizer, model):
    """Return the ids of `generate`, and those of the loop."""
    encoded = tokenizer(PROMPT, return_tensors="pt")
    by_loop, _ = next_token.decode_greedily(
        model, tokenizer, encoded["input_ids"], 4
    )
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    generated = model.generate(**encoded, max_new_tokens=4, do_sample=False)
    return generated, by_loop


@pytest.mark.parametrize("kind", small_causal.CONFIGS)
@pytest.mark.parametrize(
    ("template", "opening"),
    [
        ("$A </s>", []),
        ("<s> $A </s>", [0]),
        ("</s> $A", [1]),
        ("</s> $A </s> </s>", [1]),
    ],
)
def test_a_prompt_is_not_closed(root, capsys, kind, template, opening):
    tokenizer = small_causal.make_tokenizer(template)
    plain = tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    small_causal.save(root / "mine", kind, tokenizer=tokenizer)
    tokenizer, model = loading.load_model("mine", AutoModelForCausalLM)
    assert tokenizer(PROMPT)["input_ids"] == [*opening, *plain]
    assert tokenizer(PROMPT, "b")["input_ids"][-1] != 1
    generated, by_loop = continue_as_notebook_1_does(tokenizer, model)
    assert torch.equal(generated, by_loop)
    said = "mine: the tokenizer closes each text with </s>"
    assert (said in capsys.readouterr().out) == template.endswith("</s>")


def test_a_tokenizer_in_python_that_closes_texts_is_refused():
    tokenizer = ByT5Tokenizer()
    model = small_causal.make_model("llama", tokenizer)
    with pytest.raises(UserError, match="mine: .* closes each .* </s>, and"):
        fitting.fit_inputs("mine", tokenizer, model)


@pytest.mark.parametrize("kind", small_causal.CONFIGS)
def test_segment_ids_do_not_reach_a_model_that_continues(root, kind):
    """GPT-2 would take them, and add the vector of word 0 to each token."""
    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = small_causal.make_tokenizer(model_input_names=names)
    assert "token_type_ids" in tokenizer(PROMPT)
    small_causal.save(root / "mine", kind, tokenizer=tokenizer)
    tokenizer, model = loading.load_model("mine", AutoModelForCausalLM)
    assert set(tokenizer(PROMPT)) == {"input_ids", "attention_mask"}
    generated, by_loop = continue_as_notebook_1_does(tokenizer, model)
    assert torch.equal(generated, by_loop)


def test_a_model_without_segments_gets_no_segment_ids(root):
    config = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    DistilBertForMaskedLM(config).save_pretrained(root / "mine")
    before = loading.load_tokenizer("minilm-l6")
    before.save_pretrained(root / "mine")
    assert "token_type_ids" in before("A [MASK].")
    tokenizer, model = loading.load_model("mine", AutoModelForMaskedLM)
    assert set(tokenizer("A [MASK].")) == {"input_ids", "attention_mask"}
    with torch.no_grad():
        model(**tokenizer("A [MASK].", return_tensors="pt"))


def test_a_model_with_segments_gets_segment_ids(root):
    BertForMaskedLM(small_config()).save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    tokenizer, _ = loading.load_model("mine", AutoModelForMaskedLM)
    ids = tokenizer("a", "b")
    assert ids["token_type_ids"] == [0, 0, 0, 1, 1]
    assert ids["input_ids"][-1] == tokenizer.sep_token_id


def test_ids_above_the_models_rows_are_refused(root):
    tokenizer = small_causal.save(root / "mine", spare_rows=-1)
    size = len(tokenizer)
    message = rf"mine: the tokenizer has ids up to {size - 1} \('.+'\), and"
    with pytest.raises(UserError, match=message) as found:
        loading.load_model("mine", AutoModelForCausalLM)
    assert f"has {size - 1} rows" in str(found.value)
    assert "\n" not in str(found.value)
    with pytest.raises(UserError, match=message):
        loading.load_tokenizer("mine")  # notebook 4 asks for no weights


def test_an_added_token_without_a_row_is_refused(root):
    tokenizer = small_causal.save(root / "mine")
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(root / "mine")
    with pytest.raises(UserError, match="'<new>'"):
        loading.load_model("mine", AutoModelForCausalLM)


def test_rows_above_the_tokenizers_ids_are_fine(root):
    small_causal.save(root / "mine", spare_rows=7)
    generated, by_loop = continue_as_notebook_1_does(
        *loading.load_model("mine", AutoModelForCausalLM)
    )
    assert torch.equal(generated, by_loop)


def test_a_bert_whose_texts_begin_without_cls_says_so(root, capsys):
    BertModel(small_config()).save_pretrained(root / "mine")
    tokenizer = loading.load_tokenizer("minilm-l6")
    loading.load_model("minilm-l6", BertModel)
    assert "puts no" not in capsys.readouterr().out
    tokenizer.save_pretrained(root / "mine")
    path = root / "mine" / "tokenizer.json"
    rules = json.loads(path.read_text())
    del rules["post_processor"]
    path.write_text(json.dumps(rules))
    settings = root / "mine" / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.write_text(json.dumps(content))
    loading.load_model("mine", BertModel)
    assert "mine: the tokenizer puts no [CLS] be" in capsys.readouterr().out


SHORT = {
    "vocab_size": 50,
    "max_position_embeddings": 20,
    "pad_token_id": 1,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (CamembertConfig, 18),
        (EsmConfig, 18),
        (IBertConfig, 18),
        (LongformerConfig, 18),
        (LukeConfig, 18),
        (MPNetConfig, 18),
        (RobertaConfig, 18),
        (XLMRobertaConfig, 18),
        (XmodConfig, 18),
        (DistilBertConfig, 20),
    ],
)
def test_a_model_reads_as_many_tokens_as_it_says_and_no_more(kind, limit):
    others = {"attention_window": 4} if kind is LongformerConfig else {}
    others |= {"default_language": "en_XX"} if kind is XmodConfig else {}
    others |= {"entity_vocab_size": 9} if kind is LukeConfig else {}
    config = kind(**SHORT, **others)
    assert fitting.max_length(config) == limit
    model = AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        model(input_ids=torch.full((1, limit), 7))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, limit + 1), 7))


@pytest.mark.parametrize(
    ("named", "limit"),
    [
        (None, 512),  # no limit: transformers makes it 10 to the 30
        (100_000, 512),
        (512, 512),
        (128, 128),
        (0, 512),
        (-1, 512),
    ],
)
def test_the_limit_is_the_smaller_one(root, named, limit):
    BertForMaskedLM(small_config()).save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    path = root / "mine" / "tokenizer_config.json"
    content = json.loads(path.read_text()) | {"model_max_length": named}
    path.write_text(json.dumps(content))
    assert loading.load_tokenizer("mine").model_max_length == limit
    tokenizer, model = loading.load_model("mine", BertForMaskedLM)
    assert fitting.max_length(model.config, tokenizer) == limit
    assert tokenizer.model_max_length == limit


def test_a_model_of_relative_positions_has_no_limit():
    assert fitting.max_length(XLNetConfig()) > 10**9
