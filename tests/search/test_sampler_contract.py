"""The contract of samplers: the ones that ship, Optuna's, the example, and samplers that break it."""

import re
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import optuna
import pytest
from optuna._imports import _LazyImport

from search.choose.contract import RULES, SPACE, Subject, _simulated, check_sampler
from search.choose.rehearsal import rehearse_sampler
from search.choose.snapshot import Snapshot
from space.catalog import load_catalog
from space.errors import PathfrontError, StudyFileError
from space.shipped import SAMPLERS
from space.study import Search

EXAMPLES = Path(__file__).parents[1] / "examples"
OF_OPTUNA = ("BruteForceSampler", "NSGAIIISampler", "QMCSampler", "RandomSampler")  # tpe is TPESampler
OTHERS = {
    **{f"optuna.samplers.{name}": {} for name in OF_OPTUNA},
    "optuna.samplers.CmaEsSampler": {"popsize": 4},
    "my_sampler:Mutate": {},
}
BAD = """
import random

from search.choose.outcomes import outcomes


class Unrepeatable:
    def __init__(self, problem):
        self.problem = problem

    def suggest(self, view):
        names = self.problem.parameters
        while True:
            yield {name: random.choice(knob.values()) for name, knob in names.items()}


class Impatient(Unrepeatable):
    def suggest(self, view):
        max(outcome.score for outcome in outcomes(view))
        return iter(())


class Stateful(Unrepeatable):
    asked = 0

    def suggest(self, view):
        self.asked += 1
        rng = random.Random(self.asked)
        while True:
            yield {name: rng.choice(knob.values()) for name, knob in self.problem.parameters.items()}


class Wild(Unrepeatable):
    def suggest(self, view):
        yield {name: 3e9 for name in self.problem.parameters}


class Forgetful(Unrepeatable):
    def suggest(self, view):
        yield {"dept": 3}


class Silent:
    def __init__(self, problem):
        pass
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A user's folder with the example and with samplers that break the contract."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a Gaussian process misses an optional package
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "my_sampler.py").write_text((EXAMPLES / "my_sampler.py").read_text())
    monkeypatch.chdir(tmp_path)
    for name in ("bad", "my_sampler"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("bad", "my_sampler"):
        sys.modules.pop(name, None)


def contracts():
    """Every rule for samplers of our own; for the others one rule, and the rest for runs by hand."""
    for sampler in (*SAMPLERS, *OTHERS):
        for rule in RULES:
            ours = sampler in ("pathfront", "stratified")
            one = rule == "feasible_and_new" and sampler != "gp"  # which fits a model for each suggestion
            yield pytest.param(sampler, rule, marks=() if ours or one else pytest.mark.slow)


@pytest.mark.parametrize(("sampler", "rule"), list(contracts()))
def test_samplers_keep_the_contract(sampler, rule):
    if "CmaEs" in sampler:
        pytest.importorskip("cmaes")
    RULES[rule](Subject(sampler, OTHERS.get(sampler, {})))


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ("Unrepeatable", "the same seed gives the same proposals"),
        ("Impatient", r"'bad:Impatient' raises ValueError: max\(\) .* \(bad.py:19\)"),
        ("Stateful", "a new process proposes the same"),
        ("Wild", "depth is a whole number from 1 to 4, and a suggestion has 3000000000.0"),
        ("Forgetful", "no parameters but the space's, got 'dept'; did you mean 'depth'"),
        ("Silent", "with a method suggest"),
        ("Missing", "module 'bad' has no 'Missing'"),
    ],
)
def test_what_breaks_the_contract_is_found(sampler, message):
    with pytest.raises(PathfrontError, match=message):
        check_sampler(f"bad:{sampler}")


@pytest.mark.parametrize("sampler", [*SAMPLERS, "optuna.samplers.RandomSampler", "my_sampler:Mutate"])
def test_another_seed_gives_other_proposals(sampler):
    proposers = [Subject(sampler, {}).proposer(seed) for seed in range(6)]
    empty = Snapshot((), (), 0.0)
    assert len({proposer.propose(empty).candidate.id for proposer in proposers}) > 1


def rehearse(sampler, space=SPACE, **arguments):
    config = Subject(sampler, arguments).config(0, space, {})
    rehearse_sampler(config, load_catalog().suite("quick"))


def refusal(sampler, space=SPACE, **arguments):
    with pytest.raises(StudyFileError) as refused:
        rehearse(sampler, space, **arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "name", [name for name in optuna.samplers.__all__ if isinstance(getattr(optuna.samplers, name), type)]
)
@pytest.mark.parametrize("space", [SPACE, {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}])
@pytest.mark.slow
def test_every_sampler_of_optuna_works_or_is_refused_with_a_reason(name, space):
    reasons = {
        "GridSampler": "the grid of a study is its `space`",
        "PartialFixedSampler": "parameters are fixed in `space`",
        "BaseSampler": "Can't instantiate abstract class",
        "BaseGASampler": "Can't instantiate abstract class",
    }
    if space is not SPACE:
        reasons["BruteForceSampler"] = "'learning_rate' has infinitely many"
    if name == "CmaEsSampler":
        pytest.importorskip("cmaes")
    if name in reasons:
        arguments = {"population_size": 4} if name == "BaseGASampler" else {}
        assert reasons[name] in refusal(f"optuna.samplers.{name}", space, **arguments)
        return
    rehearse(f"optuna.samplers.{name}", space)


def test_a_sampler_of_one_objective_sees_the_score_alone():
    pytest.importorskip("cmaes")
    cma = Subject("optuna.samplers.CmaEsSampler", {}).proposer().sampler
    assert cma._directions == ("maximize",)
    assert Subject("tpe", {}).proposer().sampler._directions == ("maximize", "minimize")


@pytest.mark.slow
def test_cma_es_learns_from_the_scores():
    """Where deep candidates score best, it moves to deep ones."""
    pytest.importorskip("cmaes")
    space = {**SPACE, "depth": {"low": 1, "high": 200}, "learning_rate": {"low": 1e-3, "high": 1e-2}}
    proposer = Subject("optuna.samplers.CmaEsSampler", {"popsize": 6}).proposer(space=space)
    proposals, _ = _simulated(proposer, 60, lambda p: p.candidate.architecture.depth / 200)
    depths = [p.candidate.architecture.depth for p in proposals]
    assert proposals[-1].origin == "CmaEs"
    assert sum(depths[-12:]) / 12 > 140


@pytest.mark.parametrize(
    "name",
    [
        "tpe",
        pytest.param("gp", marks=pytest.mark.slow),
        *(f"optuna.samplers.NSGA{n}Sampler" for n in ("II", "III")),
    ],
)
def test_suggestions_depend_on_the_scores(name):
    proposer = Subject(name, {}).proposer()
    _, view = _simulated(proposer, 26)
    reversed_scores = [replace(trial, score=-trial.score) for trial in view.trials]
    other = replace(view, trials=tuple(reversed_scores))
    first, second = (list(islice(proposer.sampler.suggest(v), 1)) for v in (view, other))
    assert first != second


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    monkeypatch.setattr("optuna.samplers._cmaes.cmaes", _LazyImport("cmaes"))
    assert refusal("optuna.samplers.CmaEsSampler") == (
        "search.sampler: 'optuna.samplers:CmaEsSampler' needs the package 'cmaes', and it is not installed"
    )


@pytest.mark.parametrize(
    ("sampler", "arguments", "message"),
    [
        ("tpe", {"n_ei_candidate": 3}, "'tpe', got 'n_ei_candidate'; did you mean 'n_ei_candidates'?"),
        (
            "random",
            {"bins": 3},
            "search.sampler_args: arguments of 'random', got 'bins'; it takes none",
        ),
        (
            "stratified",
            {"bins": 3},
            "search.sampler_args: arguments of 'stratified', got 'bins'; known: by, dense_every",
        ),
        ("stratified", {"by": "cost"}, "by is flops or candidates, got 'cost'"),
        ("stratified", {"dense_every": 0}, "dense_every is a whole number of at least 1, got 0"),
        ("tpe", {"seed": 3}, "search.sampler_args: the seed is the key search.seed"),
        (
            "nsga2",
            {"population_size": 1},
            "search.sampler_args: 'nsga2' raises ValueError: `population_size`",
        ),
        ("tpe", {"n_startup_trials": "ten"}, "'n_startup_trials' should be a valid integer, got 'ten'"),
        ("tpe", {"multivariate": 1}, "'multivariate' should be a valid boolean, got 1"),
        ("nsga2", {"population_size": 8.5}, "'population_size' should be a valid integer, got 8.5"),
        (
            "optuna.samplers.CmaEsSampler",
            {"sigma0": "wide"},
            "search.sampler_args: 'sigma0' should be a valid number, got 'wide'",
        ),
        ("my_sampler:Mutate", {"bst": 3}, "'my_sampler:Mutate', got 'bst'; did you mean 'best'?"),
        ("my_sampler:Mutate", {"best": "all"}, "search.sampler_args: 'my_sampler:Mutate' raises TypeError"),
        (
            "builtins:dict",
            {},
            "search.sampler: a sampler as package.module:Class with a method suggest(view)",
        ),
        ("builtins:list", {}, "with a method suggest(view), and 'builtins:list' has none"),
        ("optuna.samplers.TPSampler", {}, "module 'optuna.samplers' has no 'TPSampler'"),
    ],
)
def test_wrong_names_and_arguments_are_one_line(sampler, arguments, message):
    assert message in refusal(sampler, **arguments)


@pytest.mark.parametrize(
    ("sampler", "arguments"),
    [
        ("tpe", {"n_startup_trials": "a"}),
        ("tpe", {"n_ei_candidates": "a"}),
        ("gp", {"n_startup_trials": "a"}),
        ("nsga2", {"mutation_prob": "a"}),
        ("optuna.samplers.TPESampler", {"n_startup_trials": "a"}),
        ("optuna.samplers.QMCSampler", {"qmc_type": 3}),
    ],
)
def test_wrong_values_of_arguments_are_blamed_on_the_arguments(sampler, arguments):
    said = refusal(sampler, **arguments)
    assert said.startswith("search.sampler_args: ")
    assert ".py" not in said


def test_an_error_in_a_file_of_the_user_has_its_place():
    assert re.search(r"\(my_sampler\.py:\d+\)$", refusal("my_sampler:Mutate", best="all"))


def test_both_forms_of_a_path_are_one():
    dotted, colon = "optuna.samplers.QMCSampler", "optuna.samplers:QMCSampler"
    assert Search(sampler=dotted) == Search(sampler=colon)
    with pytest.raises(ValueError, match=r"got 'nsga'; did you mean 'nsga2'\?"):
        Search(sampler="nsga")
