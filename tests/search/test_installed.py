"""Pathfront from its wheel: what it holds, and what a user's own files do to it."""

import json
import tomllib
import zipfile
from pathlib import Path

import pytest
from installed import PACKAGES, ROOT, User, page
from packaging.specifiers import SpecifierSet

from trainers.tasks.simulators import SIMULATORS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

STUDY = """
study: mine
suite: [taxi]
rungs: {tokens: [20_000], eta: 2}
stop: {candidates: 1}
workers: 1
trainer: own:train
"""

TRAINER = """
from space.scores import Scorecard, Spent

def train(candidate, suite, budget, resume, report):
    report.progress(budget.tokens, 1.0, {})
    return Scorecard.of(suite, {name: [0.5, 0.6] for name in suite.tasks}, spent=Spent(tokens=budget.tokens))
"""

TASK = """
from trainers.tasks.answers import AnswerTask, Example, exact_match

class Parity(AnswerTask):
    name, family, domain, modality = "parity", "own", "text", "text"
    metric, unit, expert_name = "accuracy", "rate", "arithmetic"
    num_train_episodes = 200
    first = {"train": 0, "select": 1000, "report": 2000}

    def example(self, split, index):
        answer = self.answer(split, index)
        return Example(answer, lambda: answer, prompt=f"even or odd: {self.first[split] + index}")

    def answer(self, split, index):
        return ("even", "odd")[(self.first[split] + index) % 2]

    def answer_score(self, answer, right):
        return exact_match(answer, right)

class Leaking(Parity):
    first = {"train": 0, "select": 0, "report": 0}

class Failing(Parity):
    def answer_score(self, answer, right):
        return 1 / 0
"""

OURS = [f"{name}/__init__.py" for name in PACKAGES] + [f"{name}.py" for name in PACKAGES]
OTHERS = [f"{name}.py" for name in ("numpy", "optuna", "pickle", "random", "streamlit", "torch", "yaml")]


def data_files() -> set[str]:
    """All files of the packages that are part of an installation."""
    found = (path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    found = (path for path in found if path.suffix != ".md" or path.parent.name == "tables")
    names = {path.relative_to(ROOT) for path in found}
    return {str(name) for name in names if not {"__pycache__", "screenshots"} & set(name.parts)}


def test_the_wheel_holds_all_of_the_packages_and_nothing_else(wheel_folder):
    (wheel,) = wheel_folder.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == data_files()
    assert {"space/catalog.json", "studies/quick.yaml", "dashboard/.streamlit/config.toml"} <= packed


def test_programs_come_from_the_wheel_and_say_its_version(user: User, wheel_folder):
    place = user.run("python -c 'import search; print(search.__file__)'").stdout
    assert Path(place.strip()).is_relative_to(wheel_folder / "environment")
    assert user.run("pathfront --version").stdout == f"pathfront {PROJECT['version']}\n"


def test_only_pythons_for_which_every_simulator_has_wheels_are_accepted():
    accepted = SpecifierSet(PROJECT["requires-python"])
    assert [minor for minor in range(9, 20) if f"3.{minor}" in accepted] == [11, 12]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "(3, 11) <= sys.version_info[:2] < (3, 13)" in makefile
    simulators = {package for packages in SIMULATORS.values() for package in packages.values()}
    assert simulators <= {name.partition("=")[0].partition(">")[0] for name in PROJECT["dependencies"]}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(OURS, id="ours", marks=pytest.mark.slow),
        pytest.param(OTHERS, id="others", marks=pytest.mark.slow),
    ],
)
def test_files_of_a_user_shadow_neither_ours_nor_installed_packages(user: User, tmp_path, names):
    for name in names:
        user.write(name, f"raise RuntimeError('{name} of the user was imported')\n")
    user.write("mine.yaml", STUDY)
    user.write("own.py", TRAINER)
    user.environment["PATHFRONT_CACHE"] = str(tmp_path / "cache")  # so that processes make data
    user.run("pathfront launch mine.yaml")
    assert json.loads(user.run("pathfront front mine --json").stdout)
    with user.serving("pathfront dashboard") as port:
        assert "mine" in page(port)
        assert "Front" in page(port, "front", "study=mine")


