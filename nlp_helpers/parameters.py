"""The parameters of every notebook: types, ranges, help.

Three places hold the same names: the `parameters` cell of a notebook (the
offline values), `params/<profile>/<notebook>.yaml`, and the schema here, which
checks both. papermill by itself reads YAML 1.1, in which `1e-5` is a text and
`NO` is false; strict types turn such slips into an error.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from nlp_helpers.core.errors import UserError
from nlp_helpers.core.paths import looks_like_path
from nlp_helpers.core.yaml_files import read_yaml

TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "array": "list",
    "boolean": "true or false",
}
BOUNDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
}
MAX_SEED = 10**9  # NumPy takes less than 2**32
SECRET_NAME = re.compile(
    r"token$|secret|passw|_pwd$|api_?key|_key$|_pat$|credential", re.I
)
# With a digit and no space, and no [unused1] or <extra_id_0>: many students
# call a token of the model `token`.
SECRET = re.compile(r"\s*(?![\[<])(?=.*\d)\S{8,}\s*")
Count = Annotated[int, Field(ge=1)]
TopK = Annotated[int, Field(ge=1, le=1000)]  # every vocabulary has more
Fraction = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Model(BaseModel):
    """A model, and chance."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model_name: Text = Field(description="name in models.yaml, or a folder")
    seed: int = Field(
        ge=0, le=MAX_SEED, description="seeds every random choice"
    )


