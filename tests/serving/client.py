"""Asks a service as a program with Hugging Face's Python client does."""

import json
import sys

import huggingface_hub
from huggingface_hub import InferenceClient

url = sys.argv[1]
prompt = "The capital of France is"
labels = InferenceClient(f"{url}/text-classification").text_classification(
    "fine"
)
masks = InferenceClient(f"{url}/fill-mask").fill_mask(
    "Paris is the capital of [MASK]."
)
vectors = InferenceClient(f"{url}/feature-extraction").feature_extraction(
    ["a cat", "a dog"]
)
similarity = InferenceClient(f"{url}/sentence-similarity").sentence_similarity(
    "a cat", other_sentences=["a kitten", "a train"]
)
generator = InferenceClient(f"{url}/text-generation")
text = generator.text_generation(prompt, max_new_tokens=5)
pieces = generator.text_generation(prompt, max_new_tokens=5, stream=True)
answer = {
    "version": huggingface_hub.__version__,
    "labels": [row.label for row in labels],
    "mask": masks[0].token_str,
    "shape": vectors.shape,
    "similarity": similarity,
    "text": text,
    "pieces": list(pieces),
}
print(json.dumps(answer))
