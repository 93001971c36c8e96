"""Fill a virtual environment of this project; `make setup` calls this.

`install.py packages FOLDER` installs the third-party packages, always into an
empty folder: what an interrupted or older set-up left there is never trusted.
While the work is going on, FOLDER/.unfinished names machine and process:
nobody's own environment is ever emptied, nor one that another make is
filling.  FOLDER/.locked comes last.  `install.py project FOLDER` then adds the
project itself, in place, and FOLDER/.ready; `install.py vectors FOLDER` what
only notebook 07 needs, and FOLDER/.vectors; `install.py docs FOLDER` what only
the site, the slides and the course need, and FOLDER/.docs.

uv installs in seconds what takes pip more than a minute.  It is given the
indexes that pip is configured with, and where uv cannot be had or fails, pip
does the work.  Only the standard library is at hand here.
"""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent
SIZES = "0.8 GB to download, 2.7 GB on disk (with CUDA: 3.3 GB and 6.4 GB)"
# A process of another machine cannot be asked whether it is alive: its mark,
# which is renewed at each step, counts for this long.
MARK_COUNTS = 30 * 60  # seconds

# uv reads no settings of pip: the variable that tells uv the same, and what
# separates several values there.
SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}

# A CUDA build of torch names its CUDA packages; a CPU build names none.
WANTS_CUDA = """
import importlib.metadata, re, sys
required = importlib.metadata.requires("torch") or []
sys.exit(not any(re.match("nvidia|cuda|triton", each) for each in required))
"""


def fail(message: str) -> NoReturn:
    """End with one line that tells the user what to do."""
    sys.exit(f"error: {message}")


