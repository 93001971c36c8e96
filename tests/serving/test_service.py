"""The service as clients see it, in a process of its own."""

import gzip
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import torch
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoModel, pipeline

from nlp_helpers.classification import predicting
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading
from nlp_helpers.serving.process import LISTENING, start_server

TEXTS = [
    "a good camera",
    "it broke",
    "it broke, sadly, after a week " * 30,
    "",
    "naïve café 你好 \x00 🙂",
]
COLABS_CLIENT = "1.27.0"
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def ask():
    """POST JSON; return the answer's status and content."""
    with requests.Session() as session:

        def post(url, body, **options):
            answer = session.post(url, json=body, timeout=60, **options)
            return answer.status_code, answer.json()

        yield post


def scores(answer):
    return {row["label"]: row["score"] for row in answer}


def test_the_answers_are_those_of_predict_whatever_comes_with_them(
    server, checkpoint, ask
):
    loaded = predicting.load_classifier(checkpoint)
    alone = [next(predicting.classify([text], *loaded)) for text in TEXTS]
    url = f"{server}/text-classification"
    with ThreadPoolExecutor(16) as pool:
        waves = [TEXTS, *([text] for text in TEXTS * 20)]
        answers = list(pool.map(lambda w: ask(url, {"inputs": w}), waves))
    assert {status for status, _ in answers} == {200}
    together = answers[0][1]
    singles = [answer for _, [answer] in answers[1:]]
    for expected, answer in zip(alone * 21, together + singles, strict=True):
        assert answer[0]["label"] == expected["label"]
        for label, score in scores(answer).items():
            assert score == pytest.approx(expected[label], abs=1e-5)


def test_a_lone_text_in_a_list_is_still_a_list_of_lists(server, ask):
    for inputs in ("fine", ["fine"]):
        _, answer = ask(f"{server}/text-classification", {"inputs": inputs})
        assert [len(rows) for rows in answer] == [3]
    parameters = {"top_k": 1, "function_to_apply": "none"}
    body = {"inputs": "fine", "parameters": parameters}
    _, [[best]] = ask(f"{server}/text-classification", body)
    _, [[first, *_]] = ask(f"{server}/text-classification", {"inputs": "fine"})
    assert best["label"] == first["label"] and best["score"] != first["score"]


