"""`verify --published`, with small models behind the articles' names."""

import os
import shutil
import subprocess

import pytest
import torch
from hub_server import serve_all
from ruamel.yaml import YAML
from runs import command
from small_bert import small_config
from small_causal import save
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertForMaskedLM,
    pipeline,
)

from nlp_helpers.language_models.published import read_published
from nlp_helpers.models import loading
from nlp_helpers.models.registry import registry

ARTICLES = {"gpt2", "bert-base-uncased"}


@pytest.fixture
def hub_project(root, project):
    for folder in ("params", "notebooks"):
        shutil.copytree(project / folder, root / folder)
    return root


def write_models(folder):
    """Write a small GPT-2 and a small BERT that reads the same words."""
    save(folder / "gpt2", kind="gpt2")
    torch.manual_seed(0)
    model = BertForMaskedLM(small_config(initializer_range=0.3)).eval()
    for part in (model, loading.load_tokenizer("minilm-l6")):
        part.save_pretrained(folder / "bert-base-uncased")


def article():
    return {
        name: entry.model_dump() for name, entry in read_published().items()
    }


def expected_values(folder):
    """Compute with transformers alone what the notebooks must find."""
    entries = article()
    prompts = entries["01_next_token"]["values"]
    for prompt in prompts:
        prompts[prompt] = {"one_of": [next_word(folder / "gpt2", prompt)]}
    unmasker = pipeline("fill-mask", model=str(folder / "bert-base-uncased"))
    answers = entries["02_fill_mask"]["values"]
    for sentence in answers:
        answers[sentence] = unmasker(sentence, top_k=5)
    example = entries["03_masked_bert"]["values"]
    example["predicted token"] = word_at_mask(unmasker, example)
    return entries


def next_word(folder, prompt):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(prompt, return_tensors="pt")).logits
    return tokenizer.decode(logits[0, -1].argmax()).strip()


def word_at_mask(unmasker, example):
    tokens = example["tokens"].split()
    marks = ("[CLS]", "[SEP]", "[MASK]")
    ids = unmasker.tokenizer.convert_tokens_to_ids(
        [token if token in marks else token.lower() for token in tokens]
    )
    types = [int(number) for number in example["segment ids"].split()]
    with torch.no_grad():
        logits = unmasker.model(
            input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])
        ).logits
    best = logits[0, example["masked index"]].argmax()
    return unmasker.tokenizer.decode(best)


def write_yaml(root, entries):
    with (root / "own.yaml").open("w") as file:
        YAML(typ="safe").dump(entries, file)


def verify(root, python, address):
    return subprocess.run(
        [python, "-m", "nlp_helpers", "verify", "--published"]
        + ["--against", "own.yaml"],
        cwd=root,
        env={
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(root / "home"),
            "NLP_HELPERS_FLOAT32": "1",
            "COLUMNS": "240",
        },
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.slow
def test_the_values_of_served_models_are_found(
    hub_project, python, monkeypatch
):
    write_models(hub_project / "models")
    entries = expected_values(hub_project / "models")
    write_yaml(hub_project, entries)
    served = {
        (registry()[name].repository, registry()[name].revision): hub_project
        / "models"
        / name
        for name in ARTICLES
    }
    with serve_all(served) as (address, _):
        done = verify(hub_project, python, address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 different" in done.stdout
    assert "He is a [MASK]. 1 score" in done.stdout  # the whole table
    # One score that is another model's.
    answers = entries["02_fill_mask"]["values"]
    answers["He is a [MASK]."][0]["score"] += 0.01
    write_yaml(hub_project, entries)
    monkeypatch.setenv("COLUMNS", "240")
    arguments = ("--published", "--no-run", "02", "--against")
    own = str(hub_project / "own.yaml")
    again = command("verify", *arguments, own)
    assert again.returncode == 3
    assert ", 1 different" in again.stdout


@pytest.mark.slow
def test_without_a_hub_it_ends_in_a_line_a_notebook(hub_project, python):
    write_yaml(hub_project, article())
    done = verify(hub_project, python, "http://127.0.0.1:9")
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 3
    assert all("set model_name to" in line for line in lines)


def test_a_run_of_another_model_is_not_compared(hub_project):
    done = command("verify", "--published", "--no-run", "02")
    assert done.returncode == 1
    assert "set model_name: bert-base-uncased in params/hub/02" in done.stderr


def test_notebooks_without_printed_values_are_refused(hub_project):
    done = command("verify", "--published", "--no-run", "05")
    assert done.returncode == 1
    assert "has no values for 05_bert_fine_tuning" in done.stderr
