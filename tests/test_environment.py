"""The files that say what to install agree with each other and the code."""

import ast
import importlib.metadata
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from nlp_helpers import hosted, parameters

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCK_FILES = (
    "lock.txt",
    "cuda.txt",
    "docs.txt",
    "offline.txt",
    "torch-cpu.txt",
    "uv.txt",
    "vectors.txt",
)
TORCH = "2.13.0"
EXTRAS = PYPROJECT["project"]["optional-dependencies"]

# Those in no lock, since not everyone needs them: extra -> list.
APART = {"course": "docs.txt", "vectors": "vectors.txt", "docs": "docs.txt"}
LOCKED_EXTRAS = tuple(name for name in EXTRAS if name not in APART)

# The extras of which environment.yml has the packages.
CONDA_EXTRAS = ("notebooks", "runner", "test", "mlm-head")

# Where the packages of which extras may be imported.  A folder's line counts
# for what is in it, unless a longer line does.
ALLOWED = {
    "nlp_helpers": (),
    "nlp_helpers/course": ("course",),
    "nlp_helpers/runner": ("runner",),
    "nlp_helpers/serving": ("serve", "ray"),
    "tools/mlm_head": ("mlm-head",),
    "tools/website": ("docs", "runner"),
    "notebooks": ("notebooks", "attribution"),
    "tests": (
        "notebooks",
        "runner",
        "test",
        "mlm-head",
        "attribution",
        "ray",
        "serve",
        "vectors",
        "course",
        "docs",
    ),
    "benchmarks": tuple(EXTRAS),
}
# Imported in functions only, after somebody asked for them by name.
ON_REQUEST = ("attribution", "ray", "vectors")

# environment.yml is made for this Python.
CONDA_PYTHON = "3.11"
MINOR_VERSIONS = ("3.10", "3.11", "3.12", "3.13")
PLATFORMS = {
    "Linux": {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
    },
    "macOS": {
        "sys_platform": "darwin",
        "platform_system": "Darwin",
        "platform_machine": "arm64",
        "os_name": "posix",
    },
    "Windows": {
        "sys_platform": "win32",
        "platform_system": "Windows",
        "platform_machine": "AMD64",
        "os_name": "nt",
    },
}


