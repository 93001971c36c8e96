import numpy as np
import pandas as pd
import pytest
import torch
from small_bert import small_config
from transformers import BertModel

from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading
from nlp_helpers.vectors import senses

TABLE = pd.DataFrame(
    {"word": ["a"] * 4, "sense": ["one", "one", "two", "two"]}
)


def test_the_set_has_twenty_words_two_senses_five_sentences():
    table = senses.read_senses()
    assert table["word"].nunique() == 20 and len(table) == 200
    assert (table.groupby("word")["sense"].nunique() == 2).all()
    assert (table.groupby(["word", "sense"]).size() == 5).all()
    assert table["sentence"].is_unique
    for row in table.itertuples():
        start, end = senses.find(row.word, row.sentence)
        assert row.sentence[start:end].lower() == row.word


@pytest.mark.parametrize("sentence", ["A bench.", "A bank, a bank."])
def test_a_word_must_stand_once(sentence):
    with pytest.raises(UserError, match="'bank' must stand once"):
        senses.find("bank", sentence)


def test_a_word_is_found_whole_and_with_capitals():
    assert senses.find("band", "Bands, a husband; Band!") == (18, 22)


def test_the_vectors_are_the_hidden_states_of_the_words_pieces():
    tokenizer = loading.load_tokenizer("minilm-l6")
    model = BertModel(small_config(num_hidden_layers=2)).eval()
    words = ["puppeteer", "light"]
    sentences = ["A puppeteer came here today.", "Light!"]
    found = senses.layer_vectors(words, sentences, tokenizer, model)
    assert found.shape == (3, 2, 32)
    for row, (sentence, tokens) in enumerate(
        zip(sentences, [slice(2, 4), slice(1, 2)], strict=True)
    ):
        encoded = tokenizer(sentence, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**encoded, output_hidden_states=True).hidden_states
        for layer, states in enumerate(hidden):
            expected = states[0, tokens].mean(dim=0).numpy()
            assert np.allclose(found[layer, row], expected, atol=1e-5)


def test_senses_that_lie_apart_are_told_apart():
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    found = senses.separation(vectors, TABLE)
    assert found["accuracy"] == 1
    assert found["within"] < 0.01 < 0.8 < found["between"]


def test_senses_that_are_mixed_are_not():
    vectors = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]])
    found = senses.separation(vectors, TABLE)
    assert found["accuracy"] == 0 and found["within"] > found["between"]


@pytest.mark.parametrize("width", [3, 50, 384])  # not all sums are exact
def test_one_vector_for_both_senses_is_as_good_as_chance(width):
    vectors = np.full((4, width), 0.1, np.float32)
    found = senses.separation(vectors, TABLE)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["within"] == found["between"] == 0
