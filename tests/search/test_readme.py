"""What the README shows is true."""

import json
import re
import sys
import types
from pathlib import Path

import pytest

from search.cli import app
from search.worker import run_worker

README = Path(__file__).parents[2] / "README.md"


def code_block(containing: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    return block


@pytest.fixture
def readme_trainer(monkeypatch, toy_suite):
    """The README's trainer as a module, with what it leaves to its reader: `play`."""
    module = types.ModuleType("readme_trainer")

    def play(task, weights):
        references = toy_suite.records[task].references["select"]
        share = weights.mean() / (1 + weights.mean())
        return [references.floor.mean + share * (references.expert.mean - references.floor.mean)]

    module.play = play
    exec(code_block("def train("), module.__dict__)
    monkeypatch.setitem(sys.modules, "readme_trainer", module)


@pytest.mark.usefixtures("readme_trainer")
def test_a_function_of_ones_own_is_searched(launch, url, audit):
    launch(trainer="readme_trainer:train", stop={"candidates": 4}, rungs={"tokens": [3_000, 6_000], "eta": 2})
    assert run_worker(url, "toy", "artifacts") == 6
    audit()


def test_every_command_of_the_readme_exists():
    text = README.read_text(encoding="utf-8")
    shown = set(re.findall(r"^ *pathfront ([a-z]+)", text, re.MULTILINE))
    known = {command.name for command in app.registered_commands} | {g.name for g in app.registered_groups}
    assert shown
    assert shown <= known


def test_every_file_of_the_tree_exists():
    root = README.parent
    tree = re.search(r"```\n(space/ .*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert tree
    package = folder = root
    for line in tree[1].splitlines():
        names = re.findall(r"[a-z_]+\.py|[a-z_]+/", line[:24])
        if not line.startswith(" "):
            package = folder = root / line.split()[0]
            assert folder.is_dir(), folder
            continue
        if names and not line.startswith("    "):
            folder = package
        for name in names:
            assert (folder / name).exists(), folder / name
        if names and names[0].endswith("/") and not line.startswith("    "):
            folder = package / names[0]


@pytest.fixture
def own_tasks(tmp_path, monkeypatch):
    """The README's two tasks as files of their own, in a folder that Python finds."""
    (tmp_path / "thermostat.py").write_text(code_block("class Thermostat"))
    (tmp_path / "mime.py").write_text(code_block("class MimeKinds"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATHFRONT_CACHE", str(tmp_path / "cache"))
    yield ["thermostat:Thermostat", "mime:MimeKinds"]
    for name in ("thermostat", "mime"):
        sys.modules.pop(name, None)


def test_tasks_of_ones_own_are_checked_measured_and_named_in_a_study(own_tasks, pathfront, tmp_path):
    code, _, said = pathfront("tasks", "check", *own_tasks)
    assert code == 0, said
    study = tmp_path / "own.yaml"
    tasks = json.dumps([*own_tasks, "digits"])
    study.write_text(
        f"study: own\nsuite: {tasks}\nrungs: {{tokens: [4096], eta: 2}}\nstop: {{candidates: 1}}\n"
    )
    code, _, said = pathfront("launch", study, "--dry-run")
    assert code == 2
    assert "measure them: pathfront tasks measure thermostat:Thermostat" in said
    code, _, said = pathfront("tasks", "measure", *own_tasks)
    assert code == 0, said
    assert "expert 1 ± 0 (the table itself)" in said
    code, _, said = pathfront("launch", study, "--dry-run")
    assert code == 0, said
    listed = {row["name"]: row for row in json.loads(pathfront("tasks", "list", "--json")[1])}
    assert listed["thermostat:Thermostat"]["expert"] > 0.6
    assert listed["mime:MimeKinds"]["family"] == "own"
