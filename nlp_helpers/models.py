"""A model name -> tokenizer and model, from an installed package or the Hub.

`models.yaml` lists the names. `fetch` turns each into an ordinary model
folder on this machine, `load` opens that folder. A name that is itself a
folder (a checkpoint of notebook 05, say) is opened as it is.
"""

import difflib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from IPython.utils.capture import capture_output
from safetensors import SafetensorError

from nlp_helpers import files, paths
from nlp_helpers.errors import UserError
from nlp_helpers.model_registry import ModelEntry, origin, registry

# Weights as safetensors only: a pickled .bin file could run code when opened.
HUB_FILES = ["*.json", "*.txt", "*.model", "model.safetensors"]
VOCABULARY_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
)
HUB_TIMEOUT = 10  # seconds
LONGEST_CAUSE = 120  # characters of a library's own message
ADAPTER_FILES = ("adapter_model.safetensors", "output_bias.safetensors")
HERE = Path(__file__).parent


def fetch(name: str) -> Path:
    """Return a local folder with the config, tokenizer and weights of `name`.

    Raises:
        UserError: the name is unknown, its package is not installed, a file
            is not the pinned one, or the Hub cannot be reached.
    """
    entries = registry()
    if name not in entries:
        folder = paths.resolve(name)
        if (folder / "config.json").is_file():
            return folder
        if (folder / ADAPTER_FILES[0]).is_file():
            return _merge_adapters(folder, f"{folder.name}-{_hash(folder)}")
        close = difflib.get_close_matches(name, entries, n=1)
        hint = f"did you mean {close[0]}?" if close else "known:"
        raise UserError(
            f"no model is called {name!r}, and no model folder either; {hint}"
            + ("" if close else f" {', '.join(entries)}")
        )
    entry = entries[name]
    if entry.source == "hub":
        return _fetch_hub(name, entry)
    if entry.source == "adapters":
        return _fetch_adapters(name, entry)
    folder = paths.package_folder(entry.package, entry.distribution)
    folder = folder / entry.subfolder
    if entry.gguf_file:
        return _fetch_gguf(name, entry, folder)
    _check_files(folder, entry)
    return folder


def load(
    name: str,
    model_class: type,
    device: torch.device | str = "cpu",
    new_head: bool = False,
    **config: Any,
) -> tuple[transformers.PreTrainedTokenizerBase, transformers.PreTrainedModel]:
    """Load tokenizer and model, the model in float32 and evaluation mode.

    Prints one line that says where the weights come from.

    Args:
        name: a name of models.yaml, or a model folder.
        model_class: the transformers class to open it with, for example
            BertForMaskedLM or AutoModelForCausalLM.
        device: where the weights go.
        new_head: whether weights that the files lack, or have in another
            size, are to be drawn at random, because training comes next.
        config: settings passed on to the model's configuration.

    Raises:
        UserError: see `fetch`; or a file is damaged; or the files lack
            weights that the class needs and `new_head` is false: such a model
            answers at random.
    """
    folder = fetch(name)
    tokenizer = _open_tokenizer(folder)
    with _opening(folder):
        model, loading = model_class.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=new_head,
            **config,
        )
    missing = sorted(loading["missing_keys"])
    if missing and not new_head:
        raise UserError(
            f"{name} has no trained weights for {missing[0]} and"
            f" {len(missing) - 1} more of {model_class.__name__}; choose a"
            " model that was trained for this task"
        )
    print(f"{paths.shown(Path(name))}: {origin(name)}")
    return tokenizer, model.to(device).eval()


def load_tokenizer(name: str) -> transformers.PreTrainedTokenizerBase:
    """Load the tokenizer of a model alone."""
    return _open_tokenizer(fetch(name))


