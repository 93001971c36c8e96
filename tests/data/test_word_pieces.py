import json
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, processors

from nlp_helpers.core import paths
from nlp_helpers.data import rated_texts, tokenize_worker, word_pieces
from nlp_helpers.models import loading

# What a tokenizer treats in a way of its own, beside letters: special tokens,
# white space of all kinds, controls that vanish, accents that join what they
# stand behind, Chinese, and words of more than 100 letters.
ODD = "[MASK] [SEP] [UNK] ##ing \t \n \r \v \x1c \x85 \u00a0 \u2003 \u3000 \0"
ODD += " \u200b \u200d \u0301 \u0327 e\u0301 İ ΑΣ ß ﬁ \u5b57 \U00020000 가 😀"
ODD += " don't e.g. -- \ufffd \ue000 " + "x" * 101
PIECES = st.one_of(
    st.sampled_from([" ", "  ", *ODD.split(" ")]), st.text(max_size=3)
)
TEXTS = st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=6)


def configure(change):
    """Return the packaged tokenizer after `change`, unpadded and uncut."""
    tokenizer = Tokenizer.from_str(
        loading.load_tokenizer("minilm-l6").backend_tokenizer.to_str()
    )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    change(tokenizer)
    return tokenizer


def keep_case(tokenizer):
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)


def keep_all(tokenizer):
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=False,
        handle_chinese_chars=False,
        strip_accents=False,
        lowercase=False,
    )


def add_tokens(tokenizer):
    tokenizer.add_tokens(
        [
            AddedToken("don't", single_word=True),
            AddedToken("ex", lstrip=True),
            AddedToken("字", normalized=True),
            "😀",
        ]
    )


def leave(tokenizer):
    pass


KINDS = {
    change.__name__: configure(change)
    for change in (leave, keep_case, keep_all, add_tokens)
}


@cache
def open_whole(tokenizer, max_length):
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.enable_truncation(max_length)
    return whole


def encode_whole(tokenizer, texts, max_length):
    whole = open_whole(tokenizer, max_length)
    return [row.ids for row in whole.encode_batch(list(texts))]


def encode_by_word(pieces, texts):
    ids, lengths = pieces.encode(pa.array(texts, pa.large_string()))
    assert len(ids) == lengths.sum() and len(lengths) == len(texts)
    ends = np.cumsum(lengths)[:-1]
    return [row.tolist() for row in np.split(ids, ends)] if texts else []


@pytest.mark.parametrize("kind", KINDS)
@given(texts=TEXTS, max_length=st.sampled_from([3, 9, 512]))
@example(["", " ", "a  b [MASK]", "x" * 101 + " \u0301a", "a \0 b"], 512)
def test_texts_by_word_have_the_ids_of_whole_texts(kind, texts, max_length):
    assert word_pieces.is_by_word(KINDS[kind])
    pieces = word_pieces.WordPieces(KINDS[kind], max_length)
    expected = encode_whole(KINDS[kind], texts, max_length)
    assert encode_by_word(pieces, texts) == expected
    assert encode_by_word(pieces, texts) == expected  # from the table alone


def read_real_reviews():
    """The packaged sentences, and whole reviews beside the project."""
    for name in rated_texts.registry():
        yield from rated_texts.read(name)["text"]
    for path in (paths.project_root().parent / "shared" / "data").glob("*l"):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)["reviewText"]


@pytest.mark.parametrize("kind", KINDS)
def test_real_texts_have_the_ids_of_whole_texts(kind):
    texts = list(read_real_reviews())
    pieces = word_pieces.WordPieces(KINDS[kind], 64)
    found = [
        row
        for start in range(0, len(texts), 1000)
        for row in encode_by_word(pieces, texts[start : start + 1000])
    ]
    assert found == encode_whole(KINDS[kind], texts, 64)
    assert len(pieces.numbers) < sum(text.count(" ") for text in texts) / 4


def test_a_table_that_has_grown_large_is_begun_anew(monkeypatch):
    monkeypatch.setattr(word_pieces, "MAX_TABLE_BYTES", 1000)
    pieces = word_pieces.WordPieces(KINDS["leave"], 9)
    for text in ("a b c d", "e f", "a camera", "x" * 2000, "a"):
        texts = [text, "e"]
        expected = encode_whole(KINDS["leave"], texts, 9)
        assert encode_by_word(pieces, texts) == expected
    assert list(pieces.numbers) == ["a", "e"]


def add_a_token_with_a_space(tokenizer):
    tokenizer.add_tokens(["New York"])


def add_a_token_with_spaces_behind(tokenizer):
    tokenizer.add_tokens([AddedToken("ex", rstrip=True)])


def end_with_both(tokenizer):
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP] [CLS]",
        special_tokens=[("[CLS]", 101), ("[SEP]", 102)],
    )


def strip_spaces(tokenizer):
    tokenizer.normalizer = normalizers.Replace(" ", "")


def leave_unframed(tokenizer):
    tokenizer.post_processor = processors.Sequence([])


@pytest.mark.parametrize(
    "change",
    [
        add_a_token_with_a_space,
        add_a_token_with_spaces_behind,
        end_with_both,
        strip_spaces,
        leave_unframed,
    ],
)
def test_other_tokenizers_get_whole_texts(change, tmp_path):
    tokenizer = configure(change)
    assert not word_pieces.is_by_word(tokenizer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["She left New York.", "", "no " * 9]
    ids, lengths = tokenize_worker.open_tokenizer(
        str(tmp_path / "tokenizer.json"), 6
    )(pa.array(texts, pa.large_string()))
    expected = encode_whole(tokenizer, texts, 6)
    assert lengths.tolist() == [len(row) for row in expected]
    assert ids.tolist() == [token for row in expected for token in row]