def test_hugging_faces_client_is_served_unchanged(server, checkpoint):
    def at(task):
        return InferenceClient(f"{server}/{task}")

    labels = at("text-classification").text_classification("fine", top_k=2)
    assert len(labels) == 2 and labels[0].score >= labels[1].score
    masks = at("fill-mask").fill_mask("Paris is the capital of [MASK].")
    assert masks[0].token_str == "france" and len(masks) == 5
    assert masks[0].sequence == "paris is the capital of france."
    chosen = at("fill-mask").fill_mask(
        "Paris is the capital of [MASK].", targets=["spain", "italy"], top_k=1
    )
    assert chosen[0].token_str in ("spain", "italy")
    vectors = at("feature-extraction").feature_extraction(
        ["a cat", "a dog"], normalize=True
    )
    assert vectors.shape == (2, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    near, far = at("sentence-similarity").sentence_similarity(
        "a cat", other_sentences=["a kitten", "a train"]
    )
    assert near > far
    client = InferenceClient(
        f"{server}/text-classification", provider="hf-inference"
    )
    assert client.health_check()
    assert client.get_endpoint_info()["model_id"] == checkpoint


def test_its_errors_reach_the_reader_as_a_line(server):
    client = InferenceClient(f"{server}/fill-mask")
    with pytest.raises(HfHubHTTPError, match="with exactly one"):
        client.fill_mask("two [MASK] are [MASK]")


def test_hugging_faces_client_gets_a_continuation_and_a_stream(server):
    client = InferenceClient(f"{server}/text-generation")
    whole = client.text_generation(PROMPT, max_new_tokens=8)
    pieces = [*client.text_generation(PROMPT, max_new_tokens=8, stream=True)]
    assert "".join(pieces) == whole and len(pieces) == 8
    events = [
        *client.text_generation(
            PROMPT, max_new_tokens=3, stream=True, details=True
        )
    ]
    assert [event.generated_text is None for event in events] == [
        True,
        True,
        False,
    ]
    detailed = client.text_generation(PROMPT, max_new_tokens=3, details=True)
    assert detailed.generated_text == events[-1].generated_text
    assert detailed.details.finish_reason == "length"


@pytest.mark.slow
def test_the_client_that_colab_has_is_served_unchanged(server, tmp_path):
    pinned = f"huggingface_hub=={COLABS_CLIENT}"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "-q"]
    # Without the network guard of the tests: pip asks the package index.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([*install, "--target", tmp_path, pinned], env=env)
    if done.returncode:
        pytest.skip(f"pip could not install {pinned}")
    script = Path(__file__).with_name("client.py")
    shown = subprocess.run(
        [sys.executable, script, server],
        env=env | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert not shown.returncode, shown.stderr
    answer = json.loads(shown.stdout)
    assert answer["version"] == COLABS_CLIENT
    assert len(answer["labels"]) == 3 and answer["mask"] == "france"
    assert answer["shape"] == [2, 384]
    assert answer["similarity"][0] > answer["similarity"][1]
    assert answer["text"] == "".join(answer["pieces"])


@pytest.mark.skipif(not shutil.which("npm"), reason="needs Node and npm")
def test_hugging_faces_javascript_is_served_unchanged(server, tmp_path):
    pinned = "@huggingface/inference@4.13.30"
    install = ["npm", "install", "--silent", "--no-audit", pinned]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True)
    if done.returncode:
        pytest.skip(f"npm could not install {pinned}")
    script = Path(__file__).with_name("client.mjs")
    shutil.copy(script, tmp_path)
    shown = subprocess.run(
        ["node", "client.mjs", server],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert not shown.returncode, shown.stderr
    answer = json.loads(shown.stdout)
    assert len(answer["labels"]) == 3
    assert answer["masks"][0]["token_str"] == "france"
    assert len(answer["vectors"][0]) == 384
    assert answer["similarity"][0] > answer["similarity"][1]
    assert answer["text"] == "".join(answer["pieces"])
    assert "with exactly one" in answer["error"]


def test_text_embeddings_inferences_addresses(server, ask):
    _, single = ask(f"{server}/predict", {"inputs": "fine"})
    _, batch = ask(f"{server}/predict", {"inputs": [["fine"], ["bad"]]})
    assert scores(single) == pytest.approx(scores(batch[0]), abs=1e-5)
    status, refused = ask(f"{server}/predict", {"inputs": ["fine", "bad"]})
    assert status == 422 and "pairs" in refused["error"]
    _, vectors = ask(f"{server}/embed", {"inputs": "fine"})
    assert math.hypot(*vectors[0]) == pytest.approx(1)
    info = requests.get(f"{server}/info").json()
    assert info["max_client_batch_size"] == 256


def test_vectors_are_the_means_of_transformers_own(server, ask):
    folder = loading.fetch_model("minilm-l6")
    tokenizer = loading.load_tokenizer("minilm-l6")
    plain = AutoModel.from_pretrained(folder)
    texts = [text for text in TEXTS if text]
    _, vectors = ask(f"{server}/feature-extraction", {"inputs": texts})
    for text, vector in zip(texts, vectors, strict=True):
        inputs = tokenizer(text, return_tensors="pt", truncation=True)
        with torch.no_grad():
            mean = plain(**inputs).last_hidden_state[0].mean(dim=0)
        assert np.abs(mean.numpy() - vector).max() < 1e-4


def test_candidates_are_those_of_the_pipeline(server, ask):
    folder = str(loading.fetch_model("minilm-l6-mlm"))
    theirs = pipeline("fill-mask", folder)("The cat sat on the [MASK].")
    _, ours = ask(
        f"{server}/fill-mask", {"inputs": "The cat sat on the [MASK]."}
    )
    assert [row["token"] for row in ours] == [row["token"] for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        assert row["score"] == pytest.approx(other["score"], abs=1e-4)
        assert row["sequence"] == other["sequence"]


def test_what_is_cut_is_said(server):
    body = {"inputs": ["short", "long " * 600, "short"]}
    answer = requests.post(f"{server}/text-classification", json=body)
    assert answer.headers["X-Truncated-Texts"] == "1"
    whole = requests.post(
        f"{server}/text-classification", json={"inputs": "a"}
    )
    assert "X-Truncated-Texts" not in whole.headers


@pytest.mark.parametrize(
    "address, wish",
    [
        ("text-classification", {"parameters": {"truncation": False}}),
        ("predict", {"truncate": False}),
        ("embed", {"truncate": False}),
        ("feature-extraction", {"truncate": False}),
    ],
)
def test_who_wants_no_text_cut_is_told_which_is_too_long(
    address, wish, server, ask
):
    url = f"{server}/{address}"
    status, refused = ask(url, {"inputs": "long " * 600} | wish)
    assert status == 413 and "text 0" in refused["error"]
    assert ask(url, {"inputs": "short"} | wish)[0] == 200


DEEP = b"[" * 100_000
# What is sent, with which headers, and the status of the refusal.
BAD = {
    "no JSON": (b"{", {}, 422),
    "nothing": (b"", {}, 422),
    "no object": (b"7", {}, 422),
    "deep": (DEEP, {}, 422),
    "deep inside": (b'{"inputs": ' + DEEP, {}, 422),
    "no number": (b'{"inputs": "a", "parameters": {"top_k": NaN}}', {}, 422),
    "huge number": (
        b'{"inputs": "a", "parameters": {"top_k": 1%s}}' % (b"0" * 5000),
        {},
        422,
    ),
    "infinite": (
        b'{"inputs": "a", "parameters": {"top_k": 1e999}}',
        {},
        422,
    ),
    "wrong type": (b'{"inputs": {"a": 1}}', {}, 422),
    "empty list": (b'{"inputs": []}', {}, 422),
    "unknown name": (b'{"inputs": "a", "input": "b"}', {}, 422),
    "half a character": (b'{"inputs": "\\ud800"}', {}, 422),
    "not UTF-8": (b'{"inputs": "\xff"}', {}, 422),
    "other bytes": ('{"inputs": "ä"}'.encode("latin-1"), {}, 422),
    "packed": (
        gzip.compress(b'{"inputs": "a"}'),
        {"Content-Encoding": "gzip"},
        415,
    ),
    "a form": (b"inputs=a", {"Content-Type": "text/plain"}, 415),
    "too many": (
        json.dumps({"inputs": ["a"] * 257}).encode(),
        {},
        413,
    ),
    "too large": (
        json.dumps({"inputs": "a" * 2_000_001}).encode(),
        {},
        413,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_no_request_makes_the_service_fail(case, server):
    body, headers, expected = BAD[case]
    headers = {"Content-Type": "application/json"} | headers
    url = f"{server}/text-classification"
    answer = requests.post(url, data=body, headers=headers)
    told = answer.json()
    assert answer.status_code == expected, told
    assert told.keys() == {"error", "error_type"}
    assert told["error_type"] == "validation"
    assert "\n" not in told["error"] and len(told["error"]) < 400


def test_half_a_character_among_targets_is_refused_too(server):
    body = b'{"inputs": "[MASK]", "parameters": {"targets": ["\\ud800"]}}'
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server}/fill-mask", data=body, headers=headers)
    assert answer.status_code == 422, answer.text


def test_a_limit_names_itself(server):
    url = f"{server}/text-classification"
    large = requests.post(url, json={"inputs": "a" * 2_000_001}).json()
    assert "2000000 bytes" in large["error"]
    many = requests.post(url, json={"inputs": ["a"] * 300}).json()
    assert "300 texts" in many["error"] and "256" in many["error"]


def test_a_body_without_a_length_is_cut_off_too(server):
    def chunks():
        yield b'{"inputs": "'
        for _ in range(300):
            yield b"a" * 10_000
        yield b'"}'

    try:
        answer = requests.post(
            f"{server}/text-classification",
            data=chunks(),
            headers={"Content-Type": "application/json"},
        )
    except requests.ConnectionError:
        return  # closed while it was still being sent
    assert answer.status_code == 413


def test_other_addresses_and_verbs_are_refused_in_the_same_shape(server):
    lost = requests.get(f"{server}/nowhere")
    assert lost.status_code == 404 and "/docs" in lost.json()["error"]
    verb = requests.get(f"{server}/text-classification")
    assert verb.status_code == 405 and "/docs" in verb.json()["error"]


def test_the_documentation_loads_nothing_from_elsewhere(server):
    page = requests.get(f"{server}/docs").text
    assert "swagger-ui" in page
    assert "https://" not in page and "http://" not in page.replace(server, "")
    paths = requests.get(f"{server}/openapi.json").json()["paths"]
    assert {"/text-classification", "/v1/completions"} <= paths.keys()


def test_a_model_is_loaded_when_it_is_first_asked_for(checkpoint):
    with start_server(checkpoint) as url:
        cold = requests.get(f"{url}/fill-mask/health")
        assert cold.status_code == 503 and cold.headers["Retry-After"] == "1"
        body = {"inputs": "Paris is in [MASK]."}
        answer = requests.post(f"{url}/fill-mask", json=body)
        assert answer.status_code == 200
        assert requests.get(f"{url}/fill-mask/health").status_code == 200
        about = requests.get(f"{url}/text-classification/info").json()
        assert about["loaded"] is False


def test_health_answers_at_once_during_the_largest_batch(server):
    url = f"{server}/text-classification"
    body = {"inputs": ["word " * 1000] * 256}
    sender = threading.Thread(
        target=requests.post, args=(url,), kwargs={"json": body}
    )
    sender.start()
    waits = []
    with requests.Session() as session:
        while sender.is_alive():
            started = time.perf_counter()
            assert session.get(f"{server}/health").status_code == 200
            waits.append(time.perf_counter() - started)
            time.sleep(0.02)
    sender.join()
    # The figure is measured in benchmarks/; here the loop must not stand
    # still while a pass is computed.
    assert len(waits) > 3 and np.median(waits) < 0.5


def test_a_client_that_goes_leaves_nothing_behind(server):
    host, port = server.removeprefix("http://").split(":")
    body = json.dumps({"inputs": ["word " * 1000] * 256}).encode()
    head = (
        "POST /text-classification HTTP/1.1\r\nHost: x\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    def waiting():
        text = requests.get(f"{server}/metrics").text
        [line] = [
            line
            for line in text.splitlines()
            if line.startswith("nlp_waiting_texts ")
        ]
        return float(line.split()[1])

    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + body)
        deadline = time.monotonic() + 20
        while not waiting():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    before = time.monotonic()
    # Those that are in a pass are computed; the others are dropped.
    while waiting():
        assert time.monotonic() < before + 20
        time.sleep(0.01)
    answer = requests.post(
        f"{server}/text-classification", json={"inputs": "still there"}
    )
    assert answer.status_code == 200


def test_a_token_is_asked_for_and_said_nowhere(checkpoint, monkeypatch):
    monkeypatch.setenv("NLP_HELPERS_TOKEN", "s3cret-s3cret")
    with start_server(checkpoint, "--preload=text-classification") as url:
        address = f"{url}/text-classification"
        refused = requests.post(address, json={"inputs": "a"})
        assert refused.status_code == 401
        assert refused.json()["error_type"] == "authorization"
        assert requests.get(f"{url}/metrics").status_code == 401
        assert requests.get(f"{url}/health").status_code == 200
        client = InferenceClient(address, token="s3cret-s3cret")
        assert len(client.text_classification("a")) == 3
        wrong = {"Authorization": "Bearer s3cret-s3creT"}
        again = requests.post(address, json={"inputs": "a"}, headers=wrong)
        assert again.status_code == 401


def test_it_ends_cleanly_and_answers_what_is_in_flight(checkpoint):
    command = [sys.executable, "-m", "nlp_helpers", "serve", "--port=0"]
    command += [f"--checkpoint={checkpoint}", "--preload=text-classification"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        # And a line for the model that is loaded meanwhile, somewhere.
        said = [process.stdout.readline() for _ in range(4)]
        [url] = [line for line in said if line.startswith(LISTENING)]
        url = url.removeprefix(LISTENING).strip()
        served, limits = (
            next(line for line in said if line.startswith(word))
            for word in ("serving ", "limits: ")
        )
        assert "/text-classification" in served and "max_queue" in limits
        while requests.get(f"{url}/health").status_code != 200:
            time.sleep(0.1)
        body = {"inputs": ["word " * 1000] * 128}
        with ThreadPoolExecutor(2) as pool:
            address = f"{url}/text-classification"
            answer = pool.submit(requests.post, address, json=body)
            while (
                "nlp_waiting_texts 0.0" in requests.get(f"{url}/metrics").text
            ):
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 200
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_wrong_folder_ends_it_with_a_line(tmp_path):
    with pytest.raises(UserError, match="did not start: error: .*nowhere"):
        with start_server(str(tmp_path / "nowhere")):
            pass
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="did not start: error: "):
        with start_server(str(tmp_path), "--preload=text-classification"):
            pass


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "nlp_helpers", "serve"]
        done = subprocess.run(
            [*command, "--port", port], capture_output=True, text=True
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: 127.0.0.1:{port}")


def test_an_idle_service_rests(server):
    [process] = [
        child
        for child in psutil.Process(os.getpid()).children()
        if "serve" in child.cmdline()
    ]
    time.sleep(0.5)
    before = process.cpu_times()
    time.sleep(3)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    assert used < 0.15  # of 3 s; benchmarks/serving.py has the figure
