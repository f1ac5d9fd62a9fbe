"""The worked examples of a sampler, an order of promotion and an engine, as a user runs them.

The console script runs in a new folder.
"""

import ast
import json
from pathlib import Path

import pytest
from installed import User

EXAMPLES = Path(__file__).parents[1] / "examples"
MOST_LINES = 20  # of code, that is without docstrings, comments, blank lines and imports
STUDY = """
study: mine
suite: [taxi]
rungs: {tokens: [20_000, 40_000], eta: 2}
stop: {candidates: 7}
workers: 2
trainer: own:train
search: {sampler: my_sampler:Mutate, sampler_args: {best: 2}, promotion: my_promotion:score_for_compute}
engine: my_engine:Nice
"""
TRAINER = """
from space.scores import Scorecard, Spent

def train(candidate, suite, budget, resume, report):
    report.checkpoint(lambda path: path.write_bytes(b"trunk"), budget.tokens, "trunk")
    return Scorecard.of(suite, {name: [0.5, 0.6] for name in suite.tasks}, spent=Spent(tokens=budget.tokens))

def twice(trials, view, problem):
    return [*trials, *trials]
"""


@pytest.fixture
def own(user: User) -> User:
    """A user whose folder holds a study, a trainer, a sampler, an order of promotion and an engine."""
    for example in EXAMPLES.glob("*.py"):
        user.write(example.name, example.read_text())
    user.write("own.py", TRAINER)
    user.write("mine.yaml", STUDY)
    return user


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short(example):
    tree = ast.parse(example.read_text())
    docstrings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(example.read_text().splitlines(), 1)
    code = [line for number, line in lines if number not in docstrings and line.strip()]
    assert len([line for line in code if not line.startswith(("import ", "from "))]) <= MOST_LINES


def slow(*values):
    """A case for runs by hand: each case starts a command."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.slow
def test_a_study_with_the_examples_runs_to_its_front(own: User):
    own.run("pathfront launch mine.yaml --dry-run")
    assert not (own.folder / "pathfront.db").exists()
    own.run("pathfront launch mine.yaml")
    status = json.loads(own.run("pathfront status mine --json").stdout)
    assert status["candidates"] == 7
    assert status["origins"]["Mutate"] >= 2
    assert json.loads(own.run("pathfront front mine --json").stdout)

    # where a study runs may change, what suggests its candidates may not
    more = STUDY.replace("candidates: 7", "candidates: 8")
    own.write("mine.yaml", more.replace("engine: my_engine:Nice", ""))
    own.run("pathfront launch mine.yaml --engine local")
    own.write("mine.yaml", more.replace("best: 2", "best: 3"))
    said = own.run("pathfront launch mine.yaml", code=2).stderr
    assert "search.sampler_args.best: a study keeps its specification, and 'mine' has 2, got 3" in said
    own.write("mine.yaml", more.replace("candidates: 8", "candidates: 9"))
    own.write("my_sampler.py", (EXAMPLES / "my_sampler.py").read_text() + "\nCHANGED = True\n")
    said = own.run("pathfront launch mine.yaml", code=2).stderr
    assert "source of 'my_sampler:Mutate'" in said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        slow(
            "my_sampler:Mutate", "my_sampler:Mutant", "search.sampler: a sampler as package.module:Class, got"
        ),
        ("best: 2", "bets: 2", "search.sampler_args: arguments of 'my_sampler:Mutate', got 'bets'; did you"),
        slow(
            "my_promotion:score_for_compute",
            "my_promotion:score",
            "search.promotion: a function order(trials, view, problem) as package.module:function, got",
        ),
        slow("my_promotion:score_for_compute", "own:train", "refuses these arguments: missing a required"),
        slow(
            "my_promotion:score_for_compute",
            "rnk",
            "promotion is gain, rank, all or package.module:function, got",
        ),
        slow(
            "my_promotion:score_for_compute", "own:twice", "search.promotion: 'own:twice': an order returns"
        ),
        slow("my_engine:Nice", "my_engine:Nicer", "engine: an engine as package.module:Class, got"),
        slow(
            "my_engine:Nice", "locl", "engine: engine is local or package.module:Class, got 'locl'; did you"
        ),
        slow(
            "my_sampler:Mutate, sampler_args: {best: 2}",
            "optuna.samplers.GridSampler",
            "search.sampler: the grid",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_written(own: User, old, new, message):
    own.write("mine.yaml", STUDY.replace(old, new))
    for option in ("--dry-run", ""):
        said = own.run(f"pathfront launch mine.yaml {option}", code=2).stderr
        assert message in said
    assert not (own.folder / "pathfront.db").exists()


@pytest.mark.slow
def test_a_sampler_that_raises_in_the_middle_ends_the_launch_in_one_line(own: User):
    source = (EXAMPLES / "my_sampler.py").read_text()
    head = "    def suggest(self, view):\n"
    late = "        if len(view.candidates) == 5:\n            raise ValueError('late')\n"
    own.write("my_sampler.py", source.replace(head, head + late))
    said = own.run("pathfront launch mine.yaml", code=2).stderr
    assert "error: search.sampler_args: 'my_sampler:Mutate' raises ValueError: late (my_sampler.py:" in said
    status = json.loads(own.run("pathfront status mine --json").stdout)
    assert status["candidates"] == 5
    assert status["states"].get("failed") is None
