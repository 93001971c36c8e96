import csv
import json
import shutil

import pandas as pd
import pytest
from runs import NAME, command, write_notebook

from nlp_helpers.core import engine
from nlp_helpers.core.errors import UserError
from nlp_helpers.runner import sweep

WRITE = """\
from nlp_helpers.core import files, paths
folder = paths.resolve(output_dir)
figures = "tokens", "next_token", "greedy_steps", "probability_mass"
for name in (*figures, "trailing_spaces"):
    files.write_text(folder / "figures" / f"{name}.png", "a figure")
assert temperature < 5
metrics = {"best_probability": top_k / 100, "tokens_in_nucleus": seed}
files.write_json(folder / "metrics.json", metrics)
"""
SWEEP = """\
profile: offline
notebooks: ["01"]
grid:
  top_k: [3, 5]
  temperature: [1.0, 9.0]
metric: best_probability
"""


@pytest.fixture
def place(root, project, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(project / "params", root / "params")
    (root / "notebooks").mkdir()
    write_notebook(root / "notebooks" / f"{NAME}.ipynb", WRITE)
    (root / "some.yaml").write_text(SWEEP)
    return root


def test_every_combination_runs_and_is_compared(place):
    (place / "some.yaml").write_text(SWEEP.replace("9.0", "2.0"))
    done = command("sweep", "--plain-kernels", str(place / "some.yaml"))
    assert done.returncode == 0, done.stderr
    folder = place / "outputs" / "sweeps" / "some"
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["top_k"], row["temperature"]) for row in rows] == [
        ("3", "1.0"),
        ("3", "2.0"),
        ("5", "1.0"),
        ("5", "2.0"),
    ]
    assert [row["best_probability"] for row in rows] == (
        ["0.03"] * 2 + ["0.05"] * 2
    )
    assert "| 5 | 2 | 0.05 |" in (folder / "sweep.md").read_text()
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    path = folder / "top_k=5,temperature=2.0" / NAME / "run.json"
    assert json.loads(path.read_text())["parameters"]["top_k"] == 5