def _open_tokenizer(folder: Path) -> transformers.PreTrainedTokenizerBase:
    """Open the tokenizer files of a model folder.

    Raises:
        UserError: there are none. transformers would make an empty tokenizer
            up, to which every word is unknown.
    """
    if not any((folder / name).is_file() for name in VOCABULARY_FILES):
        raise UserError(
            f"{folder} has no tokenizer; copy the tokenizer files of its model"
            f" there (one of {', '.join(VOCABULARY_FILES)})"
        )
    with _opening(folder):
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True
        )


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Turn what the libraries say of a damaged file into one line.

    Raises:
        UserError: a file cannot be read, or does not fit.
    """
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        cause = " ".join(str(error).split())[:LONGEST_CAUSE]
        raise UserError(
            f"{folder} cannot be opened ({type(error).__name__}: {cause});"
            " write or copy the model folder again"
        ) from error


def _check_files(folder: Path, entry: ModelEntry) -> None:
    """Compare the files of an entry with their pinned hashes."""
    for name, expected in entry.sha256.items():
        files.check_sha256(folder / name, expected)


def _cached(name: str, entry: ModelEntry) -> Path:
    """Return the cache folder of a converted model; a new hash, a new one."""
    key = "-".join(value[:8] for value in entry.sha256.values())
    return paths.cache_folder() / "models" / f"{name}-{key}"


def _fetch_hub(name: str, entry: ModelEntry) -> Path:
    """Download a pinned revision into the Hub's cache, or find it there."""
    import httpx2
    from huggingface_hub import HfApi, snapshot_download

    wanted = {"revision": entry.revision, "allow_patterns": HUB_FILES}
    try:
        # Asked once, so that a closed network is noticed at once;
        # snapshot_download would try for half a minute.
        HfApi().model_info(
            entry.repository, revision=entry.revision, timeout=HUB_TIMEOUT
        )
        return Path(snapshot_download(entry.repository, **wanted))
    except (OSError, httpx2.HTTPError) as error:
        # A full disk ends here too, so the cause is part of the message.
        cause = " ".join(str(error).split())[:LONGEST_CAUSE]
        reason = f"{type(error).__name__}: {cause}"
    try:
        folder = snapshot_download(
            entry.repository, local_files_only=True, **wanted
        )
        if (Path(folder) / "model.safetensors").exists():
            return Path(folder)
    except OSError:
        pass  # not in the cache either
    raise UserError(
        f"model {name} ({entry.repository} at {entry.revision[:12]}) is not in"
        f" the Hugging Face cache and the Hub cannot be reached ({reason});"
        " use the offline profile, which needs no network"
    )


def _fetch_gguf(name: str, entry: ModelEntry, folder: Path) -> Path:
    """Unpack a GGUF file into a safetensors folder, once.

    Unpacking takes up to 20 s, opening the result a fraction of a second.
    """
    target = _cached(name, entry)
    if target.is_dir():
        return target
    headless = bool(os.environ.get(paths.HEADLESS_VARIABLE))
    if not headless:
        print(f"{name}: unpacking {entry.gguf_file} once into {target}")
    _check_files(folder, entry)
    packed = {"gguf_file": entry.gguf_file, "local_files_only": True}
    config = transformers.AutoConfig.from_pretrained(folder, **packed)
    # transformers shows a bar, which would be kept in the notebook.
    with capture_output() if headless else nullcontext():
        quantised = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, **packed
        )
    # transformers will not save a model that it calls quantised, although its
    # weights are plain float32 by now: put them into a fresh one.
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantised.state_dict())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **packed)
    with files.staged_folder(target) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
    return target


def _fetch_adapters(name: str, entry: ModelEntry) -> Path:
    """Check the adapters of this project and merge them, once."""
    source = HERE / entry.subfolder
    _check_files(source, entry)
    return _merge_adapters(source, _cached(name, entry).name)


def _hash(folder: Path) -> str:
    """Return a short hash of the adapters in a folder."""
    hashes = (files.sha256(folder / name) for name in ADAPTER_FILES)
    return "-".join(digest[:8] for digest in hashes)


def _merge_adapters(source: Path, key: str) -> Path:
    """Merge low-rank adapters and a head into their base model, once."""
    target = paths.cache_folder() / "models" / key
    if target.is_dir():
        return target
    from peft import PeftConfig, PeftModel
    from safetensors.torch import load_file

    base = PeftConfig.from_pretrained(source).base_model_name_or_path
    tokenizer = load_tokenizer(base)
    model = transformers.BertForMaskedLM.from_pretrained(
        fetch(base), dtype=torch.float32, local_files_only=True
    )
    tie_output_bias(model)
    with warnings.catch_warnings():
        # peft asks transformers for an attribute that has a new name.
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(model, source).merge_and_unload()
    bias = load_file(source / "output_bias.safetensors")["bias"]
    model.cls.predictions.bias.data.copy_(bias)
    with files.staged_folder(target) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
    return target


def tie_output_bias(model: transformers.BertForMaskedLM) -> None:
    """Make the decoder use the head's bias.

    transformers ties the two only if the checkpoint holds one of them.
    """
    head = model.cls.predictions
    head.decoder.bias = head.bias
