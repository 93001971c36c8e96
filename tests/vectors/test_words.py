import numpy as np
import pytest

from nlp_helpers.core.errors import UserError
from nlp_helpers.vectors import words


def small():
    """Return four words in a plane: two opposite pairs."""
    models = pytest.importorskip("gensim.models")
    vectors = models.KeyedVectors(2)
    matrix = np.array([[1, 0], [0, 2], [-1, 0], [3, 3]], np.float32)
    vectors.add_vectors(["east", "north", "west", "between"], matrix)
    return vectors


def test_words_are_lower_case_and_keep_their_apostrophes():
    text = "It's GREAT, isn't it? 10/10"
    assert words.tokenize(text) == ["it's", "great", "isn't", "it"]


def test_the_nearest_are_by_cosine_and_leave_the_question_out():
    table = words.nearest(small(), ["east", "north"], top_k=2)
    assert table["word"].tolist() == ["between", "west"]
    # The sum is of vectors of length 1: else it would be .95 for `between`.
    assert table["cosine"].tolist() == pytest.approx([1, -(0.5**0.5)])


def test_what_is_subtracted_counts_against():
    table = words.nearest(small(), ["north"], ["east"], top_k=1)
    assert table["word"].tolist() == ["west"]


def test_a_word_without_a_vector_is_one_line():
    with pytest.raises(UserError, match="'South' has no vector among these 4"):
        words.nearest(small(), ["South"])


def test_the_mean_leaves_out_the_word_itself_and_what_is_unknown():
    texts = ["East of north, somewhere", "east", "nothing"]
    means = words.mean_vectors(small(), texts, ["east", "east", "x"])
    assert means.tolist() == [[0, 2], [0, 0], [0, 0]]


def test_word2vec_puts_words_of_the_same_company_together():
    pytest.importorskip("gensim")
    texts = ["the red apple is sweet", "the red pear is sweet"] * 300
    texts += ["a fast car goes far", "a fast bus goes far"] * 300
    vectors = words.train_word2vec(texts, seed=1, vector_size=8)
    again = words.train_word2vec(texts, seed=1, vector_size=8)
    assert (vectors["apple"] == again["apple"]).all()
    near, far = (vectors.similarity("apple", w) for w in ("pear", "bus"))
    assert near > far + 0.1


def test_too_few_texts_for_word2vec_are_one_line():
    pytest.importorskip("gensim")
    with pytest.raises(UserError, match="no word occurs 3 times"):
        words.train_word2vec(["once"], seed=1)


def test_python_3_10_goes_on_with_other_vectors(monkeypatch, capsys):
    otherwise = small()
    monkeypatch.setattr(words, "GLOVE_PYTHON", (9, 0))  # as if older
    assert words.load_glove(otherwise) is otherwise
    assert "the Word2Vec vectors of the reviews" in capsys.readouterr().out


@pytest.mark.slow
def test_glove_is_the_published_one():
    pytest.importorskip(words.GLOVE_PACKAGE)
    vectors = words.load_glove(small())
    assert vectors.vectors.shape == (400_000, 50)
    table = words.nearest(vectors, ["king", "woman"], ["man"], top_k=1)
    assert table["word"].tolist() == ["queen"]
