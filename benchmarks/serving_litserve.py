"""A peer of benchmarks/serving.py: LitServe with batching.

    python benchmarks/serving_litserve.py CHECKPOINT PORT

As its examples set it: batches of up to 32 texts that wait 10 ms for company.
"""

import sys
from typing import Any

import litserve
import torch
from transformers import pipeline


class Classifier(litserve.LitAPI):
    """A pipeline; its process is another one than the server's."""

    def setup(self, device: str) -> None:
        torch.set_grad_enabled(False)
        self.classifier = pipeline(
            "text-classification", sys.argv[1], top_k=None
        )

    def decode_request(self, request: dict[str, str]) -> str:
        return request["inputs"]

    def predict(self, texts: list[str]) -> list[Any]:
        return self.classifier(texts, truncation=True, batch_size=len(texts))

    def encode_response(self, output: Any) -> list[Any]:
        return [output]


if __name__ == "__main__":
    api = Classifier(
        api_path="/text-classification", max_batch_size=32, batch_timeout=0.01
    )
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(
        port=int(sys.argv[2]), generate_client_file=False, log_level="warning"
    )
