"""What the README shows is true."""

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
    folder = root
    for line in tree[1].splitlines():
        names = line[:24] if line.startswith("  ") else line.split()[0]
        if not line.startswith(" "):
            folder = root / line.split()[0]
            assert folder.is_dir(), folder
            continue
        for name in re.findall(r"[a-z_]+\.py|[a-z_]+/", names):
            assert (folder / name).exists(), folder / name
