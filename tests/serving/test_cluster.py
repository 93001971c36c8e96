"""The service on Ray Serve: two replicas, one of them killed under load."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

REPLICA = "ray::ServeReplica:default:nlp-helpers"
SECONDS = 20  # of load
CLIENTS = 6


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def replicas():
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if REPLICA in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.fixture
def deployed(cluster, checkpoint, tmp_path):
    """The address of two replicas, as the command of the docs starts them."""
    serve = str(Path(sys.executable).with_name("serve"))
    port = str(free_port())
    log = (tmp_path / "serve.log").open("w+")
    both = {"stdout": log, "stderr": subprocess.STDOUT}
    subprocess.run([serve, "start", "--http-port", port], check=True, **both)
    command = [serve, "run", "nlp_helpers.serving.cluster:build"]
    command += [f"checkpoint={checkpoint}", "replicas=2", "cpus=0.5"]
    command += ["preload=text-classification"]
    process = subprocess.Popen(command, **both)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    try:
        while not is_ready(url):
            log.seek(0)
            assert process.poll() is None, log.read()
            assert time.monotonic() < deadline, log.read()
            time.sleep(0.5)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        subprocess.run([serve, "shutdown", "-y"], **both)
        log.close()


def is_ready(url):
    with suppress(requests.RequestException):
        body = {"inputs": "fine"}
        answer = requests.post(f"{url}/text-classification", json=body)
        return answer.status_code == 200 and len(replicas()) == 2
    return False


@pytest.mark.slow
def test_ray_loses_only_what_was_in_flight_at_a_killed_replica(deployed):
    end = time.monotonic() + SECONDS

    def ask_on(number):
        seen = []
        with requests.Session() as session:
            while time.monotonic() < end:
                begun = time.monotonic()
                body = {"inputs": f"client {number}"}
                try:
                    answer = session.post(
                        f"{deployed}/text-classification", json=body
                    )
                    status = answer.status_code
                except requests.RequestException as error:
                    status = repr(error)
                seen.append((begun, time.monotonic(), status))
        return seen

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask_on, number) for number in range(CLIENTS)]
        time.sleep(SECONDS / 4)
        before = {process.pid for process in replicas()}
        killed = time.monotonic()
        os.kill(min(before), signal.SIGKILL)
        asked = [each for client in clients for each in client.result()]
    lost = [each for each in asked if each[2] != 200]
    assert len(asked) > 50 and len(lost) <= CLIENTS
    assert all(begun < killed < ended for begun, ended, _ in lost), lost
    deadline = time.monotonic() + 60
    while len({p.pid for p in replicas()} - {min(before)}) < 2:
        assert time.monotonic() < deadline  # another takes its place
        time.sleep(0.5)
