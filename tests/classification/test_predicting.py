import io
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from runs import command
from small_bert import save_classifier, small_config
from transformers import BertForSequenceClassification, pipeline

from nlp_helpers.classification import checkpoints, predicting
from nlp_helpers.core.errors import UserError
from nlp_helpers.data.labels import ID2LABEL, LABEL2ID
from nlp_helpers.models import loading

TEXTS = ["a good camera", "it broke", "it broke, sadly, after a week " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_classifier(
        tmp_path_factory.mktemp("classifier") / "checkpoint"
    )


@pytest.fixture(scope="module")
def loaded(folder):
    return predicting.load_classifier(str(folder))


def test_a_model_folder_holds_no_pickle(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt"))]


def test_an_answer_has_text_label_and_probabilities(loaded):
    answers = list(predicting.classify(TEXTS, *loaded))
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
        predicting.classify(texts, *loaded), plain(texts), strict=True
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

    answers = predicting.classify(endless(), *loaded)
    for _ in range(predicting.TEXTS_AT_ONCE + 1):
        next(answers)
    assert len(asked) == 2 * predicting.TEXTS_AT_ONCE


def test_a_long_text_is_cut(loaded):
    [answer] = predicting.classify([" good" * 2000], *loaded)
    [same] = predicting.classify([" good" * 510], *loaded)
    assert answer["label"] == same["label"]
    assert answer["positive"] == pytest.approx(same["positive"], abs=1e-5)


def test_labels_are_named_by_their_numbers(folder, loaded, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    names = config["id2label"]
    config["id2label"] = {number: names[number] for number in ("2", "0", "1")}
    (copy / "config.json").write_text(json.dumps(config))
    found = predicting.classify(TEXTS, *predicting.load_classifier(str(copy)))
    assert list(found) == list(predicting.classify(TEXTS, *loaded))


def test_a_text_is_cut_to_the_positions_of_the_model(tmp_path):
    config = small_config(
        max_position_embeddings=64,
        id2label=ID2LABEL,
        label2id=LABEL2ID,
    )
    checkpoints.save_model(
        tmp_path / "short",
        BertForSequenceClassification(config),
        loading.load_tokenizer("minilm-l6"),
    )
    short = predicting.load_classifier(str(tmp_path / "short"))
    texts = [" good" * 2000, " good" * 62]
    [cut, same] = predicting.classify(texts, *short)
    assert cut["positive"] == pytest.approx(same["positive"], abs=1e-5)


@pytest.mark.parametrize("names", [("text", "b", "c"), ("a", "b", "b")])
def test_labels_that_cannot_be_told_apart_are_one_line(
    folder, tmp_path, names
):
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["id2label"] = dict(enumerate(names))
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="id2label of config.json") as caught:
        predicting.load_classifier(str(other))
    assert str(other) in str(caught.value)


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
    expected = list(predicting.classify([t.strip() for t in TEXTS], *loaded))
    assert [a["label"] for a in answers] == [e["label"] for e in expected]
    found = [[a[name] for name in LABEL2ID] for a in answers]
    np.testing.assert_allclose(
        found, [[e[name] for name in LABEL2ID] for e in expected], atol=1e-5
    )
    assert "3 texts, " in done.stderr


def test_json_lines_are_utf_8_in_any_locale(folder, python):
    done = predict(
        python,
        folder,
        input="so good 😀\n",
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "latin1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "so good 😀"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("model.safetensors", b"damaged", "cannot be opened"),
        ("model.safetensors", None, "cannot be opened"),
        ("config.json", b"{", "cannot be opened"),
        ("tokenizer.json", b"{", "cannot be opened"),
        ("tokenizer.json", None, "has no tokenizer"),
    ],
)
def test_a_damaged_folder_is_one_line(
    folder, tmp_path, name, content, message
):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / name).unlink()
    if content is not None:
        (other / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        predicting.load_classifier(str(other))
    assert "\n" not in str(caught.value) and str(other) in str(caught.value)


def test_others_may_read_a_model_folder(folder):
    assert (folder / "model.safetensors").stat().st_mode & 0o044 == 0o044


def test_no_texts_have_no_logits(loaded):
    assert loaded[1].predict_logits([]).shape == (0, 3)


def type_in(monkeypatch, text):
    """Give standard input a text, for a command in this process."""
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    monkeypatch.setattr("sys.stdin", stdin)


def test_the_command_prints_a_table(folder, monkeypatch):
    type_in(monkeypatch, "[bold]good[/bold]\n")
    options = ("--checkpoint", str(folder), "--format", "table")
    done = command("predict", *options)
    assert done.returncode == 0, done.stderr
    header = done.stdout.splitlines()[1]
    assert "neutral" in header and "negative" in header
    assert "[bold]good[/bold]" in done.stdout


def test_no_text_is_one_line(folder, monkeypatch):
    type_in(monkeypatch, "\n \n")
    done = command("predict", "--checkpoint", str(folder))
    assert done.returncode == 1
    assert "error: the input has no text" in done.stderr
    assert "Traceback" not in done.stderr