@dataclass
class Installer:
    """Installs into one environment, with uv while that works."""

    venv: Path
    uv: str | None = None
    environment: dict[str, str] | None = None  # of uv

    @property
    def python(self) -> Path:
        """Return the environment's Python."""
        return self.venv / "bin" / "python"

    def find_uv(self, fetch: bool) -> None:
        """Look for uv, and put it into the environment if there is none."""
        own = self.venv / "bin" / "uv"
        self.uv = shutil.which(os.environ.get("UV") or "uv")
        if self.uv is None and fetch:
            self.step("uv, which is faster than pip", "uv.txt")
            binary = ("--only-binary", "uv")  # its source needs Rust
            self.run_pip(*binary, *hashed("uv.txt"), quiet=True)
        if self.uv is None and own.exists():
            self.uv = str(own)
        if self.uv is not None:
            self.environment = uv_environment(self.python)

    def install(self, *arguments: str, optional: bool = False) -> None:
        """Let uv install, or pip if uv cannot; optional: or neither."""
        if self.uv is not None:
            reason = self.run_uv(*arguments)
            if reason is None:
                return
            if not optional:
                print(f"  uv failed ({reason}); pip goes on", flush=True)
                self.uv = None
        if not self.run_pip(*arguments, quiet=optional) and not optional:
            fail(f"pip could not install {arguments[-1]}; its reason is above")

    def run_uv(self, *arguments: str) -> str | None:
        """Let uv install, and return why it could not."""
        command = [str(self.uv), "pip", "install", "--quiet", "--no-deps"]
        command += ["--python", str(self.python)]
        # Python writes the bytecode of a module when it is first imported,
        # which is quicker than writing that of every module now; where it
        # may not, each start would take seconds longer.
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            command.append("--compile-bytecode")
        try:
            done = subprocess.run(
                [*command, *arguments],
                env=self.environment,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            return str(error)
        if not done.returncode:
            return None
        return (done.stderr.strip() or "no reason given").splitlines()[0]

    def run_pip(self, *arguments: str, quiet: bool) -> bool:
        """Let pip install, and say whether it could."""
        # -q -q leaves errors alone: pip's warnings are about its settings.
        command = [str(self.python), "-m", "pip"]
        command += ["--disable-pip-version-check"]
        command += ["-q", "-q", "install", "--no-deps", *arguments]
        stderr = subprocess.DEVNULL if quiet else None
        return not subprocess.run(command, stderr=stderr).returncode

    def keep_to_release(self, package: str) -> None:
        """Tell uv to take exactly the version that the lock names.

        An index may offer other builds of it, such as 2.0+cpu for 2.0.  pip
        passes over what has none of the lock's hashes; uv chooses the
        highest version first, and then refuses it.
        """
        if self.environment is None:
            return
        lock = (FOLDER / "lock.txt").read_text(encoding="utf-8")
        versions = re.findall(rf"^{package}==([^\s;]+)", lock, re.M)
        if len(versions) == 1:
            path = self.venv / "constraint.txt"
            path.write_text(f"{package}==={versions[0]}\n", encoding="utf-8")
            self.environment["UV_CONSTRAINT"] = str(path)

    def step(self, what: str, name: str) -> None:
        """Say what is being installed, and that this process is alive."""
        print(f"  {what} (requirements/{name})", flush=True)
        (self.venv / ".unfinished").touch()


def hashed(name: str) -> tuple[str, str, str]:
    """Return the arguments that install a requirements file."""
    return "--require-hashes", "-r", str(FOLDER / name)


def uv_environment(python: Path) -> dict[str, str]:
    """Return the variables for uv: this process's, and pip's settings."""
    listing = subprocess.run(
        [python, "-m", "pip", "config", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout
    found = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        found[section, name] = str(ast.literal_eval(value)).split()
    environment = {
        # Packages of an extra index may be older than those of the first:
        # take the newest of all, as pip does.  The hashes decide anyway.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    # The later section wins with pip.
    for section in ("global", "install", ":env:"):
        for name, (variable, separator) in SETTINGS.items():
            if values := found.get((section, name)):
                environment[variable] = separator.join(values)
    return environment | os.environ


def is_being_filled(mark: Path) -> bool:
    """Say whether the process that wrote a mark may still be at work."""
    try:
        host, pid = mark.read_text(encoding="utf-8").split()
        if host == platform.node():
            os.kill(int(pid), 0)
            return True
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and somebody else's
        return True
    except ValueError:  # cut short while it was written
        pass
    return time.time() - mark.stat().st_mtime < MARK_COUNTS


def claim(venv: Path) -> None:
    """Empty a folder for this process, or say why it is not to be emptied."""
    mark = venv / ".unfinished"
    ours = mark.exists() or (venv / ".locked").exists()
    if os.path.lexists(venv) and not ours:
        fail(f"{venv} was not made by make setup; remove it or set VENV")
    if Path(sys.prefix).resolve() == venv.resolve():
        fail(f"PYTHON lies in {venv} itself; name another Python")
    venv.mkdir(parents=True, exist_ok=True)
    if mark.exists() and not is_being_filled(mark):
        mark.unlink()
    try:
        with mark.open("x", encoding="utf-8") as file:
            file.write(f"{platform.node()} {os.getpid()}\n")
    except FileExistsError:
        fail(
            f"another make is setting up {venv}; wait for it. If none is "
            f"running, remove {venv}"
        )
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != mark:
            path.unlink()


def install_packages(venv: Path) -> None:
    """Make the environment anew, with every third-party package."""
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError:
        fail(
            f"{sys.executable} lacks venv (Debian and Ubuntu: apt install "
            "python3-venv)"
        )
    claim(venv)
    print(f"Setting up {venv}, once, in a minute or more: {SIZES}", flush=True)
    if subprocess.run([sys.executable, "-m", "venv", venv]).returncode:
        fail(f"{sys.executable} could not make {venv}")
    installer = Installer(venv)
    installer.find_uv(fetch=True)
    installer.step(
        "torch without CUDA, if an index offers it", "torch-cpu.txt"
    )
    installer.install(*hashed("torch-cpu.txt"), optional=True)
    if not any(venv.glob("lib/python*/site-packages/torch-*.dist-info")):
        installer.keep_to_release("torch")
    installer.step("libraries", "lock.txt")
    installer.install(*hashed("lock.txt"))
    if not subprocess.run([installer.python, "-c", WANTS_CUDA]).returncode:
        installer.step("CUDA packages", "cuda.txt")
        installer.install(*hashed("cuda.txt"))
    installer.step("models and texts", "offline.txt")
    installer.install(*hashed("offline.txt"))
    (venv / ".unfinished").rename(venv / ".locked")
    (venv / ".locked").touch()


def install_project(venv: Path) -> None:
    """Add this project in place: edits count without another set-up."""
    print("  this project (editable)", flush=True)
    installer = Installer(venv)
    installer.find_uv(fetch=False)
    installer.install("--no-build-isolation", "-e", str(PROJECT))
    subprocess.run(  # makes its cache, else announced in a notebook
        [installer.python, "-c", "import matplotlib.font_manager"],
        stderr=subprocess.DEVNULL,
    )
    (venv / ".ready").touch()


def install_apart(venv: Path, name: str, what: str) -> None:
    """Add the packages of a list that `make setup` leaves out."""
    print(f"  {what} (requirements/{name}.txt)", flush=True)
    installer = Installer(venv)
    installer.find_uv(fetch=False)
    installer.install(*hashed(f"{name}.txt"))
    (venv / f".{name}").touch()


def install_vectors(venv: Path) -> None:
    """Add what only notebook 07 needs."""
    install_apart(venv, "vectors", "what notebook 07 needs besides")


def install_docs(venv: Path) -> None:
    """Add what only the site, the slides and the course need."""
    what = "what the site, the slides and the course need"
    install_apart(venv, "docs", what)


def main() -> None:
    """Do what the command line says."""
    actions = {
        "packages": install_packages,
        "project": install_project,
        "vectors": install_vectors,
        "docs": install_docs,
    }
    try:
        _, action, folder = sys.argv
        act = actions[action]
    except (ValueError, KeyError):
        sys.exit("usage: install.py packages|project|vectors|docs FOLDER")
    try:
        act(Path(folder))
    except OSError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
