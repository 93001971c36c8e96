"""A peer of benchmarks/serving.py: a pipeline in a handler, as usual.

python benchmarks/serving_naive.py CHECKPOINT PORT
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

app = FastAPI()
torch.set_grad_enabled(False)
classifier = pipeline("text-classification", sys.argv[1], top_k=None)


class Sent(BaseModel):
    """A request."""

    inputs: str


@app.post("/text-classification")
def classify(sent: Sent) -> list:
    return [classifier(sent.inputs, truncation=True)]


@app.get("/health")
def health() -> str:
    return "ok"


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[2]), access_log=False, log_level="warning"
    )
