import io
import json
import subprocess

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, pipeline

from nlp_helpers import checkpoints, classifier, models
from nlp_helpers.errors import UserError
from nlp_helpers.reviews import ID2LABEL, LABEL2ID

TEXTS = ["a good camera", "it broke", "it broke, sadly, after a week " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=ID2LABEL,
        label2id=LABEL2ID,
        initializer_range=0.3,  # so that the answers differ
    )
    path = tmp_path_factory.mktemp("classifier") / "checkpoint"
    checkpoints.save_model(
        path,
        BertForSequenceClassification(config),
        models.load_tokenizer("minilm-l6"),
    )
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return classifier.load(str(folder))


def test_a_model_folder_holds_no_pickle(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt"))]


def test_an_answer_has_text_label_and_probabilities(loaded):
    answers = list(classifier.classify(TEXTS, *loaded))
    assert [answer["text"] for answer in answers] == TEXTS
    names = list(ID2LABEL.values())
    for answer in answers:
        assert list(answer) == ["text", "label", *names]
        assert sum(answer[name] for name in names) == pytest.approx(1)
        assert answer["label"] == max(names, key=answer.get)


def test_the_folder_opens_in_a_plain_pipeline_with_the_same_answers(
    folder, loaded
):
    plain = pipeline("text-classification", str(folder), top_k=None)
    texts = [text[:300] for text in TEXTS]
    for ours, theirs in zip(
        classifier.classify(texts, *loaded), plain(texts), strict=True
    ):
        expected = {row["label"]: row["score"] for row in theirs}
        assert ours["label"] == theirs[0]["label"]
        for name, value in expected.items():
            assert ours[name] == pytest.approx(value, abs=1e-4)


def test_texts_are_read_no_further_than_answers_are_asked_for(loaded):
    asked = []

    def endless():
        while True:
            asked.append("a good camera")
            yield asked[-1]

    answers = classifier.classify(endless(), *loaded)
    for _ in range(classifier.TEXTS_AT_ONCE + 1):
        next(answers)
    assert len(asked) == 2 * classifier.TEXTS_AT_ONCE


def test_a_long_text_is_cut(loaded):
    [answer] = classifier.classify([" good" * 2000], *loaded)
    [same] = classifier.classify([" good" * 510], *loaded)
    assert answer["label"] == same["label"]
    assert answer["positive"] == pytest.approx(same["positive"], abs=1e-5)


def test_lines_without_text_are_passed_over():
    file = io.StringIO("one\n\n  \n two \r\nthree")
    assert list(classifier.read_lines(file)) == ["one", "two", "three"]


def test_another_encoding_is_one_line(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("un café\n".encode("latin1"))
    with path.open(encoding="utf-8") as file:
        with pytest.raises(UserError, match="latin.txt is not UTF-8"):
            list(classifier.read_lines(file))


def predict(python, folder, *options, **how):
    command = [python, "-m", "nlp_helpers", "predict"]
    return subprocess.run(
        [*command, "--checkpoint", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=120,
        **how,
    )


def test_the_command_answers_in_json_lines(folder, loaded, python, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n\n".join(TEXTS))
    done = predict(python, folder, str(path))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    expected = list(classifier.classify([t.strip() for t in TEXTS], *loaded))
    assert [a["label"] for a in answers] == [e["label"] for e in expected]
    found = [[a[name] for name in LABEL2ID] for a in answers]
    np.testing.assert_allclose(
        found, [[e[name] for name in LABEL2ID] for e in expected], atol=1e-5
    )
    assert "3 texts, " in done.stderr


def test_the_command_prints_a_table(folder, python):
    done = predict(
        python, folder, "--format", "table", input="[bold]good[/bold]\n"
    )
    assert done.returncode == 0, done.stderr
    header = done.stdout.splitlines()[1]
    assert "neutral" in header and "negative" in header
    assert "[bold]good[/bold]" in done.stdout


def test_no_text_is_one_line(folder, python):
    done = predict(python, folder, input="\n \n")
    assert done.returncode == 1
    assert "error: the input has no text" in done.stderr
    assert "Traceback" not in done.stderr
