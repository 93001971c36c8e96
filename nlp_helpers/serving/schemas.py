"""What clients send, as Hugging Face's and others write it.

Unknown names are refused rather than passed over: a setting that does
nothing would be taken for one that works. Those that are null count as not
sent, because clients write them so.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

Text = Annotated[str, Field(max_length=2_000_000)]
Texts = Annotated[list[Text], Field(min_length=1)]
TopK = Annotated[int, Field(ge=1, le=10_000)]


class Sent(BaseModel):
    """A JSON object of a client."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, values: Any) -> Any:
        """Take what is null as not sent."""
        if isinstance(values, dict):
            return {k: v for k, v in values.items() if v is not None}
        return values


class NoParameters(Sent):
    """What clients send although the task has none: `{}`."""


class ClassificationParameters(Sent):
    """Of text-classification."""

    top_k: TopK | None = None
    function_to_apply: Literal["softmax", "sigmoid", "none"] = "softmax"
    truncation: bool = True


class ClassificationRequest(Sent):
    """Of text-classification."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": "Wonderful pictures!"}}
    )

    inputs: Text | Texts
    parameters: ClassificationParameters = ClassificationParameters()
    options: dict[str, Any] = {}  # of Hugging Face's own servers


class FillMaskParameters(Sent):
    """Of fill-mask."""

    top_k: TopK = 5
    targets: Texts | None = None


class FillMaskRequest(Sent):
    """Of fill-mask."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": "Paris is in [MASK]."}}
    )

    inputs: Text | Texts
    parameters: FillMaskParameters = FillMaskParameters()
    options: dict[str, Any] = {}


class EmbeddingRequest(Sent):
    """Of feature-extraction, and of text-embeddings-inference's /embed."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": ["a cat", "a dog"]}}
    )

    inputs: Text | Texts
    normalize: bool | None = None
    truncate: bool = True
    truncation_direction: Literal["right", "Right"] = "right"
    parameters: NoParameters = NoParameters()
    options: dict[str, Any] = {}


class Comparison(Sent):
    """A sentence, and those to compare it with."""

    source_sentence: Text
    sentences: Texts


class SimilarityRequest(Sent):
    """Of sentence-similarity."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "inputs": {
                    "source_sentence": "a cat",
                    "sentences": ["a kitten", "a train"],
                }
            }
        }
    )

    inputs: Comparison
    parameters: NoParameters = NoParameters()
    options: dict[str, Any] = {}


class GenerationSettings(Sent):
    """What text-generation and completions have in common."""

    do_sample: bool | None = None
    # Nearer to 0 the scores would leave what a float holds.
    temperature: Annotated[float, Field(ge=0.001, le=100)] | None = None
    top_k: TopK | None = None
    top_p: Annotated[float, Field(ge=0.001, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.001, le=100)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: Annotated[list[Text], Field(max_length=16)] = []


class GenerationParameters(GenerationSettings):
    """Of text-generation."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 20
    return_full_text: bool = False
    details: bool = False
    top_n_tokens: Annotated[int, Field(ge=0, le=50)] = 0
    decoder_input_details: Literal[False] = False
    watermark: Literal[False] = False


class GenerationRequest(Sent):
    """Of text-generation."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": "The capital of France is"}}
    )

    inputs: Text
    parameters: GenerationParameters = GenerationParameters()
    stream: bool = False
    options: dict[str, Any] = {}


class CompletionRequest(GenerationSettings):
    """Of /v1/completions, as OpenAI and Hugging Face's JavaScript have it."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"prompt": "The capital of France is"}}
    )

    prompt: Text
    model: str = ""
    max_tokens: Annotated[int, Field(ge=1)] = 16
    n: Literal[1] = 1
    stream: bool = False
    echo: bool = False
    return_full_text: bool = False
    options: dict[str, Any] = {}


class PredictRequest(Sent):
    """Of text-embeddings-inference's /predict."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": [["a text"], ["another"]]}}
    )

    inputs: (
        Text
        | Annotated[
            list[Annotated[list[Text], Field(min_length=1, max_length=1)]],
            Field(min_length=1),
        ]
    )
    raw_scores: bool = False
    truncate: bool = True
    truncation_direction: Literal["right", "Right"] = "right"

    @field_validator("inputs", mode="before")
    @classmethod
    def _refuse_pairs(cls, inputs: Any) -> Any:
        """Say what is wrong with `["a", "b"]`, which is a pair there."""
        if isinstance(inputs, list) and any(
            isinstance(each, str) for each in inputs
        ):
            raise ValueError(
                'pairs are not classified here; write [["a"], ["b"]] for two'
                " texts"
            )
        return inputs

    def texts(self) -> list[str]:
        """Return the texts to label."""
        if isinstance(self.inputs, str):
            return [self.inputs]
        return [text for [text] in self.inputs]
