"""What /metrics tells: requests, times, passes. No text is kept."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
REQUESTS = Counter(
    "nlp_requests", "Requests that were answered.", ["route", "status"]
)
DURATION = Histogram(
    "nlp_request_seconds", "Until the answer.", ["route"], buckets=SECONDS
)
PASSES = Counter("nlp_passes", "Forward passes.", ["lane"])
TEXTS = Counter("nlp_texts", "Texts of all forward passes.", ["lane"])
TOKENS = Counter("nlp_tokens", "Tokens of all forward passes.", ["lane"])
WAITING = Gauge("nlp_waiting_texts", "Texts that wait for a forward pass.")


def count_pass(lane: str, texts: int, tokens: int) -> None:
    """Count a forward pass."""
    PASSES.labels(lane).inc()
    TEXTS.labels(lane).inc(texts)
    TOKENS.labels(lane).inc(tokens)
