"""What the README shows is true, typed by a user who has the wheel and an empty folder."""

import json
import re
from pathlib import Path

import pytest
from installed import User, page

from search.cli import app

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TEXT, STUDIES, TASKS = (
    path.read_text(encoding="utf-8")
    for path in (README, ROOT / "studies/README.md", ROOT / "trainers/tasks/README.md")
)

STUDY = """
study: {name}
suite: {suite}
space: {{depth: {{low: 1, high: 2}}, width: {{choices: [16, 32]}}, head_dim: 16}}
rungs: {{tokens: {tokens}, eta: 2}}
stop: {{candidates: {candidates}}}
workers: 1
trainer: {trainer}
"""


def section(title: str, document: str = TEXT) -> str:
    return document.split(f"\n## {title}\n")[1].split("\n## ")[0]


def files(text: str) -> dict[str, str]:
    """The Python files of a section by the names that the sentences before them give."""
    return dict(re.findall(r"`([\w/]+\.py)`[^\n]*:\n\n```python\n(.*?)```", text, re.DOTALL))


def commands(text: str) -> list[str]:
    """The lines of a section that a user types, in its order."""
    return re.findall(r"^    (pathfront .*)$", text, re.MULTILINE)


def study(name="mine", suite="[digits]", tokens=(8192,), candidates=1, trainer="null") -> str:
    return STUDY.format(name=name, suite=suite, tokens=list(tokens), candidates=candidates, trainer=trainer)


def in_small(line: str, name: str) -> str:
    """A command on the study `quick` as one on a small study."""
    return re.sub(r"--tokens \w+", "--tokens 16k", re.sub(r"\bquick\b", name, line))


def test_the_commands_of_the_first_page_are_these():
    assert [line.split("#")[0].split() for line in commands(section("Two commands"))[:5]] == [
        ["pathfront", "dashboard"],
        ["pathfront", "front", "quick"],
        ["pathfront", "export", "quick", "--pick", "best", "-o", "best/"],
        ["pathfront", "train", "best/", "--tokens", "9M"],
        ["pathfront", "eval", "best/"],
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)  # ten commands, of which three import torch: 40 s of one core
def test_tasks_of_ones_own_are_checked_measured_searched_exported_and_trained(user: User):
    own = section("Your own task", TASKS)
    for name, text in files(own).items():
        user.write(name, text)
    (suite,) = re.findall(r"`suite: (\[.*?\])`", own)
    check, measure = commands(own)
    assert "tasks check" in check
    assert "tasks measure" in measure
    user.write("mine.yaml", study(suite=suite, tokens=(131_072,), candidates=3))
    user.run(check)
    refused = user.run("pathfront launch mine.yaml --dry-run", code=2)
    assert "measure them: pathfront tasks measure thermostat:Thermostat" in refused.stderr
    assert "expert 1 ± 0 (the table itself)" in user.run(measure).stderr
    listed = {row["name"]: row for row in json.loads(user.run("pathfront tasks list --json").stdout)}
    assert listed["thermostat:Thermostat"]["expert"] > 0.6
    assert listed["mime:MimeKinds"]["family"] == "own"
    user.run("pathfront launch mine.yaml --dry-run")
    user.run("pathfront launch mine.yaml")
    for line in commands(section("Two commands"))[1:5]:
        said = user.run(in_small(line, "mine")).stdout
        assert ("thermostat:Thermostat" in said) == (" train " in line or " eval " in line)
    assert (user.folder / "best" / "full" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_function_of_ones_own_is_searched_and_shown(user: User):
    model = section("Your own model", STUDIES)
    for name, text in files(model).items():
        user.write(name, text)
    (trainer,) = re.findall(r"`trainer: (.*?)`", model)
    user.write("own.yaml", study("own", trainer=trainer, tokens=(40_000, 80_000), candidates=2))
    user.run("pathfront launch own.yaml --dry-run")
    assert "pathfront dashboard" in user.run("pathfront launch own.yaml").stdout
    dashboard, front = commands(section("Two commands"))[:2]
    rows = json.loads(user.run(f"{in_small(front.split('#')[0], 'own')} --json").stdout)
    assert max(row["rung"] for row in rows) == 1
    with user.serving(dashboard.split("#")[0]) as port:
        assert "own" in page(port)
        assert "Trial" in page(port, "trial", "study=own&trial=0")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_commands_of_the_first_page_as_they_stand(user: User):
    user.run("pathfront launch quick", seconds=3600)  # all that `make quick` does after it has installed
    dashboard, *rest = commands(section("Two commands"))[:5]
    for line in rest:
        user.run(line, seconds=3600)
    with user.serving(dashboard.split("#")[0]) as port:
        assert "quick" in page(port, "front", "study=quick")


def test_every_command_of_the_readme_exists():
    shown = set(re.findall(r"(?:^ +|`)pathfront ([a-z]+)", TEXT + STUDIES + TASKS, re.MULTILINE))
    known = {command.name for command in app.registered_commands} | {g.name for g in app.registered_groups}
    assert shown
    assert shown <= known


def test_every_file_of_the_tree_exists():
    root = ROOT
    tree = re.search(r"```\n(space/ .*?)```", TEXT, re.DOTALL)
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
