"""The source that a user named: the same wherever it lies, another as soon as what runs is another."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from space import fingerprint
from space.errors import NotFoundError
from space.fingerprint import is_installed, source_fingerprint

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import sys
from space.fingerprint import source_fingerprint
sys.path.append(sys.argv[2])
print(source_fingerprint(sys.argv[1]))
"""


def ask(name: str, folder: Path) -> str:
    """The fingerprint as a new process sees it, with a user's folder on the path as commands have it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ASK, name, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def home(tmp_path):
    """A module with a helper beside it, and a package."""
    folder = tmp_path / "home"
    (folder / "kit" / "deep").mkdir(parents=True)
    (folder / "mine.py").write_text("import helper\nimport numpy\ndef train(): return helper.rate\n")
    (folder / "helper.py").write_text("rate = 1\n")
    (folder / "notes.py").write_text("nobody = 'imports this'\n")
    (folder / "kit" / "__init__.py").write_text("")
    (folder / "kit" / "tasks.py").write_text("from . import parts\n")
    (folder / "kit" / "parts.py").write_text("size = 3\n")
    (folder / "kit" / "deep" / "more.py").write_text("more = 4\n")
    return folder


def test_it_is_the_same_wherever_the_folder_lies(home, tmp_path):
    before = [ask(name, home) for name in ("mine:train", "kit.tasks:Task")]
    assert before[0] != before[1]
    assert all(len(found) == 16 for found in before)
    moved = tmp_path / "else where" / "deeper"
    shutil.copytree(home, moved)
    (moved / "mine.py").write_bytes((home / "mine.py").read_bytes().replace(b"\n", b"\r\n"))
    os.utime(moved / "kit" / "parts.py", (1, 1))
    assert [ask(name, moved) for name in ("mine:train", "kit.tasks:Task")] == before


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ("mine.py", "mine:train"),
        ("helper.py", "mine:train"),
        ("kit/__init__.py", "kit.tasks:Task"),
        ("kit/parts.py", "kit.tasks:Task"),
        ("kit/deep/more.py", "kit.tasks:Task"),
    ],
)
def test_it_differs_with_what_is_run(home, changed, name):
    before = ask(name, home)
    (home / changed).write_text((home / changed).read_text() + "changed = 1\n")
    assert ask(name, home) != before


@pytest.mark.parametrize(("changed", "name"), [("notes.py", "mine:train"), ("mine.py", "kit.tasks:Task")])
def test_what_is_not_run_does_not_matter(home, changed, name):
    before = ask(name, home)
    (home / changed).write_text("other = 1\n")
    assert ask(name, home) == before


def test_a_package_without_init_and_a_file_that_does_not_parse_count_all_the_same(home):
    (home / "kit" / "__init__.py").unlink()
    before = ask("kit.tasks:Task", home)
    (home / "kit" / "parts.py").write_text("size = (\n")
    assert ask("kit.tasks:Task", home) != before


def test_our_own_packages_do_not_enter_the_source_of_a_user_who_works_beside_them(home, monkeypatch):
    monkeypatch.setattr(fingerprint, "OURS", home)
    monkeypatch.setattr(sys, "path", [*sys.path, str(home)])
    (home / "beside.py").write_text("from trainers.tasks.base import Task\nimport helper\n")
    (home / "trainers").mkdir()
    before = source_fingerprint("beside:Task")
    (home / "trainers" / "new.py").write_text("ours = 1\n")
    assert source_fingerprint("beside:Task") == before
    (home / "helper.py").write_text("rate = 2\n")
    assert source_fingerprint("beside:Task") != before


def test_installed_packages_stand_for_themselves():
    assert source_fingerprint("yaml:load") == source_fingerprint("yaml")
    assert source_fingerprint("json:loads") != source_fingerprint("yaml")


def test_what_pip_installed_into_a_folder_is_installed_and_a_users_module_beside_it_is_not(tmp_path):
    package, module, own = (
        tmp_path / "thing" / "__init__.py",
        tmp_path / "six.py",
        tmp_path / "thing_of_mine.py",
    )
    assert not any(map(is_installed, (package, package.parent, module, own)))
    (tmp_path / "thing-1.0.dist-info").mkdir()
    (tmp_path / "thing-1.0.dist-info" / "RECORD").write_text("thing/__init__.py,sha256=0,1\nsix.py,,\n")
    assert all(map(is_installed, (package, package.parent, module, tmp_path / "six")))
    assert not is_installed(own)


@pytest.mark.parametrize("name", ["nosuch:thing", "nosuch.deeper:thing", "sys:path", "json.nosuch:x"])
def test_a_module_without_files_is_not_found(name):
    with pytest.raises(NotFoundError, match=name.partition(":")[0]):
        source_fingerprint(name)
