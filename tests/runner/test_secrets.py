"""No secret gets into what a run writes."""

import html
import json
import os
import subprocess

import pandas as pd
import pytest
from runs import NAME, WRITE_METRICS, run_once, write_notebook
from sklearn.linear_model import LogisticRegression

from nlp_helpers import parameters
from nlp_helpers.core.errors import UserError
from nlp_helpers.runner import secrets, tasks


def test_secrets_are_neither_taken_nor_kept(place, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", 'correct-"horse"-battery')
    token = "hf_" + "a1B2" * 9
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        f"import os; print(os.environ['MY_API_KEY'], 'hf_' + '{token[3:]}')",
        "for word in ('BEGIN', 'END'): print(f'-----{word} PRIVATE KEY-----')",
        WRITE_METRICS,
    )
    result = run_once(place)
    text = result.output.read_text()
    assert "horse" not in text and token not in text
    assert "[removed] [removed]" in text and "END PRIVATE KEY" not in text
    assert "$MY_API_KEY" in result.problem
    assert "a Hugging Face token" in result.problem
    with pytest.raises(UserError, match="looks like a secret"):
        parameters.validate(NAME, {"hub_token": "x"}, "here")
    write_notebook(
        place / "notebooks" / f"{NAME}.ipynb",
        f"raise ValueError('hf_' + '{token[3:]}')",
    )
    assert "ValueError: [removed]" in run_once(place).problem
    record_text = (place / "outputs/offline" / NAME / "run.json").read_text()
    assert token not in record_text


def test_metrics_keep_no_secrets_and_parameters_take_none(place, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "correct-horse")
    monkeypatch.setenv("OTHER_TOKEN", "correct-horse-battery")
    leak = "metrics | {'key': [os.environ['OTHER_TOKEN']]}"
    source = "import os\n" + WRITE_METRICS.replace("metrics)", f"{leak})")
    write_notebook(place / "notebooks" / f"{NAME}.ipynb", source)
    assert "metrics.json held" in run_once(place).problem
    metrics = place / "outputs" / "offline" / NAME / "metrics.json"
    assert json.loads(metrics.read_text())["key"] == ["[removed]"]
    path = place / "params" / "offline" / f"{NAME}.yaml"
    path.write_text(
        path.read_text().replace("what is name", "correct-horse-battery is")
    )
    problem = run_once(place).problem
    assert f"{NAME}: prompt holds the value of $" in problem
    assert "horse" not in problem + metrics.with_name("run.json").read_text()


def test_lists_and_halves_of_keys_are_secret_too(monkeypatch):
    monkeypatch.setenv("MY_SECRET", 'correct-"hörse"')
    with pytest.raises(UserError, match="x: sentences holds the value of"):
        secrets.refuse({"sentences": ["a", 'is correct-"hörse"']}, "x")
    start = "-----BEGIN RSA PRIVATE KEY-----"
    half = "\n".join([start, "MIIEpAIBAAKCAQEA" * 4, "mZ7Y" * 16])
    for text in (half, repr(half)):
        kept, kinds = secrets.remove(f"{text} and so on")
        assert "mZ7Y" not in kept and "MIIE" not in kept
        assert kept.endswith("and so on") and kinds == ["a private key"]


def test_a_private_key_goes_to_its_last_line():
    key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----x\nmZ7Y\n"
    key += "-----END PRIVATE KEY-----"
    text = f"a {key} b {key.replace('mZ7Y', 'Z7Ym')} c"
    assert secrets.remove(text)[0] == "a [removed] b [removed] c"


SEARCH = """
from nlp_helpers.runner import secrets
for text in ("sk-" * 10**5, "-----BEGIN PRIVATE KEY-----x " * 10**5):
    secrets.remove(text)
"""


def test_no_text_is_searched_again_from_each_of_its_places(python):
    """Else this would take minutes: once it stopped a whole run."""
    subprocess.run([python, "-c", SEARCH], check=True, timeout=60)


