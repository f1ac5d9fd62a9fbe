"""What a user names by a path is found, or one line says why not."""

import sys

import pytest

from space.errors import MachineError, NotFoundError, StudyFileError
from space.plugins import describe_error, load_object

RULE = "trainer: a function as package.module:function"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, which nobody has put on the path; modules of it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_module_of_the_working_folder_is_found_last(folder):
    (folder / "own_model.py").write_text("def train(): pass\n")
    (folder / "json.py").write_text("raise RuntimeError\n")
    assert load_object("own_model:train", RULE).__name__ == "train"
    assert load_object("json:dumps", RULE) is __import__("json").dumps
    assert sys.path[-1] == str(folder)
    (folder / "own_package").mkdir()
    (folder / "own_package" / "mine.py").write_text("class Task: pass\n")
    assert load_object("own_package.mine:Task", RULE).__module__ == "own_package.mine"
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize("path", ["own_model", "own_model:", ":train", "", ".own_model:train"])
def test_a_path_has_a_module_and_a_name(folder, path):
    with pytest.raises(StudyFileError, match=r"as package.module:function, got"):
        load_object(path, RULE)


def test_a_missing_module_is_named_with_where_it_was_looked_for(folder):
    (folder / "own_model.py").write_text("")
    with pytest.raises(NotFoundError) as error:
        load_object("own_modle:train", RULE)
    assert str(error.value).startswith(f"{RULE}, got 'own_modle:train': no module is called 'own_modle'")
    assert f"'{folder}'; did you mean 'own_model'?" in str(error.value)
    with pytest.raises(NotFoundError, match=r"no module is called 'own_model.deep'"):
        load_object("own_model.deep:train", RULE)


def test_a_missing_name_is_named_with_the_nearest(folder):
    (folder / "own_model.py").write_text("def train(): pass\n")
    with pytest.raises(NotFoundError, match=r"module 'own_model' has no 'trian'; did you mean 'train'\?"):
        load_object("own_model:trian", RULE)


@pytest.mark.parametrize("name", ["search.py", "search/__init__.py"])
def test_a_file_that_bears_an_installed_packages_name_is_said(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("def train(): pass\n")
    with pytest.raises(NotFoundError, match=r"'search(\.py)?' in the working folder is not used.*rename it"):
        load_object("search:train", RULE)
    with pytest.raises(NotFoundError, match=r"no module is called 'search.mine'.*rename it"):
        load_object("search.mine:train", RULE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n1 / 0\n", "ZeroDivisionError: division by zero (own_model.py:2)"),
        ("import no_such\n", "ModuleNotFoundError: No module named 'no_such' (own_model.py:1)"),
        ("from json import nothing\n", "(own_model.py:1)"),
        ("def (\n", "SyntaxError: invalid syntax (own_model.py:1)"),
        ("import json\njson.loads('{')\n", "(own_model.py:2)"),
        ("raise SystemExit(3)\n", "SystemExit: 3 (own_model.py:1)"),
    ],
)
def test_what_an_import_raises_is_kept_with_its_place(folder, text, message):
    (folder / "own_model.py").write_text(text)
    with pytest.raises(MachineError) as error:
        load_object("own_model:train", RULE)
    assert "the import of 'own_model:train' raises " in str(error.value)
    assert str(error.value).endswith(message)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize("text", ["", "1 / 0\n"])
def test_what_a_study_file_names_is_an_error_of_the_study_file(folder, text):
    (folder / "own_model.py").write_text(text)
    with pytest.raises(StudyFileError):
        load_object("own_model:train", RULE, StudyFileError)


def test_an_error_without_message_or_place_is_described():
    assert describe_error(ValueError()) == "ValueError"
    assert describe_error(ValueError("too\nfew")) == "ValueError: too few"
