"""The guard that all kernels of the tests run under must itself work."""

import subprocess

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=2)
except OSError as error:
    print(error)
"""


def attempt(python, host, tmp_path, monkeypatch):
    monkeypatch.setenv("NETWORK_LOG", str(tmp_path / "log"))
    done = subprocess.run(
        [python, "-c", CONNECT, host], capture_output=True, text=True
    )
    return done.stdout


def test_the_network_is_refused_and_noted(python, tmp_path, monkeypatch):
    for host in ("192.0.2.1", "example.org"):
        answer = attempt(python, host, tmp_path, monkeypatch)
        assert "refused in tests" in answer
        assert host in (tmp_path / "log").read_text()


def test_the_loopback_interface_stays_open(python, tmp_path, monkeypatch):
    for host in ("127.0.0.1", "localhost"):
        answer = attempt(python, host, tmp_path, monkeypatch)
        assert "refused in tests" not in answer
    assert not (tmp_path / "log").exists()
