"""What a service serves, and its limits."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

TASKS = (
    "text-classification",
    "fill-mask",
    "feature-extraction",
    "sentence-similarity",
    "text-generation",
)
Task = Literal[
    "text-classification",
    "fill-mask",
    "feature-extraction",
    "sentence-similarity",
    "text-generation",
]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Everything about a service but its address; none of it is secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str = Field(
        default="",
        description="Folder of the classifier for text-classification.",
    )
    fill_mask_model: str = Field(
        default="minilm-l6-mlm", description="Model of fill-mask."
    )
    embedding_model: str = Field(
        default="minilm-l6",
        description="Model of feature-extraction and sentence-similarity.",
    )
    generation_model: str = Field(
        default="smollm2-135m", description="Model of text-generation."
    )
    preload: tuple[Task, ...] = Field(
        default=(),
        description="Task to load before the first request; may be repeated.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes CUDA where there is one."
    )
    max_body_bytes: Count = Field(
        default=2_000_000, description="Size of a request."
    )
    max_texts: Count = Field(default=256, description="Texts of a request.")
    max_length: int = Field(
        default=512,
        ge=3,
        description="Tokens of a text, if the model reads that many.",
    )
    long_texts: Literal["cut", "refuse"] = Field(
        default="cut",
        description="cut says in X-Truncated-Texts which texts it cut.",
    )
    max_batch_tokens: Count = Field(
        default=4096, description="Tokens of one forward pass."
    )
    max_queue: Count = Field(
        default=4096, description="Texts that wait; more are refused."
    )
    deadline: float = Field(
        default=60.0, gt=0, description="Seconds until a request is given up."
    )
    max_new_tokens: Count = Field(
        default=512, description="Tokens that one request may generate."
    )