class Common(Model):
    """What every notebook takes."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        description="auto takes CUDA where there is one"
    )
    output_dir: Text = Field(description="where metrics and figures go")


class NextToken(Common):
    """01_next_token."""

    prompt: Text = Field(description="text to continue")
    top_k: TopK = Field(description="rows of the table of best tokens")
    num_steps: Count = Field(description="tokens to append")
    temperature: float = Field(
        gt=0, description="below 1 sharpens, above 1 flattens"
    )
    top_p: Fraction = Field(description="probability mass of the nucleus")


class FillMask(Common):
    """02_fill_mask."""

    sentences: list[Text] = Field(
        min_length=1, description="each with at least one [MASK]"
    )
    top_k: TopK = Field(description="answers for each mask")


class MaskedBert(Common):
    """03_masked_bert."""

    first_segment: Text = Field(description="sentence before the middle [SEP]")
    second_segment: Text = Field(description="sentence after it")
    masked_word: Text = Field(description="word of second_segment to hide")
    top_k: TopK = Field(description="rows of the table of best tokens")


class AmazonPreprocessing(Common):
    """04_amazon_preprocessing."""

    review_source: Text = Field(
        description="name in reviews.yaml, or a file or folder of reviews"
    )
    categories: list[Text] = Field(
        description="categories to read; [] means all"
    )
    sample_per_category: int = Field(ge=0, description="0 keeps all reviews")
    text_field: str = Field(
        description='field of the text, or "{title}. {text}"; empty: usual'
    )
    label_field: str = Field(
        description="field of rating or label; empty: the usual names"
    )
    label_rule: Literal["stars", "values"] = Field(
        description="stars makes three classes of ratings; values takes labels"
    )
    rating_scale: list[float] = Field(
        max_length=2, description="worst and best rating; [] is 1 to 5 stars"
    )

    @field_validator("rating_scale")
    @classmethod
    def _check_scale(cls, scale: list[float]) -> list[float]:
        """Ask for nothing, or for two numbers that rise."""
        if scale and not (len(scale) == 2 and scale[0] < scale[1]):
            raise ValueError(
                "it must be the worst and the best rating, for example [1, 5]"
            )
        return scale

    max_bad_fraction: float = Field(
        ge=0, le=1, description="share of unusable records that is tolerated"
    )
    group_by: Literal[
        "review", "product", "reviewer", "field", "time", "none"
    ] = Field(description="what stays on one side of the split")
    group_field: str = Field(
        description="field of your own that group_by field or time takes"
    )

    @field_validator("group_field")
    @classmethod
    def _check_group_field(cls, name: str, info: ValidationInfo) -> str:
        """Ask for a field where it is needed, and only there."""
        group_by = info.data.get("group_by")
        if group_by in ("field", "time") and not name:
            raise ValueError(f"group_by {group_by} needs it: name the field")
        if name and group_by in ("review", "product", "reviewer", "none"):
            raise ValueError(
                f"group_by {group_by} does not read it; set group_by to field"
                " or time"
            )
        return name

    max_length: int = Field(
        ge=3, le=512, description="tokens of a review; BERT reads 512"
    )
    test_size: float = Field(ge=0.01, le=0.5, description="validation share")
    engine: Literal["local", "ray"] = Field(
        description="ray works on the cluster that RAY_ADDRESS names"
    )
    num_workers: int = Field(
        ge=0, description="processes of the local engine; 0 starts none"
    )


class TrainingSettings(Model):
    """What decides the weights, bit for bit on the CPU of one machine."""

    model_config = ConfigDict(frozen=True)

    num_epochs: Count = Field(description="passes over the training data")
    batch_size: Count = Field(description="reviews of one optimizer step")
    learning_rate: float = Field(
        gt=0, lt=1, description="highest learning rate"
    )
    warmup_ratio: float = Field(
        ge=0, le=1, description="share of steps with a rising rate"
    )
    weight_decay: float = Field(
        ge=0, description="not applied to biases and LayerNorm"
    )
    class_weight: Literal["none", "balanced"] = Field(
        description="balanced lets small classes count as much as large ones",
    )
    freeze_layers: int = Field(
        ge=0,
        description="layers to freeze, with the embeddings; 0 is none",
    )
    adapter_rank: int = Field(
        ge=0,
        description="of low-rank adapters (LoRA); 0 trains the weights",
    )
    adapter_targets: list[Text] = Field(
        description="layers that get adapters; [] is all linear ones"
    )

    @field_validator("adapter_rank")
    @classmethod
    def _check_adapter_rank(cls, rank: int, info: ValidationInfo) -> int:
        """Refuse to freeze layers twice."""
        if rank and info.data.get("freeze_layers"):
            raise ValueError(
                "adapters leave all of the encoder's weights as they are; set"
                " freeze_layers to 0"
            )
        return rank


class BertFineTuning(Common, TrainingSettings):
    """05_bert_fine_tuning."""

    data_dir: Text = Field(description="the output_dir of notebook 04")
    num_seeds: Count = Field(description="training runs: seed, seed + 1, ...")
    num_processes: Count = Field(
        description="processes (GPUs) that share each batch"
    )
    checkpoint_every: Count = Field(description="steps between checkpoints")
    sentences: list[Text] = Field(
        min_length=1, description="texts to label at the end"
    )


class ServingAndTweets(Common):
    """06_serving_and_tweets."""

    fine_tuning_dir: Text = Field(description="the output_dir of notebook 05")
    data_dir: Text = Field(description="the output_dir of notebook 04")
    text_source: Text = Field(description="name in rated_texts.yaml")
    sentences: list[Text] = Field(
        min_length=1, description="texts to ask the server about"
    )
    held_out: float = Field(
        ge=0.05, le=0.9, description="share of the texts that nobody trains on"
    )
    num_labels: list[Annotated[int, Field(ge=8)]] = Field(
        min_length=1, description="labelled texts to train on, rising"
    )
    num_epochs: list[Count] = Field(
        description="passes over them, one number for each of num_labels"
    )

    @field_validator("num_labels")
    @classmethod
    def _check_num_labels(cls, numbers: list[int]) -> list[int]:
        """Ask for numbers that rise."""
        if numbers != sorted(set(numbers)):
            raise ValueError("each number must be larger than the one before")
        return numbers

    @field_validator("num_epochs")
    @classmethod
    def _check_num_epochs(
        cls, numbers: list[int], info: ValidationInfo
    ) -> list[int]:
        """Ask for as many as there are trainings."""
        asked = info.data.get("num_labels")
        if asked and len(numbers) != len(asked):
            raise ValueError(f"num_labels has {len(asked)} numbers")
        return numbers

    num_draws: Count = Field(description="times that texts are drawn anew")
    batch_size: Count = Field(description="texts of one optimizer step")
    learning_rate: float = Field(
        gt=0, lt=1, description="highest learning rate"
    )


class VectorsAndHeads(Common):
    """07_vectors_and_heads."""

    tagger_name: Text = Field(
        description="model that labels tokens: name in models.yaml, or folder"
    )
    answer_model: Text = Field(
        description="model that answers, or an encoder that is trained to"
    )
    num_examples: int = Field(
        ge=0, le=100_000, description="questions to train on; 0 trains nothing"
    )
    data_dir: Text = Field(
        description="the output_dir of notebook 04, offline profile"
    )
    context: Text = Field(description="a text of yours")
    questions: list[Text] = Field(
        min_length=1, description="questions about it"
    )
    right_answers: list[Text] = Field(
        min_length=1, description="the answer to each, as the context has it"
    )

    @field_validator("right_answers")
    @classmethod
    def _check_right_answers(
        cls, right: list[str], info: ValidationInfo
    ) -> list[str]:
        """Ask for one answer to each question."""
        asked = info.data.get("questions", right)
        if len(right) != len(asked):
            raise ValueError(
                f"give one for each of the {len(asked)} questions, in order"
            )
        return right


class InsideTheClassifier(Common):
    """08_inside_the_classifier."""

    data_dir: Text = Field(description="the output_dir of notebook 04")
    fine_tuning_dir: Text = Field(description="the output_dir of notebook 05")
    sentences: list[Text] = Field(
        min_length=1, description="texts to explain and draw"
    )
    num_texts: int = Field(
        ge=20, description="validation texts of the deletion test"
    )
    n_steps: Count = Field(
        description="points on the way at which gradients are computed"
    )
    baseline: Literal["pad", "mask", "zero"] = Field(
        description="what stands in place of each word where the way begins"
    )
    num_epochs: Count = Field(
        description="passes of each training that is compared"
    )
    batch_size: Count = Field(description="reviews of one optimizer step")
    learning_rate: float = Field(
        gt=0, lt=1, description="highest learning rate of the weights"
    )
    adapter_learning_rate: float = Field(
        gt=0, lt=1, description="highest learning rate of the adapters"
    )
    adapter_rank: Count = Field(description="of the low-rank adapters")
    freeze_layers: Count = Field(
        description="layers that one training freezes, with the embeddings"
    )
    class_weight: Literal["none", "balanced"] = Field(
        description="balanced lets small classes count as much as large ones",
    )


SCHEMAS: dict[str, type[Common]] = {
    "01_next_token": NextToken,
    "02_fill_mask": FillMask,
    "03_masked_bert": MaskedBert,
    "04_amazon_preprocessing": AmazonPreprocessing,
    "05_bert_fine_tuning": BertFineTuning,
    "06_serving_and_tweets": ServingAndTweets,
    "07_vectors_and_heads": VectorsAndHeads,
    "08_inside_the_classifier": InsideTheClassifier,
}
# Those that go further than the articles, which run only when they are named.
FURTHER = (
    "06_serving_and_tweets",
    "07_vectors_and_heads",
    "08_inside_the_classifier",
)


def check(notebook: str, namespace: Mapping[str, Any]) -> None:
    """Check the parameters that stand in a notebook's variables.

    Args:
        notebook: for example `01_next_token`.
        namespace: the notebook's `globals()`; other variables are passed over.

    Raises:
        UserError: a value has the wrong type or lies outside its range, or
            a text is called and looks like a secret.
    """
    fields = SCHEMAS[notebook].model_fields
    values = {
        name: value
        for name, value in namespace.items()
        if name in fields
        or (
            SECRET_NAME.search(name)
            and isinstance(value, str)
            and SECRET.fullmatch(value)
            and not looks_like_path(value)
        )
    }
    validate(notebook, values, f"parameters of {notebook}")


def describe(notebook: str) -> list[dict[str, str]]:
    """Return name, type with range, and help of each parameter."""
    schema = SCHEMAS[notebook]
    properties = schema.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "type": _type_in_words(properties[name]),
            "help": field.description or "",
        }
        for name, field in schema.model_fields.items()
    ]


def _type_in_words(entry: Mapping[str, Any]) -> str:
    """Return the type and the range of a JSON schema entry."""
    if "enum" in entry:
        return " | ".join(entry["enum"])
    words = TYPES[entry["type"]]
    if entry["type"] == "array":
        return f"{words} of {TYPES[entry['items']['type']]}s"
    known = ((sign, entry.get(key)) for key, sign in BOUNDS.items())
    bounds = [
        f"{sign} {bound:g}" for sign, bound in known if bound is not None
    ]
    return ", ".join([words, *bounds])


def read_parameters(notebook: str, path: Path) -> dict[str, Any]:
    """Read and check a parameters file.

    Raises:
        UserError: the file is missing, not YAML, or does not fit the schema.
    """
    if not path.is_file():
        raise UserError(
            f"there is no parameters file {path}; correct the path, or copy"
            " the file from params/offline"
        )
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold lines of the form `name: value`")
    validate(notebook, values, str(path))
    return values


def validate(notebook: str, values: Mapping[str, Any], where: str) -> None:
    """Raise a one-line UserError about the first thing that does not fit."""
    schema = SCHEMAS[notebook]
    for name in values:
        if not isinstance(name, str):
            raise UserError(
                f"{where}: {name!r} is not a parameter name (YAML reads an"
                " unquoted `no`, `on` or `yes` as true or false)"
            )
        if SECRET_NAME.search(name):
            raise UserError(
                f"{where}: {name} looks like a secret; parameters are saved in"
                " the executed notebook. Put it into an environment variable"
                " (HF_TOKEN for the Hugging Face Hub)"
            )
    try:
        schema(**values)
    except ValidationError as error:
        # A misspelt name is also a missing one; the slip explains both.
        problems = error.errors()
        problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
        first = problems[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            reason = "is missing; add it"
        elif first["type"] == "extra_forbidden":
            close = difflib.get_close_matches(name, schema.model_fields, n=1)
            reason = f"is not a parameter of {notebook}" + (
                f"; did you mean {close[0]}?" if close else "; remove it"
            )
        else:
            message = first["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            reason = f"is {first['input']!r}: {message}"
            if first["type"] == "string_type" and isinstance(
                first["input"], bool
            ):
                reason += " (in YAML write 'NO', not NO, to mean a text)"
        raise UserError(f"{where}: {name} {reason}") from error
