import ast

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager

from nlp_helpers import parameters
from nlp_helpers.core.errors import UserError

PROFILES = ("offline", "hub")
NOTEBOOKS = list(parameters.SCHEMAS)
FILES = [
    *((profile, notebook) for profile in PROFILES for notebook in NOTEBOOKS),
    *(("sms", notebook) for notebook in NOTEBOOKS[3:5]),
]


def parameters_cell(project, notebook):
    """Return the literals of a notebook's parameters cell."""
    content = nbformat.read(project / "notebooks" / f"{notebook}.ipynb", 4)
    [cell] = [
        cell
        for cell in content.cells
        if "parameters" in cell.metadata.get("tags", [])
    ]
    return {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(cell.source).body
    }


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_cell_holds_the_offline_values(project, notebook):
    path = project / "params" / "offline" / f"{notebook}.yaml"
    given = parameters.read_parameters(notebook, path)
    assert parameters_cell(project, notebook) == given


@pytest.mark.parametrize(("profile", "notebook"), FILES)
def test_every_file_fits_and_every_key_is_explained(
    project, profile, notebook
):
    path = project / "params" / profile / f"{notebook}.yaml"
    given = parameters.read_parameters(notebook, path)
    assert set(given) == set(parameters.SCHEMAS[notebook].model_fields)
    assert given["output_dir"] == f"outputs/{profile}/{notebook}"
    lines = path.read_text().splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if line and line[0].isalpha():
            assert before.startswith("# "), f"{path}: {line} is not explained"


@pytest.mark.parametrize(("profile", "notebook"), FILES)
def test_the_comments_agree_with_the_schema(project, profile, notebook):
    """Every choice is named in the comment."""
    path = project / "params" / profile / f"{notebook}.yaml"
    comments, comment = {}, []
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif line and line[0].isalpha():
            comments[line.split(":")[0]] = " ".join(comment)
            comment = []
    schema = parameters.SCHEMAS[notebook].model_json_schema()["properties"]
    assert list(comments) == list(yaml.safe_load(path.read_text()))
    for name, entry in schema.items():
        for choice in entry.get("enum", []):
            assert choice in comments[name], f"{path}: {name} lacks {choice}"


def test_the_parameters_are_shown_with_type_range_and_help():
    rows = {row["name"]: row for row in parameters.describe(NOTEBOOKS[4])}
    assert rows["learning_rate"]["type"] == "number, > 0, < 1"
    assert rows["class_weight"]["type"] == "none | balanced"
    assert rows["sentences"]["type"] == "list of texts"
    assert rows["num_epochs"]["type"] == "whole number, >= 1"
    assert all(row["help"] for row in rows.values())


def test_a_schema_may_have_truth_values(monkeypatch):
    class Other(parameters.Common):
        lower_case: bool

    monkeypatch.setitem(parameters.SCHEMAS, "06_other", Other)
    [*_, row] = parameters.describe("06_other")
    assert (row["name"], row["type"]) == ("lower_case", "true or false")


def test_a_short_exponent_is_a_number(project, tmp_path):
    path = tmp_path / "05.yaml"
    source = project / "params/offline/05_bert_fine_tuning.yaml"
    text = source.read_text()
    assert "learning_rate: 2.0e-4" in text
    for written in ("2e-4", "2E-4", "+2e-4", "2.e-4"):
        path.write_text(text.replace("2.0e-4", written))
        found = parameters.read_parameters(NOTEBOOKS[4], path)
        assert found["learning_rate"] == 2e-4