KILL_THE_RUNNER_ONCE = """\
import os, signal
assert os.environ["CUDA_VISIBLE_DEVICES"] == ""  # none was asked for
mark = paths.resolve(output_dir).parent / "killed"
if not mark.exists():
    mark.touch()
    os.kill(os.getppid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_ray_runs_every_combination_though_each_is_killed_once(
    place, cluster, capsys, monkeypatch
):
    notebook = place / "notebooks" / f"{NAME}.ipynb"
    write_notebook(notebook, WRITE + KILL_THE_RUNNER_ONCE)
    (place / "some.yaml").write_text(SWEEP.replace("9.0", "2.0"))
    arguments = ["sweep", "--engine", "ray", str(place / "some.yaml")]
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": done") == 4
    folder = place / "outputs" / "sweeps" / "some"
    assert len(list(folder.glob("*/killed"))) == 4
    for path in folder.glob(f"*/{NAME}/run.json"):
        assert json.loads(path.read_text())["status"] == "finished"
    assert "| 5 | 2 | 0.05 |" in (folder / "sweep.md").read_text()
    assert command(*arguments).stdout.count(": unchanged") == 4
    missing = [(place / "nothing.yaml",)]
    with pytest.raises(UserError) as found:
        list(engine.run(sweep.read_sweep, missing, "ray"))
    assert len(str(found.value).splitlines()) == 1
    import ray

    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "wait", interrupt)
    capsys.readouterr()
    for cores in (1, 1000):
        with pytest.raises(KeyboardInterrupt):
            run = engine.run(sweep.read_sweep, missing, "ray", num_cpus=cores)
            list(run)
    [line] = capsys.readouterr().err.splitlines()
    assert "no machine of the Ray cluster has 1000 CPU" in line


def test_a_sweep_goes_on_with_what_is_missing(place):
    done = command("sweep", "--plain-kernels", str(place / "some.yaml"))
    assert done.returncode == 1
    assert done.stdout.count(": done") == 2
    assert done.stdout.count(": failed") == 2
    assert (
        "| 3 | 9 | nan |"
        in (place / "outputs/sweeps/some/sweep.md").read_text()
    )
    (place / "some.yaml").write_text(SWEEP.replace("9.0", "2.0"))
    [path, *_] = (place / "outputs/sweeps/some").glob("*=1.0/*/run.json")
    elsewhere = {"platform": "another machine", "key": "another"}
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | elsewhere))
    done = command("sweep", "--plain-kernels", str(place / "some.yaml"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": unchanged") == 2
    assert done.stdout.count(": done") == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("top_k:", "output_dir: [a, b]\n  top_k:", "chosen by the sweep"),
        ("top_k:", "topk:", "topk is not a parameter of 01_next_token"),
        ("[3, 5]", "[3, -5]", "top_k is -5"),
        ("[3, 5]", "[]", "no combination"),
        ("metric: best_probability", "", "metric: field required"),
        ("grid:", "grid: [", "is not YAML"),
    ],
)
def test_a_wrong_sweep_ends_before_any_kernel(place, old, new, message):
    (place / "some.yaml").write_text(SWEEP.replace(old, new))
    done = command("sweep", str(place / "some.yaml"))
    assert done.returncode == 1
    assert message in done.stderr and "some.yaml" in done.stderr
    assert not (place / "outputs").exists()


def test_similar_values_have_folders_of_their_own(place):
    prompts = ["Is it good?", "Is it good!", "good " * 100, "Good", "good"]
    prompts += ["1e-5"]
    content = sweep.Sweep(
        notebooks=["01"], grid={"prompt": prompts}, metric="x"
    )
    combinations = sweep.plan(content, place / "outputs/sweeps/x")
    names = [task.output.parent.name for [task] in combinations]
    assert len({name.lower() for name in names}) == 6
    assert max(map(len, names)) < 100 and names[-1] == "prompt=1e-5"


def test_a_small_number_is_a_number(place):
    path = place / "lr.yaml"
    path.write_text("notebooks: ['05']\nmetric: a\ngrid: {seed: [1e-5]}")
    assert sweep.read_sweep(path).grid == {"seed": [1e-5]}
    path.write_bytes("notebooks: ['é']".encode("latin-1"))
    with pytest.raises(UserError, match="lr.yaml is not YAML"):
        sweep.read_sweep(path)


def test_what_did_not_finish_has_no_figures(place):
    (place / "some.yaml").write_text(SWEEP.replace("9.0", "2.0"))
    arguments = ["sweep", "--plain-kernels", str(place / "some.yaml")]
    assert command(*arguments).returncode == 0
    path = place / "params" / "offline" / f"{NAME}.yaml"
    path.write_text(path.read_text().replace("num_steps: 8", "num_steps: 9"))
    content = sweep.read_sweep(place / "some.yaml")
    combinations = sweep.plan(content, sweep.folder_of(place / "some.yaml"))
    table = sweep.tabulate(content, combinations)
    assert set(table["status"]) == {"outdated"}
    assert "best_probability" not in table
    write_notebook(place / "notebooks" / f"{NAME}.ipynb", "1 / 0")
    assert command(*arguments).returncode == 1
    folder = place / "outputs" / "sweeps" / "some"
    assert "finished" not in (folder / "sweep.csv").read_text()
    assert "finished" not in (folder / "sweep.md").read_text()
    assert not (folder / "sweep.png").exists()


def test_a_misspelt_metric_loses_no_table(place):
    text = SWEEP.replace("9.0", "2.0").replace("metric: best", "metric: bst")
    (place / "some.yaml").write_text(text)
    done = command("sweep", "--plain-kernels", str(place / "some.yaml"))
    assert done.returncode == 1
    assert "no run wrote a number bst_probability; known" in done.stderr
    table = place / "outputs" / "sweeps" / "some" / "sweep.csv"
    assert table.read_text().count("finished") == 4


@pytest.mark.parametrize("form", ["{}", "{}/", "./{}"])
def test_the_output_of_one_is_the_input_of_the_other(place, form):
    path = place / "params" / "offline" / "05_bert_fine_tuning.yaml"
    folder = "outputs/offline/04_amazon_preprocessing"
    written = path.read_text().replace(folder, form.format(folder))
    path.write_text(written)
    content = sweep.Sweep(
        notebooks=["04", "05"], grid={"seed": [1, 2]}, metric="macro_f1"
    )
    first, second = sweep.plan(content, place / "outputs/sweeps/x")
    for tasks, seed in ((first, 1), (second, 2)):
        preprocessing, tuning = tasks
        assert tuning.values["seed"] == seed
        assert tuning.values["data_dir"] == preprocessing.values["output_dir"]
        assert f"seed={seed}" in tuning.values["output_dir"]


def test_a_sweep_over_seeds_trains_on_one_split(place):
    def seeds(grid):
        content = sweep.Sweep(
            notebooks=["04", "05"], grid=grid, metric="macro_f1"
        )
        combinations = sweep.plan(content, place / "outputs/sweeps/x")
        table = sweep.tabulate(content, combinations)
        sweep.write(content, table, place / "x", combinations)
        values = [[t.values["seed"] for t in tasks] for tasks in combinations]
        return values, table, (place / "x" / "sweep.md").read_text()

    for name in ("04_amazon_preprocessing", "05_bert_fine_tuning"):
        write_notebook(place / "notebooks" / f"{name}.ipynb")
    values, table, written = seeds({"seed": [1, 2]})
    assert values == [[2018, 1], [2018, 2]]
    assert list(table["seed"]) == [1, 2]
    assert (
        "- `seed`: of 05_bert_fine_tuning, 04_amazon_preprocessing has 2018\n"
    ) in written
    values, table, written = seeds({"04.seed": [1, 2], "seed": [3]})
    assert values == [[1, 3], [2, 3]]
    assert list(table["04.seed"]) == [1, 2] and list(table["seed"]) == [3, 3]
    assert "- `04.seed`: of 04_amazon_preprocessing\n" in written
    values, _, written = seeds({"model_name": ["minilm-l6"]})
    assert "04_amazon_preprocessing and 05_bert_fine_tuning\n" in written
    with pytest.raises(UserError, match="grid: 03.seed is not a parameter"):
        seeds({"03.seed": [1]})
    with pytest.raises(UserError, match="output_dir is chosen by the sweep"):
        seeds({"04.output_dir": ["a"]})


def test_the_examples_fit(project, root):
    shutil.copytree(project / "params", root / "params")
    for path in (project / "params" / "sweeps").glob("*.yaml"):
        assert sweep.plan(sweep.read_sweep(path), root / "out")


def test_a_missing_file_is_one_line(root):
    with pytest.raises(UserError, match="No such file"):
        sweep.read_sweep(root / "nothing.yaml")


def test_a_token_that_markdown_would_read_is_escaped(tmp_path):
    table = pd.DataFrame({"best": ["|", "<b>", "\\"], "n": [1, 2, 3]})
    table = table.assign(seconds=1.0, status="failed")
    content = sweep.Sweep(notebooks=["01"], grid={"best": [1]}, metric="n")
    sweep.write(content, table, tmp_path)
    lines = (tmp_path / "sweep.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| \\|",
        "| \\<b>",
        "| \\\\",
    ]