def test_a_secret_in_html_or_json_is_one_too(monkeypatch):
    monkeypatch.setenv("MY_PASSWORD", 'a&b-"correct"-horse')
    for text in (
        pd.DataFrame([os.environ["MY_PASSWORD"]])._repr_html_(),
        html.escape('<td>a&b-"correct"-horse</td>'),
        json.dumps({"key": 'a&b-"correct"-horse'}),
    ):
        kept, kinds = secrets.remove(text)
        assert "horse" not in kept and kinds == ["the value of $MY_PASSWORD"]
    value = 'it\'s-a-"long"-one'
    monkeypatch.setenv("MY_PASSWORD", value)
    assert "long" not in secrets.remove(repr(value))[0]


def test_html_of_scikit_learn_is_no_secret():
    html = LogisticRegression()._repr_html_()
    assert "sk-toggleable__label-arrow" in html
    assert secrets.remove(html) == (html, [])
    key = "sk-proj-" + "aB3-" * 8
    assert secrets.remove(f"'{key}'") == ("'[removed]'", ["an API key"])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("at http://robot:hunter2@proxy:80", "at http://[removed]@proxy:80"),
        ("redis://:hunter2@host", "redis://[removed]@host"),
        ("at http://proxy:80/a:b@c", None),
        ("http://localhost:8888?user=joe@example.org", None),
        ('{"url":"http://host:8080","email":"me@x.com"}', None),
        ("http://x:1@h and {x:1}", None),
        ("github_pat_" + "a1B2" * 10, "[removed]"),
        ("glpat-" + "a1B2" * 5, "[removed]"),
        ("pypi-" + "a1B2" * 20, "[removed]"),
        ("AIza" + "a1B2c" * 7, "[removed]"),
        ("MY_SSH_KEY is correct-horse", "MY_SSH_KEY is [removed]"),
        ("in correct-pony", "in [removed]"),
    ],
)
def test_other_forms_of_secrets(monkeypatch, text, kept):
    monkeypatch.setenv("MY_SSH_KEY", "correct-horse")
    monkeypatch.setenv("MYSQL_PWD", "correct-pony")
    monkeypatch.setenv("PWD", "http://proxy:80")  # a folder, no password
    assert secrets.remove(text)[0] == (kept or text)
    node = {"best": {text: 1}}
    assert bool(secrets.remove_from(node)) == bool(kept)
    assert node == {"best": {kept or text: 1}}


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("MY_PASSWORD", "password", False),
        ("MY_PASSWORD", "Password", False),
        ("DB_PASSWORD", "changeme", False),
        ("SECRET_DATE", "20240131", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json", False),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", False),
        ("MY_CREDENTIALS", r"C:\Users\me\key.json", False),
        ("MY_SECRET", "../secrets/file", False),
        ("MY_PASSWORD", "password1", True),
        ("GMAIL_PASSWORD", "abcdefghijklmnop", True),
        ("MY_TOKEN", "0123456789012345", True),
        # An access key of AWS is base64, which has slashes.
        ("AWS_SECRET_ACCESS_KEY", "/Jalr/UtnFEMI/K7MDENG/bPxRfiCYEXAMP", True),
        ("MY_API_KEY", "correct/horse", True),
    ],
)
def test_what_stands_in_many_texts_is_no_secret(
    place, monkeypatch, name, value, is_secret
):
    monkeypatch.setenv(name, value)
    text = f"a word, {value}, in a text"
    kept, kinds = secrets.remove(text)
    assert (kept != text) == is_secret
    assert kinds == [f"the value of ${name}"] * is_secret


def test_a_password_that_is_a_word_stops_no_run(place, monkeypatch):
    monkeypatch.setenv("MY_PASSWORD", "password")
    monkeypatch.setenv("MY_CREDENTIALS", str(place / "key.json"))
    notebook = place / "notebooks" / f"{NAME}.ipynb"
    show = f"print('the password is in {place / 'key.json'}')"
    write_notebook(notebook, WRITE_METRICS, show)
    result = run_once(place)
    assert result.status == "done", result.problem
    assert "the password is in" in result.output.read_text()


def test_a_path_in_a_variable_of_a_notebook_is_no_secret(place):
    [task] = tasks.plan("offline", ("01",))
    namespace = dict(task.values)
    parameters.check(NAME, namespace | {"credentials": "/home/me2/key.json"})
    with pytest.raises(UserError, match="looks like a secret"):
        parameters.check(NAME, namespace | {"credentials": "correct1horse"})
