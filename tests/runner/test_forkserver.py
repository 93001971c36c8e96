"""Kernels that are forked are real kernels, with the same results."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points

import pytest
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import KernelProvisionerFactory

from nlp_helpers.runner import forkserver, provisioner

pytestmark = pytest.mark.skipif(
    not forkserver.available(), reason="this system cannot fork"
)


@pytest.fixture
def manager(monkeypatch):
    factory = KernelProvisionerFactory.instance()
    monkeypatch.setattr(factory, "default_provisioner_name", forkserver.NAME)
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=os.environ | {"OMP_NUM_THREADS": "1"})
    yield manager
    if manager.has_kernel:
        manager.shutdown_kernel(now=True)


def ask(manager, code):
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    found = []
    client.execute_interactive(
        code,
        output_hook=lambda message: found.append(message["content"]),
        timeout=60,
    )
    client.stop_channels()
    return "".join(content.get("text", "") for content in found)


def test_a_forked_kernel_has_the_imports_and_is_its_own(manager):
    assert isinstance(manager.provisioner, provisioner.ForkServerProvisioner)
    code = """
import sys, os
print("torch" in sys.modules, sys.modules["torch"].get_num_threads())
print(sys.modules["torch"].cuda.is_initialized())
print(os.getpid(), os.getpgid(0), __name__)
"""
    lines = ask(manager, code).splitlines()
    pid = manager.provisioner.pid
    assert lines == ["True 1", "False", f"{pid} {pid} __main__"]


@pytest.mark.parametrize("name", [forkserver.NAME, "preloaded-provisioner"])
def test_jupyter_knows_the_provisioner_by_both_names(name):
    [entry] = entry_points(
        group="jupyter_client.kernel_provisioners", name=name
    )
    assert entry.load() is provisioner.ForkServerProvisioner


def test_a_forked_kernel_can_be_interrupted_and_restarted(manager):
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    asked = client.execute(
        "import time; print('begun', flush=True); time.sleep(60)"
    )
    # An interrupt that comes before the code has begun is lost.
    while client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
        pass
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=10)
    while reply["parent_header"]["msg_id"] != asked:
        reply = client.get_shell_msg(timeout=10)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    client.stop_channels()
    before = manager.provisioner.pid
    manager.restart_kernel(now=True)
    assert manager.provisioner.pid != before
    assert ask(manager, "print(1 + 1)") == "2\n"


def test_only_kernels_of_this_python_are_forked(manager):
    kernel = manager.provisioner
    arguments = {"env": dict(os.environ), "cwd": "/"}
    command = [sys.executable, "-Xfrozen_modules=off", *provisioner.LAUNCHER]
    asyncio.run(kernel.launch_kernel([*command, "--version"], **arguments))
    assert isinstance(kernel.process, provisioner.ForkedKernel)
    kernel.process.wait()
    other = ["/bin/echo", *provisioner.LAUNCHER]
    asyncio.run(kernel.launch_kernel(other, **arguments))
    assert not isinstance(kernel.process, provisioner.ForkedKernel)
    kernel.process.wait()


def test_all_that_the_fork_server_imports_exists():
    """The fork server passes over a name that does not exist."""
    import importlib

    for name in forkserver.MODULES:
        importlib.import_module(name)


def test_what_cannot_be_imported_is_left_to_the_kernel(python, tmp_path):
    """And Control-C meanwhile is dealt with by the runner alone."""
    torch = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    (tmp_path / "torch.py").write_text(f"{torch}; raise OSError('no CUDA')")
    code = """
import sys, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import nlp_helpers.runner.forkserver_main
same = signal.getsignal(signal.SIGINT) is signal.default_int_handler
print(same, "matplotlib.figure" in sys.modules, flush=True)
"""
    done = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("True True\n", "")


@pytest.mark.slow
def test_importing_starts_no_thread_and_no_cuda(python):
    """A thread would not be copied, and CUDA cannot be used after a fork."""
    code = f"""
import importlib, threading
for name in {forkserver.MODULES!r}:
    importlib.import_module(name)
import torch
print([thread.name for thread in threading.enumerate()])
print(torch.cuda.is_initialized())
"""
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["['MainThread']", "False"]


@pytest.mark.slow
def test_forked_and_plain_kernels_write_the_same(root, project, python):
    """The two notebooks that are shortest and compute or tabulate most."""
    for folder in ("params", "notebooks"):
        shutil.copytree(project / folder, root / folder)
    command = [python, "-m", "nlp_helpers", "run", "--force", "03", "04"]
    outputs = root / "outputs" / "offline"
    found = []
    for options in ([], ["--plain-kernels"]):
        subprocess.run([*command, *options], check=True, capture_output=True)
        written = sorted(outputs.glob("*.ipynb")) + sorted(
            outputs.glob("*/metrics.json")
        )
        assert len(written) == 4
        found.append("".join(path.read_text() for path in written))
    lines = zip(*(text.splitlines() for text in found), strict=True)
    assert [pair for pair in lines if pair[0] != pair[1]] == []


def test_a_long_folder_for_temporary_files_is_no_place_for_a_socket(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 80)))
    assert not forkserver.available()
