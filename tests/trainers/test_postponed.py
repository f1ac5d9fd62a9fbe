import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Barrier
from types import ModuleType

import pytest

from trainers.postponed import Postponed, found, postpone

PACKAGE = """
import time
time.sleep(0.2)
from later import runs
runs.append("later")
Base = "its own"
Mean = object()
from later.part import Part
"""
PART = """
from later import Mean
from later import runs
runs.append("later.part")
class Part: pass
"""


@pytest.fixture
def later(tmp_path, monkeypatch):
    """A package that counts how often it and its modules run."""
    (tmp_path / "later").mkdir()
    for name, text in {
        "__init__": PACKAGE,
        "part": PART,
        "other": "import later\nlater.runs.append('other')",
    }.items():
        (tmp_path / "later" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    package = found("later")
    assert package is not None
    postpone(package, {"Base": "given", "runs": []}, lambda: package.runs.append("then"))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "later"]:
        del sys.modules[name]


def test_it_runs_once_a_name_is_read_that_was_not_given(later):
    given = import_module("later").Base
    assert (given, later.runs) == ("given", [])
    assert not hasattr(later, "__wrapped__")
    assert later.runs == []
    assert later.Mean is later.Mean
    assert (later.Base, later.runs) == ("its own", ["later", "later.part", "then"])
    assert type(later) is ModuleType
    with pytest.raises(AttributeError, match="module 'later' has no attribute 'Median'"):
        _ = later.Median


def test_a_name_that_it_does_not_have_is_an_error_as_of_any_package(later):
    with pytest.raises(AttributeError, match="module 'later' has no attribute 'Median'"):
        _ = later.Median
    assert later.runs == ["later", "later.part", "then"]


@pytest.mark.parametrize("name", ["part", "other"])
def test_it_runs_before_a_module_of_it_and_each_once(later, name):
    module = import_module(f"later.{name}")
    assert later.runs == ["later", "later.part", "then", *(["other"] if name == "other" else [])]
    assert module is sys.modules[f"later.{name}"]
    assert module.__spec__ is not None
    assert module.__spec__.origin == module.__file__
    assert import_module("later.part").Part is later.Part


def test_threads_wait_until_it_has_run(later):
    together = Barrier(8)

    def read(_):
        together.wait()
        return later.Part

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(read, range(8)))) == 1
    assert later.runs == ["later", "later.part", "then"]


def test_a_package_that_fails_says_so_each_time(tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("raise OSError('no library')")
    monkeypatch.syspath_prepend(tmp_path)
    package = found("broken")
    assert package is not None
    monkeypatch.setitem(sys.modules, "broken", package)
    postpone(package, {})
    for _ in range(2):
        with pytest.raises(OSError, match="no library"):
            _ = package.Mean
        with pytest.raises(OSError, match="no library"):
            import_module("broken.part")
    assert isinstance(package, Postponed)


def test_what_is_imported_or_not_there_cannot_be_postponed():
    assert found("trainers.postponed") is None
    assert found("no_such_package") is None