def changed(project, tmp_path, values, notebook="05_bert_fine_tuning"):
    """Write the parameters file of a notebook with other values."""
    path = project / "params" / "offline" / f"{notebook}.yaml"
    content = yaml.safe_load(path.read_text()) | values
    copy = tmp_path / "changed.yaml"
    copy.write_text(yaml.safe_dump(content))
    return copy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"learning_rat": 0.1},
            "learning_rat is not .* did you mean learning_",
        ),
        ({"learning_rate": "tiny"}, "learning_rate is 'tiny': .*valid number"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0: .*greater than 0"),
        (
            {"weight_decay": float("inf")},
            "weight_decay is inf: .*finite number",
        ),
        ({False: 3}, "False is not a parameter name"),
        ({"num_epochs": "3"}, "num_epochs is '3': .*valid integer"),
        ({"num_epochs": 0}, "num_epochs is 0"),
        ({"model_name": False}, "model_name is False: .*in YAML write 'NO'"),
        ({"seed": 2**32}, "seed is 4294967296: .*less than or equal"),
        ({"device": "tpu"}, "device is 'tpu': .*'auto', 'cpu' or 'cuda'"),
        ({"sentences": ["good", 3]}, "sentences.1 is 3: .*valid string"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    project, tmp_path, values, message
):
    path = changed(project, tmp_path, values)
    with pytest.raises(UserError, match=message) as caught:
        parameters.read_parameters("05_bert_fine_tuning", path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("group_by", "group_field", "message"),
    [
        ("time", "", "group_field is '': .*group_by time needs it: name the"),
        ("field", "", "group_by field needs it: name the field"),
        ("review", "shop", "group_by review does not read it; set group_by"),
        ("shop", "shop", "group_by is 'shop': .*'field', 'time' or 'none'"),
    ],
)
def test_a_field_to_group_by_is_named_where_it_is_read(
    project, tmp_path, group_by, group_field, message
):
    values = {"group_by": group_by, "group_field": group_field}
    notebook = "04_amazon_preprocessing"
    path = changed(project, tmp_path, values, notebook)
    with pytest.raises(UserError, match=message):
        parameters.read_parameters(notebook, path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_epochs": [1]}, r"num_epochs is \[1\]: num_labels has 5 numb"),
        ({"num_labels": [8, 8]}, "num_labels is .*larger than the one before"),
        ({"num_labels": [2, 8]}, "num_labels.0 is 2: .*or equal to 8"),
        ({"held_out": 1.0}, "held_out is 1.0: .*or equal to 0.9"),
    ],
)
def test_a_learning_curve_has_points_that_rise(
    project, tmp_path, values, message
):
    notebook = "06_serving_and_tweets"
    path = changed(project, tmp_path, values, notebook)
    with pytest.raises(UserError, match=message):
        parameters.read_parameters(notebook, path)


@pytest.mark.parametrize(
    "text", ["a: [1", "- a\n- b\n", "", "prompt: 2018-13-45\n"]
)
def test_what_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="broken.yaml"):
        parameters.read_parameters("01_next_token", path)


def test_a_missing_file_and_a_missing_key_are_named(project, tmp_path):
    with pytest.raises(UserError, match="no parameters file .*absent.yaml"):
        parameters.read_parameters("01_next_token", tmp_path / "absent.yaml")
    given = parameters_cell(project, "01_next_token")
    del given["prompt"]
    with pytest.raises(UserError, match="prompt is missing"):
        parameters.check("01_next_token", given)


def test_the_check_in_the_notebook_passes_over_other_variables(project):
    given = parameters_cell(project, "01_next_token")
    parameters.check("01_next_token", {**given, "torch": object()})
    with pytest.raises(UserError, match="hf_token looks like a secret"):
        key = "hf_" + "a1" * 9 + "\n"
        parameters.check("01_next_token", {**given, "hf_token": key})
    for word in ("expert", "Ġinternationally", "21st of 10", "[unused10]"):
        parameters.check("01_next_token", {**given, "next_token": word})
    with pytest.raises(UserError, match="top_p is 1.5"):
        parameters.check("01_next_token", {**given, "top_p": 1.5})


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_can_be_run_again_in_the_same_kernel(project, name):
    """Its own variables must not be taken for secrets."""
    notebook = nbformat.read(project / "notebooks" / f"{name}.ipynb", 4)
    source = TransformerManager().transform_cell(
        "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    )
    stored = {
        node.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    given = parameters_cell(project, name)
    assert stored > given.keys()
    parameters.check(name, dict.fromkeys(stored, "key-of-2018") | given)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 2018", "seed: 02018", ""),
        ("seed: 2018", "seed: 1:30", "seed is '1:30': input should be a"),
        (
            "seed: 2018",
            "seed: 2018\nseed: 7",
            "is not YAML: seed appears tw",
        ),
        ("top_p: 0.9", "top_p: 0:0.9", "top_p is '0:0.9': input should"),
        ("prompt: what is name of the Indian", "prompt: NO", ""),
        ("top_p: 0.9", "top_p: .9", ""),
        ("top_p: 0.9", "top_p: 9e-1", ""),
        ("top_p: 0.9", "top_p: 1.", ""),
        ("seed: 2018", "seed: 2_018", ""),
        ("seed: 2018", "seed: 0", ""),
    ],
)
def test_a_number_is_what_it_looks_like(project, tmp_path, old, new, message):
    path = tmp_path / "my.yaml"
    text = (project / "params/offline/01_next_token.yaml").read_text()
    path.write_text(text.replace(old, new))
    if not message:
        given = parameters.read_parameters("01_next_token", path)
        name, _, value = new.partition(": ")
        assert given[name] == (value if value == "NO" else float(value))
        return
    with pytest.raises(UserError) as found:
        parameters.read_parameters("01_next_token", path)
    assert message in str(found.value) and "\n" not in str(found.value)


def test_each_question_of_notebook_7_has_its_answer(project):
    name = "07_vectors_and_heads"
    given = parameters_cell(project, name)
    parameters.validate(name, given, "here")
    given["right_answers"] = given["right_answers"][:2]
    with pytest.raises(UserError, match="give one for each of the 5 quest"):
        parameters.validate(name, given, "here")
