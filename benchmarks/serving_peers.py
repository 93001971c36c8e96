"""The peers of benchmarks/serving.py: how such a service is usually written.

python benchmarks/serving_peers.py naive|litserve CHECKPOINT PORT
"""

import sys

import torch
from transformers import pipeline


def naive(checkpoint: str, port: int) -> None:
    """Serve a pipeline from the handler of every tutorial."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    classifier = pipeline("text-classification", checkpoint, top_k=None)
    app = FastAPI()

    class Sent(BaseModel):
        inputs: str

    @app.post("/text-classification")
    def classify(sent: Sent) -> list:
        return [classifier(sent.inputs, truncation=True)]

    @app.get("/health")
    def health() -> str:
        return "ok"

    uvicorn.run(app, port=port, access_log=False, log_level="warning")


def litserve(checkpoint: str, port: int) -> None:
    """Serve a pipeline with LitServe's batching, as its examples set it."""
    import litserve as ls

    class Api(ls.LitAPI):
        def setup(self, device):
            self.classifier = pipeline(
                "text-classification", checkpoint, top_k=None
            )

        def decode_request(self, request):
            return request["inputs"]

        def predict(self, texts):
            return self.classifier(
                texts, truncation=True, batch_size=len(texts)
            )

        def encode_response(self, output):
            return [output]

    api = Api(
        api_path="/text-classification", max_batch_size=32, batch_timeout=0.01
    )
    server = ls.LitServer(api, accelerator="cpu")
    server.run(port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    name, folder, number = sys.argv[1:]
    torch.set_grad_enabled(False)
    {"naive": naive, "litserve": litserve}[name](folder, int(number))
