"""Mistakes that would fail every candidate alike are found before anything is written, one line each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONSOLE_SCRIPT = Path(sys.executable).with_name("pathfront")

STUDY = """
study: mine
suite: [digits]
rungs: {tokens: [20_000]}
stop: {candidates: 2}
"""

OWN = """
from lightning.pytorch.loggers import CSVLogger

class Proud(CSVLogger):
    def __init__(self, save_dir):
        raise ValueError("no\\nserver answers")

class Quiet(CSVLogger):
    pass

def train(candidate, suite, budget, resume, report): ...
def short(candidate, suite): ...
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "rehearsed.py").write_text(OWN)
    (tmp_path / "broken_module.py").write_text("1 / 0")
    (tmp_path / "leaving_module.py").write_text("raise SystemExit('bye')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


MISTAKES = [
    ("logger: nosuch", ["logger: one of csv, none, tensorboard", "got 'nosuch'"]),
    ("logger: rehearsed:Missing", ["logger: one of csv", "got 'rehearsed:Missing'"]),
    ("logger: rehearsed:Proud", ["logger: ", "no server answers"]),
    ("trainer: rehearsed:missing", ["trainer: a function as package.module:function", "rehearsed:missing"]),
    ("trainer: nosuch_module:train", ["trainer: ", "no module is called 'nosuch_module'"]),
    (
        "trainer: broken_module:train",
        ["trainer: ", "raises ZeroDivisionError: division by zero (broken_module.py:1)"],
    ),
    ("trainer: leaving_module:train", ["trainer: ", "raises SystemExit: bye"]),
    ("trainer: rehearsed:short", ["trainer: a function of (candidate, suite, budget, resume, report)"]),
]


@pytest.mark.parametrize(("line", "words"), MISTAKES, ids=[line for line, _ in MISTAKES])
@pytest.mark.parametrize("options", [["--dry-run"], []], ids=["dry run", "launch"])
def test_a_mistake_is_one_line_and_nothing_is_written(pathfront, folder, line, words, options):
    (folder / "mine.yaml").write_text(STUDY + line)
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = pathfront("launch", "mine.yaml", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    for word in words:
        assert word in err
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == before


def test_every_mistake_has_its_line(pathfront, folder):
    (folder / "mine.yaml").write_text(STUDY + "logger: nosuch\ntrainer: rehearsed:missing")
    code, _, err = pathfront("launch", "mine.yaml", "--dry-run")
    assert code == 2
    first, second = err.splitlines()
    assert first.startswith("error: trainer: ")
    assert second.startswith("error: logger: ")


def test_a_task_whose_module_fails_is_named(pathfront, folder):
    catalog = Path(__file__).resolve().parents[2] / "space" / "catalog.json"
    record = json.loads(catalog.read_text())["tasks"]["digits"]
    named = {**record, "name": "broken_module:Task"}
    measured = {"record": named, "patch_share": {}, "episodes": 8, "tokens": 1000, "length": 3.0}
    (folder / "pathfront-tasks.json").write_text(json.dumps({"broken_module:Task": measured}))
    (folder / "mine.yaml").write_text(STUDY.replace("[digits]", "['broken_module:Task']"))
    code, _, err = pathfront("launch", "mine.yaml", "--dry-run")
    assert (code, err.count("\n")) == (2, 1), err
    assert "suite: " in err
    assert "raises ZeroDivisionError: division by zero (broken_module.py:1)" in err


@pytest.mark.slow
def test_what_can_be_made_is_priced_from_an_empty_folder_by_the_console_script(folder, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (folder / "mine.yaml").write_text(STUDY + "logger: rehearsed:Quiet\ntrainer: rehearsed:train")
    before = sorted(path.name for path in folder.iterdir())
    command = [str(CONSOLE_SCRIPT), "launch", "mine.yaml", "--dry-run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "expected:" in done.stdout
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == before


def test_the_largest_network_is_built_without_memory(folder, pathfront):
    (folder / "mine.yaml").write_text(
        STUDY + "space: {depth: 64, width: 4096, head_dim: 64, experts: 64, top_k: 2}\n"
    )
    code, _, err = pathfront("launch", "mine.yaml", "--dry-run")
    assert code == 0, err
