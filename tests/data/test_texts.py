"""What `predict` takes for a text."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import threading

import pandas as pd
import pytest
from archives import zipped, zstandard

from nlp_helpers.core.errors import UserError
from nlp_helpers.data.texts import read_texts

TEXTS = ['Would, say, "buy" it\nagain', "[sic] fine", "no", "4"]
RECORDS = [{"Id": n, "Text": text, "Score": 5} for n, text in enumerate(TEXTS)]
# Lines hold no line breaks.
FLAT = [text.replace("\n", " ") for text in TEXTS]


def texts_of(path, content, text_field=""):
    path.write_bytes(content)
    with path.open("rb") as file:
        return list(read_texts(file, text_field))


def table(**options):
    return pd.DataFrame(RECORDS).to_csv(index=False, **options).encode()


def stored(write):
    buffer = io.BytesIO()
    write(pd.DataFrame(RECORDS), buffer, index=False)
    return buffer.getvalue()


FORMS = {
    "a.csv": table(),
    "windows.csv": b"\xef\xbb\xbf" + table(lineterminator="\r\n"),
    "semicolons.txt": table(sep=";"),
    "a.tsv": table(sep="\t"),
    "index.csv": pd.DataFrame(RECORDS).to_csv().encode(),
    "lines.txt": pd.DataFrame(RECORDS)
    .to_json(orient="records", lines=True)
    .encode(),
    "array.json": json.dumps(RECORDS, indent=1).encode(),
    "pretty.json": "\n".join(
        json.dumps(r, indent=2) for r in RECORDS
    ).encode(),
    "wrapped.json": json.dumps({"data": {"reviews": RECORDS}}).encode(),
    "a.parquet": stored(pd.DataFrame.to_parquet),
    "a.xlsx": stored(pd.DataFrame.to_excel),
    "texts.json": json.dumps(TEXTS).encode(),
    "literals.txt": "\n".join(map(repr, RECORDS)).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_known_forms_are_read_as_what_they_are(tmp_path, name):
    assert texts_of(tmp_path / name, FORMS[name]) == TEXTS


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        zstandard,
        lambda content: zipped(content, "a.csv", "__MACOSX/._a.csv"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "lines.txt"])
def test_packed_files_are_unpacked(tmp_path, pack, name):
    packed = pack(FORMS[name])
    assert texts_of(tmp_path / f"{name}.packed", packed) == TEXTS


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(FLAT),
        "\ufeff" + "\r\n\r\n  \r\n".join(FLAT),
        "Review, please\n[sic], yes\n",
        '"I like it", she said\n"No"\n',
        "text\nno column\n",
    ],
)
def test_other_lines_are_texts(tmp_path, content):
    expected = [line.strip("\ufeff ") for line in content.splitlines()]
    found = texts_of(tmp_path / "plain.txt", content.encode())
    assert found == [line for line in expected if line]


def test_a_field_can_be_named_and_a_wrong_name_gets_a_hint(tmp_path):
    path = tmp_path / "a.csv"
    content = b"utterance,other\nhello,a\n,b\nbye,c\n"
    assert texts_of(path, content, "utterance") == ["hello", "bye"]
    with pytest.raises(UserError, match="fields are utterance, other. Name"):
        texts_of(path, content)
    with pytest.raises(UserError, match="did you mean 'utterance'"):
        texts_of(path, content, "uterance")
    with pytest.raises(UserError, match="no table and no JSON"):
        texts_of(tmp_path / "plain.txt", b"one\ntwo\n", "text")


def test_the_first_record_may_lack_a_field_that_is_named(tmp_path):
    content = b'{"text": "a"}\n{"title": "T", "text": "b"}\n'
    path = tmp_path / "lines.txt"
    assert texts_of(path, content, "title") == ["T"]
    assert texts_of(path, content, "{title}: {text}") == [": a", "T: b"]
    with pytest.raises(UserError, match="it has text, title; did you mean"):
        texts_of(path, content, "{titel}: {text}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"text": "a"}\n{"text": oops}\n', "line 2: damaged JSON"),
        ("a.csv", b"Text,b\na,b\na,b,c\nd,e\n", "line 3: more or fewer"),
        ("a.csv", b"Text,b\ncaf\xe9,b\nd,e\n", "line 2: invalid UTF-8"),
        ("a.txt", "text".encode("utf-16"), "UTF-16"),
        ("a.xyz", b"PAR1....", "line 1: truncated file"),
        ("a.txt", b"plain\n" * 4000 + b"caf\xe9", "line 4001, is not UTF-8"),
        ("a.html", b"<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        texts_of(tmp_path / name, content)


def test_a_parquet_file_cannot_come_through_a_pipe():
    reader, writer = os.pipe()
    os.write(writer, FORMS["a.parquet"])
    os.close(writer)
    with open(f"/dev/fd/{reader}", "rb") as file:
        with pytest.raises(UserError, match="Parquet file; name the file"):
            list(read_texts(file))
    os.close(reader)


def test_standard_input_streams_and_is_told_apart(python):
    """The first text comes before the last is sent."""
    command = (
        "import sys; from nlp_helpers.data.texts import read_texts\n"
        "for text in read_texts(sys.stdin.buffer): print(text, flush=True)"
    )
    process = subprocess.Popen(
        [python, "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    kill = threading.Timer(60, process.kill)
    kill.start()
    process.stdin.write(b'{"text": "one"}\n')
    process.stdin.flush()
    # The next line is asked for when it comes.
    assert process.stdout.readline() == b"one\n"
    process.stdin.write(b'{"text": "two"}\n')
    process.stdin.close()
    assert process.stdout.read() == b"two\n"
    assert process.wait() == 0
    kill.cancel()
