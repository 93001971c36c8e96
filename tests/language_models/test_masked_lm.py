import re

import pytest
import torch
from small_bert import small_config
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertForMaskedLM,
    BertTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizerFast,
    pipeline,
)

from nlp_helpers.core.errors import UserError
from nlp_helpers.language_models import masked_lm
from nlp_helpers.models import loading

SENTENCES = [
    "This is a [MASK].",
    "He is a [MASK].",
    "[MASK] and [MASK] went up the [MASK].",
]


@pytest.fixture(scope="module")
def bert():
    return loading.load_model("minilm-l6-mlm", BertForMaskedLM)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """Return a tiny RoBERTa with random weights; its mask is <mask>."""
    folder = tmp_path_factory.mktemp("roberta")
    trainer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer.train_from_iterator(SENTENCES, 400, special_tokens=special)
    trainer.save_model(str(folder))
    tokenizer = RobertaTokenizerFast.from_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    return tokenizer, RobertaForMaskedLM(config).eval()


@pytest.mark.parametrize("name", ["bert", "roberta"])
@pytest.mark.parametrize("sentence", SENTENCES)
def test_answers_equal_the_pipeline(name, sentence, request):
    tokenizer, model = request.getfixturevalue(name)
    text = masked_lm.use_mask_token(sentence, tokenizer)
    expected = pipeline("fill-mask", model=model, tokenizer=tokenizer)(text)
    if sentence.count("[MASK]") == 1:
        expected = [expected]
    [answer] = masked_lm.fill_mask([sentence], tokenizer, model)
    assert len(answer) == sentence.count("[MASK]")
    for ours, theirs in zip(answer, expected, strict=True):
        for candidate, other in zip(ours, theirs, strict=True):
            assert set(candidate) == set(other)
            score = other.pop("score")
            assert candidate.pop("score") == pytest.approx(score, rel=1e-4)
            assert candidate == other


def test_the_mask_becomes_the_tokenizers_own(roberta):
    tokenizer, _ = roberta
    text = masked_lm.use_mask_token(SENTENCES[2], tokenizer)
    assert text == "<mask> and <mask> went up the <mask>."


def test_a_sentence_without_mask_is_named(bert):
    with pytest.raises(UserError, match="'No blank here.'"):
        masked_lm.fill_mask([SENTENCES[0], "No blank here."], *bert)


@pytest.mark.parametrize("written", ["[mask]", "[Mask]", "[ MASK ]"])
def test_a_mask_in_small_letters_gets_a_hint(bert, written):
    for sentence in (f"This is a {written}.", f"A [MASK] and a {written}."):
        with pytest.raises(
            UserError, match=r"; write \[MASK\], in capit"
        ) as e:
            masked_lm.fill_mask([sentence], *bert)
        assert repr(written) in str(e.value)


PAIR = ("who was puppet expert ?", "puppet expert was a puppeteer")


@pytest.mark.parametrize(
    ("word", "positions"),
    [
        ("expert", [8]),
        ("Expert", [8]),
        ("puppeteer", [11, 12]),
        ("PUPPETEER", [11, 12]),
        ("puppet", [7]),
        ("puppet expert", [7, 8]),
    ],
)
def test_a_word_is_found_with_all_its_pieces(bert, word, positions):
    tokenizer, _ = bert
    tokens = tokenizer.tokenize("[CLS] {} [SEP] {} [SEP]".format(*PAIR))
    start = tokens.index("[SEP]")
    assert masked_lm.find_word(word, tokens, start, tokenizer) == positions


@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("expret", "reads as 'the puppeteer expert'; did you mean 'expert'?"),
        ("puppet", "; did you mean 'puppeteer'?"),
        ("battery", "; name one of its words"),
        (" ", "; name one of its words"),
    ],
)
def test_a_part_of_a_word_is_no_word(bert, word, end):
    tokenizer, _ = bert
    tokens = tokenizer.tokenize("[CLS] a [SEP] the puppeteer expert [SEP]")
    with pytest.raises(UserError) as found:
        masked_lm.find_word(word, tokens, 2, tokenizer)
    assert str(found.value).endswith(end)


def test_capitals_count_where_the_tokenizer_keeps_them():
    words = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "an", "Expert"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = BertTokenizerFast(vocab=vocabulary, do_lower_case=False)
    tokens = tokenizer.tokenize("[CLS] an [SEP] an Expert [SEP]")
    assert masked_lm.find_word("Expert", tokens, 2, tokenizer) == [4]
    with pytest.raises(UserError, match="'expert' .* did you mean 'Expert'"):
        masked_lm.find_word("expert", tokens, 2, tokenizer)


def test_two_sentences_are_checked_before_they_are_joined(bert):
    tokenizer, model = bert
    masked_lm.check_pair(*PAIR, tokenizer, model)
    masked_lm.check_pair("☃", "a [MASK] was", tokenizer, model)
    for mark in ("[SEP]", "[CLS]", "[PAD]"):
        with pytest.raises(UserError, match=rf"'a {re.escape(mark)} b' cont"):
            masked_lm.check_pair("who ?", f"a {mark} b", tokenizer, model)
    with pytest.raises(UserError, match="has 903 tokens, the model reads 512"):
        masked_lm.check_pair("a " * 300, "b " * 600, tokenizer, model)
    for pair in (("\u200b", "a [MASK]"), ("who ?", "\u200b\u200d")):
        with pytest.raises(UserError, match="has no token"):
            masked_lm.check_pair(*pair, tokenizer, model)


def test_a_model_that_is_no_bert_of_two_sentences_is_refused(bert, roberta):
    with pytest.raises(UserError, match=r"does not build \[CLS\] first .*; n"):
        masked_lm.check_pair(*PAIR, *roberta)
    model = BertForMaskedLM(small_config(type_vocab_size=1))
    with pytest.raises(UserError, match="no segment id for a second sent"):
        masked_lm.check_pair(*PAIR, bert[0], model)


def test_a_sentence_that_is_too_long_is_named(bert):
    with pytest.raises(UserError, match="'word word.* has 6.. tokens"):
        masked_lm.fill_mask(["word " * 600 + "[MASK]."], *bert)


def test_a_limit_that_the_tokenizer_does_not_name_is_the_models(roberta):
    tokenizer, model = roberta
    assert tokenizer.model_max_length > 10**9
    fits = "a " * 505 + "[MASK]."
    assert len(masked_lm.fill_mask([fits], tokenizer, model)[0]) == 1
    with pytest.raises(UserError, match="has 513 tokens, the model reads 510"):
        masked_lm.fill_mask(["a a a " + fits], tokenizer, model)


def test_a_model_without_mask_token_is_refused():
    tokenizer = loading.load_tokenizer("smollm2-135m")
    with pytest.raises(UserError, match="has no mask token; choose"):
        masked_lm.use_mask_token(SENTENCES[0], tokenizer)


@pytest.mark.parametrize(
    ("question", "answer", "word"),
    [
        ("who was puppet expert ?", "puppet [MASK] was a puppeteer", "expert"),
        ("who was jim henson ?", "jim [MASK] was a puppeteer", "henson"),
    ],
)
def test_the_trained_head_copies_a_name_from_the_question(
    bert, question, answer, word
):
    tokenizer, model = bert
    encoded = tokenizer(question, answer, return_tensors="pt")
    position = encoded.input_ids[0] == tokenizer.mask_token_id
    with torch.no_grad():
        logits = model(**encoded).logits[0, position][0]
    assert tokenizer.decode([logits.argmax()]) == word