@pytest.mark.slow
def test_an_own_task_that_breaks_a_rule_or_raises_is_one_line_and_never_measured(user: User):
    user.write("own_tasks.py", TASK)
    line = TASK.splitlines().index("        return 1 / 0") + 1
    for command in ("check", "measure"):
        said = user.run(f"pathfront tasks {command} own_tasks:Leaking", code=1).stderr
        assert "task 'parity': splits are disjoint, train and select share an episode" in said
        said = user.run(f"pathfront tasks {command} own_tasks:Failing", code=1).stderr
        assert (
            f"task 'own_tasks:Failing' raises ZeroDivisionError: division by zero (own_tasks.py:{line})"
            in said
        )
        assert not (user.folder / "pathfront-tasks.json").exists()
    user.run("pathfront tasks measure own_tasks:Parity")
    assert "own_tasks:Parity" in json.loads((user.folder / "pathfront-tasks.json").read_text())


@pytest.mark.slow
def test_a_study_of_a_task_that_is_gone_is_refused_and_not_created(user: User):
    user.write("own_tasks.py", TASK)
    user.run("pathfront tasks measure own_tasks:Parity")
    user.write("mine.yaml", STUDY.replace("taxi", "own_tasks:Parity"))
    (user.folder / "own_tasks.py").rename(user.folder / "my_tasks.py")
    for option in ("--dry-run", ""):
        said = user.run(f"pathfront launch mine.yaml {option}", code=2).stderr
        assert "no module is called 'own_tasks'" in said
        assert "did you mean 'my_tasks'?" in said
    assert not (user.folder / "pathfront.db").exists()


@pytest.mark.slow
def test_a_worker_that_lacks_a_task_leaves_before_it_claims_a_trial(user: User):
    user.write("own_tasks.py", TASK)
    user.run("pathfront tasks measure own_tasks:Parity")
    user.write("mine.yaml", STUDY.replace("taxi", "own_tasks:Parity").replace("trainer: own:train\n", ""))
    create = "from search.store.studies import create_or_resume; from space.study import read_study;"
    user.run(f'python -c \'{create} create_or_resume("sqlite:///pathfront.db", read_study("mine.yaml"))\'')
    there = user.folder / "pathfront.db"
    said = user.run(
        f"mkdir ../away && cd ../away && pathfront worker mine --storage sqlite:///{there}", code=3
    )
    assert "no module is called 'own_tasks'" in said.stderr
    assert json.loads(user.run("pathfront status mine --json").stdout)["candidates"] == 0


@pytest.mark.parametrize(
    ("command", "code", "word"),
    [
        ("tasks check own_task:Parity", 3, "did you mean 'own_tasks'?"),
        pytest.param("tasks measure own_tasks:Party", 3, "did you mean 'Parity'?", marks=pytest.mark.slow),
        pytest.param("tasks check own_tasks", 3, "no task is called 'own_tasks'", marks=pytest.mark.slow),
        ("tasks check broken:Task", 1, "ZeroDivisionError: division by zero (broken.py:1)"),
        ("tasks measure own_tasks:Parity --specialist nowhere:make", 2, "no module is called 'nowhere'"),
        pytest.param("tasks list --family toytext", 3, "did you mean 'toy-text'?", marks=pytest.mark.slow),
        ("tasks check --family toytext", 3, "did you mean 'toy-text'?"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(user: User, command, code, word):
    user.write("own_tasks.py", TASK)
    user.write("broken.py", "1 / 0\n")
    said = user.run(f"pathfront {command}", code)
    assert said.stdout == ""
    (line,) = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert word in line


def test_variants_and_memorisable_tasks_are_marked(user: User):
    rows = {row["name"]: row for row in json.loads(user.run("pathfront tasks list --json").stdout)}
    table = user.run("pathfront tasks list").stdout
    marks = {
        line.split()[0]: line for line in table.splitlines() if line.split()[:1] and line.split()[0] in rows
    }
    assert marks.keys() == rows.keys()
    for name, row in rows.items():
        for mark in ("variant", "memorisable"):
            assert (mark in marks[name].removeprefix(f" {name}")) == row[mark]
    assert {row["memorisable"] for row in rows.values()} == {True, False}
