"""What the README of tasks states is true; `tests/search/test_readme.py` runs its examples."""

import re
from pathlib import Path

import trainers
from space.catalog import load_catalog
from trainers.tasks.contract import ALL_RULES
from trainers.tasks.registry import FAMILIES
from trainers.tasks.sessions import SessionTask
from trainers.tokens import values

README = Path(str(trainers.__file__)).parent / "tasks" / "README.md"
TEXT = README.read_text(encoding="utf-8")
SENSES = ("text", "image", "audio", "discrete", "continuous")


def section(title):
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text):
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_table_of_families_agrees_with_the_catalog():
    text = section("The tasks that ship")
    records = load_catalog().tasks.values()
    found = {}
    for family, tasks, base, senses, *words in rows(text):
        mine = [record for record in records if f"`{record.family}`" == family]
        found[family.strip("`")] = (int(tasks), int(base), senses)
        there = {record.modality for record in mine}
        stated = ", ".join(sense for sense in SENSES if sense in there)
        assert found[family.strip("`")] == (len(mine), sum(not r.variant for r in mine), stated)
        assert all(words)
    assert found.keys() == FAMILIES.keys()
    base = sum(not record.variant for record in records)
    assert f"{len(records)} tasks, {base} of them base tasks, in {len(FAMILIES)} families" in text
    for suite in ("quick", "generalist"):
        assert f"`{suite}` ({len(load_catalog().suite(suite).tasks)}" in text


def test_the_table_of_rules_agrees_with_the_contract():
    assert {name.strip("`"): states for name, states in rows(section("Check and measure"))} == ALL_RULES


def test_stated_defaults_are_those_of_the_code():
    stated = {name.strip("`"): default for name, _, default in rows(section("Your own task"))}
    for name in ("num_train_episodes", "eval_episodes", "reference_episodes"):
        assert stated[name] == str(getattr(SessionTask, name))
    assert stated["packages"].strip("`") == SessionTask.packages[0]
    assert all(hasattr(SessionTask, name.partition("(")[0]) for name in stated)
    for name in re.findall(r"`values\.(\w+)\(", TEXT):
        assert hasattr(values, name)