def marker_environment(python, platform="Linux"):
    """Return what pip's markers see there, with a late patch release."""
    return {
        **PLATFORMS[platform],
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def direct_dependencies(*extras, python=CONDA_PYTHON, platform="Linux"):
    """Return the requirements of pyproject.toml there, by name."""
    where = marker_environment(python, platform)
    texts = [*PYPROJECT["project"]["dependencies"]]
    for extra in extras:
        texts += EXTRAS[extra]
    return {
        canonicalize_name(each.name): each
        for each in map(Requirement, texts)
        if each.marker is None or each.marker.evaluate(where)
    }


def read_requirements(name):
    """Return (requirement, sha256 digests) for each entry of a file."""
    text = (ROOT / "requirements" / name).read_text("utf-8")
    text = re.sub(r"^ *#.*\n", "", text, flags=re.M)
    entries = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            requirement, *options = re.split(r"\s+--", line.strip())
            hashes = [o[12:] for o in options if o.startswith("hash=sha256:")]
            assert len(hashes) == len(options), f"{name}: {requirement}"
            entries.append((Requirement(requirement), hashes))
    return entries


def versions_for(name, python, platform="Linux"):
    """Return {package: version} that pip would install from a file there."""
    where = marker_environment(python, platform)
    versions = {}
    for requirement, _ in read_requirements(name):
        if requirement.marker and not requirement.marker.evaluate(where):
            continue
        package = canonicalize_name(requirement.name)
        assert package not in versions, f"{package}: two on {python}"
        versions[package] = exact_version(requirement)
    return versions


def exact_version(requirement):
    """Return the one version that a requirement allows."""
    pins = list(requirement.specifier)
    assert len(pins) == 1, f"{requirement}: not one version"
    assert pins[0].operator == "==", f"{requirement}: not exact"
    assert "*" not in pins[0].version, f"{requirement}: not exact"
    return pins[0].version


def conda_pins():
    """Return {package: (version, reason)} of environment.yml's pip list.

    The reasons are comments, which a YAML parser drops: the lines are read
    as text, and the parser's list must be the same.
    """
    text = (ROOT / "environment.yml").read_text("utf-8")
    conda = yaml.safe_load(text)["dependencies"]
    (pip_list,) = [each["pip"] for each in conda if isinstance(each, dict)]
    lines = re.findall(r"^ {6}- ([\w.-]+)==(\S+)(?:  # (\S.*))?$", text, re.M)
    assert [f"{n}=={v}" for n, v, _ in lines] == pip_list
    pins = {canonicalize_name(n): (v, reason) for n, v, reason in lines}
    assert len(pins) == len(lines), "a package stands there twice"
    return pins


def test_environment_lists_every_direct_dependency_and_nothing_else():
    direct = direct_dependencies(*CONDA_EXTRAS)
    assert conda_pins().keys() == direct.keys()


def test_environment_gives_each_package_a_reason():
    bare = [name for name, (_, why) in conda_pins().items() if not why]
    assert not bare


def test_environment_is_for_the_python_of_its_pins():
    text = (ROOT / "environment.yml").read_text("utf-8")
    conda = yaml.safe_load(text)["dependencies"]
    assert [each for each in conda if isinstance(each, str)] == [
        f"python={CONDA_PYTHON}",
        "pip",
    ]


def test_environment_pins_the_versions_of_the_lock():
    lock = versions_for("lock.txt", CONDA_PYTHON)
    pins = {name: version for name, (version, _) in conda_pins().items()}
    assert pins == {name: lock.get(name) for name in pins}


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", MINOR_VERSIONS)
def test_lock_has_every_direct_dependency_within_its_range(python, platform):
    lock = versions_for("lock.txt", python, platform)
    direct = direct_dependencies(
        *LOCKED_EXTRAS, python=python, platform=platform
    )
    for name, requirement in direct.items():
        assert name in lock, f"{name} is missing: run `make lock`"
        assert requirement.specifier.contains(lock[name]), name


@pytest.mark.parametrize("extra", APART)
@pytest.mark.parametrize("python", MINOR_VERSIONS)
def test_a_list_of_its_own_has_what_its_extra_asks_for(python, extra):
    lock = versions_for("lock.txt", python)
    pins = lock | versions_for(APART[extra], python)
    known = direct_dependencies(python=python)
    for name, requirement in direct_dependencies(extra, python=python).items():
        if name not in known:
            assert requirement.specifier.contains(pins[name]), name


def test_the_resolver_leaves_the_same_extras_out():
    resolver = runpy.run_path(str(ROOT / "requirements" / "compile.py"))
    assert resolver["APART"] == tuple(APART)
    assert resolver["extras"]() == list(EXTRAS)


@pytest.mark.parametrize("package", ["tokenizers", "safetensors"])
def test_transformers_says_the_range(package):
    """Each of its releases asks for a narrow one."""
    assert not direct_dependencies()[package].specifier


def test_the_notebooks_need_nothing_newer_than_colab_has():
    colab = {}
    for line in (
        (ROOT / "requirements" / "colab-freeze.txt").read_text().splitlines()
    ):
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            colab[canonicalize_name(name)] = version
    needed = direct_dependencies("notebooks")
    newer = {
        name: f"{requirement.specifier}, but Colab has {colab[name]}"
        for name, requirement in needed.items()
        if name in colab and colab[name] not in requirement.specifier
    }
    assert newer == {}
    # What the set-up cell installs, and JupyterLab, which Colab is itself.
    lacking = set(needed) - set(colab) - {"jupyterlab"}
    assert lacking == set(hosted.PINS)


def test_the_set_up_cell_installs_the_pinned_versions():
    lock = versions_for("lock.txt", CONDA_PYTHON)
    pins = hosted.PINS | hosted.SERVER_PINS
    assert pins == {name: lock[name] for name in pins}
    pinned = {str(entry) for entry, _ in read_requirements("offline.txt")}
    here = ".".join(map(str, sys.version_info[:2]))
    own = versions_for("vectors.txt", here)
    pinned |= {f"{name}=={version}" for name, version in own.items()}
    chosen = {pin for pins in hosted.PACKAGES.values() for pin in pins}
    # The tests alone run the packed model, to compare with.
    compared = {"onnxruntime", "flatbuffers"}
    pinned = {pin for pin in pinned if pin.split("==")[0] not in compared}
    assert pinned <= chosen
    for requirement in map(Requirement, chosen - pinned):
        assert exact_version(requirement) == lock[requirement.name]
    assert set(hosted.PACKAGES) == set(parameters.SCHEMAS)


def test_a_package_has_the_same_range_wherever_it_is_asked_for():
    ranges = {}
    for texts in (PYPROJECT["project"]["dependencies"], *EXTRAS.values()):
        for requirement in map(Requirement, texts):
            name = canonicalize_name(requirement.name)
            ranges.setdefault(name, set()).add(str(requirement.specifier))
    assert {name: each for name, each in ranges.items() if len(each) > 1} == {}


def test_lock_covers_the_supported_pythons():
    supported = SpecifierSet(PYPROJECT["project"]["requires-python"])
    tried = [f"3.{minor}" for minor in range(8, 20)]
    assert tuple(supported.filter(tried)) == MINOR_VERSIONS


@pytest.mark.parametrize("name", LOCK_FILES)
def test_every_requirement_is_exact_and_hashed(name):
    entries = read_requirements(name)
    assert entries
    for requirement, hashes in entries:
        exact_version(requirement)
        assert hashes, f"{requirement} has no hash"
        for digest in hashes:
            assert re.fullmatch(r"[0-9a-f]{64}", digest), requirement


def test_torch_is_the_same_release_everywhere():
    assert TORCH in direct_dependencies()["torch"].specifier
    assert conda_pins()["torch"][0] == TORCH
    for python in MINOR_VERSIONS:
        assert versions_for("lock.txt", python)["torch"] == TORCH
    entries = {r.name: (r, h) for r, h in read_requirements("torch-cpu.txt")}
    cpu_build, cpu_hashes = entries.pop("torch")
    assert not entries
    assert exact_version(cpu_build) == f"{TORCH}+cpu"
    lock = dict((r.name, h) for r, h in read_requirements("lock.txt"))
    assert set(cpu_hashes) < set(lock["torch"])


def test_cuda_stack_stands_apart_from_the_lock():
    cuda = re.compile(r"nvidia-|cuda-|triton$")
    lock = {r.name for r, _ in read_requirements("lock.txt")}
    assert not [name for name in lock if cuda.match(name)]
    stack = read_requirements("cuda.txt")
    assert all(cuda.match(r.name) for r, _ in stack)
    assert all("linux" in str(r.marker) for r, _ in stack)


def test_lock_and_cuda_stack_cover_what_torch_asks_for():
    # Says most where the CUDA build is the one installed.
    required = importlib.metadata.requires("torch") or []
    where = {**marker_environment(CONDA_PYTHON), "extra": ""}
    known = {
        **versions_for("lock.txt", CONDA_PYTHON),
        **versions_for("cuda.txt", CONDA_PYTHON),
    }
    for requirement in map(Requirement, required):
        if requirement.marker is None or requirement.marker.evaluate(where):
            assert canonicalize_name(requirement.name) in known


def test_package_and_project_have_one_version():
    import nlp_helpers

    assert nlp_helpers.__version__ == PYPROJECT["project"]["version"]


def test_changelog_and_citation_name_the_version():
    version = PYPROJECT["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## \[(\d\S*)\]", changelog, re.M)[0] == version
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert citation["license"] == PYPROJECT["project"]["license"]


def test_the_workflow_runs_the_same_command_on_each_python():
    path = ROOT / ".github" / "workflows" / "ci.yml"
    job = yaml.safe_load(path.read_text("utf-8"))["jobs"]["test"]
    assert tuple(job["strategy"]["matrix"]["python"]) == MINOR_VERSIONS
    assert {"run": "bash .ci/run"} in job["steps"]


def test_hooks_run_programs_of_the_dev_extra():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    programs = {
        hook["entry"].split()[0]
        for repository in hooks["repos"]
        for hook in repository["hooks"]
        if hook["language"] == "system"
    }
    known = set()
    for name in map(str, direct_dependencies("dev")):
        for entry in importlib.metadata.distribution(name).entry_points:
            known.add(entry.name)
    # ruff's program is no entry point.
    assert programs - {"ruff"} <= known and programs


def python_source(path):
    """Return the code of a module or a notebook."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return text
    cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    transform = TransformerManager().transform_cell  # %pip and the like
    return "".join(transform("".join(cell["source"])) for cell in cells)


def imports(path):
    """Return {(top-level module, whether only a function imports it)}."""
    tree = ast.parse(python_source(path))
    in_functions = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        else:
            continue
        for name in names:
            found.add((name.split(".")[0], id(node) in in_functions))
    return found


def sources(folder):
    """Return the code files for which a line of ALLOWED counts."""
    inner = [ROOT / each for each in ALLOWED if each.startswith(f"{folder}/")]
    return [
        path
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".ipynb")
        and ".ipynb_checkpoints" not in path.parts
        and not any(each in path.parents for each in inner)
    ]


@pytest.mark.parametrize("folder", ALLOWED)
def test_what_is_imported_is_declared(folder):
    offline = {
        canonicalize_name(requirement.name)
        for requirement, _ in read_requirements("offline.txt")
    }
    always = offline | direct_dependencies(*ALLOWED[folder]).keys()
    on_request = always | direct_dependencies(*ON_REQUEST).keys()
    providers = importlib.metadata.packages_distributions()
    ours = {"nlp_helpers", "tools", *sys.stdlib_module_names}
    ours.add("tomli")  # declared for the Pythons that import it
    ours |= {path.stem for path in (ROOT / "tests").rglob("*.py")}
    ours |= {path.stem for path in (ROOT / folder).glob("*.py")}  # beside it
    seen, undeclared = set(), set()
    for path in sources(folder):
        for module, in_function in imports(path):
            if module in ours:
                continue
            seen.add(module)
            names = map(canonicalize_name, providers.get(module, [module]))
            declared = on_request if in_function else always
            if declared.isdisjoint(names):
                undeclared.add(f"{path.relative_to(ROOT)} imports {module}")
    assert seen, f"nothing is imported in {folder}: has it moved?"
    assert not undeclared


def test_distclean_refuses_before_it_removes(project, tmp_path):
    shutil.copy(project / "Makefile", tmp_path)
    for name in ("venv", "build", "outputs/offline"):
        (tmp_path / name).mkdir(parents=True)
    command = ["make", "-C", tmp_path, "distclean", "VENV=venv"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode and "not made by make setup" in done.stderr
    assert (tmp_path / "build").exists()
    assert (tmp_path / "outputs" / "offline").exists()
    (tmp_path / "venv" / ".ready").touch()
    subprocess.run(command, check=True, capture_output=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"Makefile", "outputs"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_what_is_pinned_by_its_hash_is_the_same_bytes_on_every_system():
    pinned = [*ROOT.glob("nlp_helpers/models/weights/*/*.json")]
    assert pinned
    command = ["git", "check-attr", "eol", "--", *pinned]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert all(line.endswith(": lf") for line in done.stdout.splitlines())
