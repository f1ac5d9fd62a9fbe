"""Mixtures by domain and under a cap on repetition: models, proposals, bounds, a whole study."""

import json
import os
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import made_studies
import made_tables
import numpy as np
import pytest
import yaml
from made_studies import DATA, by_cost, counted_suite, encoded, played, problem_of, proposer_of, true_law
from toy_trainers import toy_config

from search.choose import pathfront
from search.choose import pool as pools
from search.choose.pool import Pool, PoolSpace
from search.choose.propose import Proposer
from search.choose.provenance import provenance
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot
from search.planning.bounds import PATCHES, max_patch_flops
from search.read.results import Reader
from search.store.confirmations import control_row
from search.surrogate.columns import Encoder
from search.table.features import Features
from search.worker import Worker
from space.cost import price
from space.errors import StudyFileError
from space.knowledge import Prior, check_priors
from space.mixture import TaskMixture
from space.start import TOLERANCE, as_point, held
from space.study import StudyConfig
from trainers.tasks.registry import load_task

EPOCHS, FLOOR = 2.2, 0.01
TOP = 1_080_000  # tokens of the top rung with its decay branch
SPACES = {
    "by domain": {"mixture": {"by": "domain", "floor": FLOOR}},
    "capped": {"mixture": {"epochs": EPOCHS, "floor": FLOOR}},
    "capped by domain": {"mixture": {"by": "domain", "epochs": EPOCHS, "floor": FLOOR}},
}


@pytest.fixture(autouse=True)
def _small_and_counted(monkeypatch):
    """Spaces draw few shapes at first, and the eight tasks' data are counted."""
    monkeypatch.setattr(pools, "SHAPES", 60)
    monkeypatch.setattr(made_studies, "suite", counted_suite)


def assert_kept(weights, epochs=EPOCHS):
    """A mixture of the eight tasks is on the simplex, above the floor and below the cap."""
    shares = np.array([weights[task] for task in counted_suite().tasks])
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert shares.min() >= FLOOR - 2e-6
    if epochs is not None:
        assert (shares * TOP <= epochs * np.array(DATA) * (1 + 1e-9)).all()


def assert_equal_within_domains(weights):
    suite = counted_suite()
    for members in suite_domains(suite).values():
        assert len({weights[task] for task in members}) == 1


def suite_domains(suite):
    found = {}
    for task in suite.tasks:
        found.setdefault(suite.records[task].domain, []).append(task)
    return found


@pytest.mark.parametrize("name", SPACES)
def test_draws_mutants_crossings_and_gradient_steps_keep_simplex_floor_and_cap(name):
    ours = proposer_of(SPACES[name], starts=4, random=0)
    proposals, view = played(ours, 7, by_cost)
    models = ours.sampler.models
    space, rng = models.space, np.random.default_rng(0)
    drawn = space.random(rng, 30, 0.0)
    choice = pathfront.Choice(models.outlook(view), rng, gradient=True)
    climbed = choice._climbed(drawn.take(np.arange(10)))
    assert np.abs(climbed.logits - drawn.logits[:10]).max() > 0.1
    everything = Pool.joined((drawn, space.mutants(rng, drawn, 30), space.crossed(rng, drawn, 30), climbed))
    epochs = EPOCHS if "capped" in name else None
    mixtures = [p.candidate.mixture.weights for p in proposals]
    for index in range(len(everything)):
        found = ours.problem.feasible(space.params(everything, index))
        assert found is not None
        mixtures.append(found.candidate.mixture.weights)
    for weights in mixtures:
        assert_kept(weights, epochs)
    if name == "by domain":
        for weights in mixtures:
            assert_equal_within_domains(weights)
    assert len({json.dumps(weights) for weights in mixtures}) > 60


@pytest.mark.parametrize("per_task", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_derivatives_by_log_ratio_equal_finite_differences(name, per_task):
    problem = problem_of(SPACES[name])
    space, encoder = encoded(problem, per_task)
    pool = space.random(np.random.default_rng(2), 20, 0.0)
    rungs, beta, step = np.full(20, 2), true_law(encoder, 3), 1e-6
    found = space.share_slopes(pool, encoder.by_share(space.points(pool), beta).sum(axis=0))
    groups = len(space.groups)
    assert found.shape == (20, groups)
    assert groups == (8 if name == "capped" else 4)

    def value(moved):
        points = space.points(Pool(pool.shape, pool.log_rate, pool.logits + moved))
        return np.einsum("tpc,tc->p", encoder.law(points, rungs), beta)

    for group in range(groups):
        moved = step * (np.arange(groups) == group)
        assert found[:, group] == pytest.approx((value(moved) - value(-moved)) / (2 * step), abs=1e-4)
    assert np.abs(found).max() > 0.01


def test_by_domain_is_by_task_in_the_models_where_each_domain_has_one_task():
    suite = counted_suite()
    records = {name: of.model_copy(update={"domain": name}) for name, of in suite.records.items()}
    alone = suite.model_copy(update={"records": records})
    proposals = {}
    for by in ("task", "domain"):
        config = toy_config(space={"mixture": {"by": by}}, search={"sampler": "pathfront"})
        proposals[by] = played(Proposer(config, alone), 9, by_cost)[0]
    assert [p.candidate.id for p in proposals["task"]] == [p.candidate.id for p in proposals["domain"]]
    assert "model" in proposals["domain"][-1].origin


def test_the_columns_by_domain_are_those_of_the_other_domains():
    problem = problem_of(SPACES["by domain"])
    space, encoder = encoded(problem)
    by_task = encoded(problem_of({"mixture": {"by": "task", "floor": FLOOR}}))[1]
    assert len(by_task.prior.mean) - len(encoder.prior.mean) == 8 - 4
    pool = space.random(np.random.default_rng(0), 5, 0.0)
    points = space.points(pool)
    law = encoder.law(points, np.zeros(5, dtype=int))
    suite = problem.suite
    domains = list(suite_domains(suite).values())
    first = len(encoder.prior.mean) - 4
    for task, name in enumerate(suite.tasks):
        assert law[task, :, first] == pytest.approx(np.log(points.shares[:, task] * 8))
        others = [of for of in domains if name not in of]
        for number, of in enumerate(others):
            share = sum(points.shares[:, suite.tasks.index(member)] for member in of)
            expected = np.clip(share * 8 / len(of) - 1, -1, 4)
            assert law[task, :, first + 1 + number] == pytest.approx(expected)


@pytest.mark.parametrize("sampler", ["pathfront", "stratified", "random"])
def test_the_control_is_capped_and_says_so(sampler):
    config = toy_config(space=SPACES["capped by domain"], rungs={"tokens": [225_000, 900_000]})
    config = config.model_copy(update={"search": config.search.model_copy(update={"sampler": sampler})})
    found = Proposer(config, counted_suite()).propose(Snapshot((), (), 0.0))
    assert found is not None
    rule, reason = provenance(found.origin)
    assert rule == "control"
    assert reason.startswith("the uniform mixture with at most 2.2 passes over ")
    over = [t for t, count in zip(counted_suite().tasks, DATA, strict=True) if EPOCHS * count < TOP / 8]
    assert reason.endswith(", ".join(over))
    weights = found.candidate.mixture.weights
    assert_kept(weights)
    free = [weights[task] for task in weights if task not in over]
    assert max(free) - min(free) < 2e-6
    assert min(free) > 1 / 8 > max(weights[task] for task in over)


def test_a_control_that_the_cap_leaves_alone_is_a_plain_control():
    config = toy_config(
        space={"mixture": {"by": "domain", "epochs": 50}}, rungs={"tokens": [225_000, 900_000]}
    )
    found = Proposer(config, counted_suite()).propose(Snapshot((), (), 0.0))
    assert found is not None
    assert found.origin == "control"
    assert found.candidate.mixture == TaskMixture.uniform(counted_suite().tasks)


@pytest.mark.parametrize("sampler", ["pathfront", "stratified"])
def test_where_only_the_mixture_varies_one_candidate_tries_the_control(sampler):
    space = {**made_studies.ONE_ARCHITECTURE, "learning_rate": 1e-3}
    config = toy_config(space=space, search={"sampler": sampler})
    proposals, _ = played(Proposer(config, counted_suite()), 6, by_cost)
    assert len(proposals) == 6
    assert [p.origin == "control" for p in proposals] == [True, *[False] * 5]
    assert len({json.dumps(p.candidate.mixture.weights) for p in proposals}) == 6


@pytest.mark.parametrize("name", SPACES)
def test_no_mixture_of_the_space_has_more_patches_than_the_bound(name):
    config = toy_config(space=SPACES[name], rungs={"tokens": [225_000, 900_000]})
    suite = counted_suite()
    problem = Problem(config.space, suite, config.limits, 0, config.rungs)
    space, rng = PoolSpace(problem), np.random.default_rng(0)
    cost = price(next(config.space.architectures(suite.context)), suite)
    costs = np.array(
        [
            sum(s * cost.encoder_flops_per_patch[e] for e, s in suite.patch_share.get(task, {}).items())
            for task in suite.tasks
        ]
    )
    pool = space.random(rng, 400, 0.0)
    ends = space.spread * np.sign(pool.logits)
    pool = Pool.joined((pool, Pool(pool.shape, pool.log_rate, ends)))
    most = max_patch_flops(config, suite, cost)
    found = (space.points(pool).shares @ costs).max() * PATCHES
    assert found <= most * (1 + 1e-9)
    assert name != "by domain" or found == pytest.approx(most, rel=1e-3)


def test_a_suite_of_many_tasks_is_searched_by_domain_and_its_models_fit():
    ours = proposer_of({"mixture": {"floor": 0.005, "spread": 1.0}}, tasks=24, starts=4, random=0)
    names = [name for name in ours.parameters if name.startswith("mixture.")]
    assert len(names) == 5
    proposals, _ = played(ours, 7, by_cost)
    assert provenance(proposals[-1].origin).rule == "pathfront model"
    for p in proposals:
        assert len(set(p.candidate.mixture.weights.values())) <= 5
        assert set(p.candidate.mixture.weights) == set(ours.suite.tasks)
    encoder = Encoder(ours.problem.space, ours.suite, ours.problem.rungs, _sample(ours.problem))
    assert encoder.laws == 24


def _sample(problem):
    space = PoolSpace(problem)
    return space.points(space.random(np.random.default_rng(0), 50, 0.0))


@pytest.fixture
def counted_studies(monkeypatch, toy_suite):
    monkeypatch.setattr(StudyConfig, "suite_record", lambda self: counted_suite())


def test_a_study_by_domain_with_few_passes_runs_to_its_front(launch, counted_studies, url, pathfront):
    mixture = {"by": "domain", "epochs": 0.03, "floor": FLOOR}
    launch(space={"mixture": mixture}, stop={"candidates": 5}, search={"sampler": "pathfront"})
    Worker(url, "toy", "artifacts", "one").run()
    code, out, _ = pathfront("front", "toy", "--json", "--storage", url)
    assert code == 0
    rows = json.loads(out)
    assert rows
    for row in rows:
        shares = np.array([row["mixture"][task] for task in counted_suite().tasks])
        assert (shares * 14_400 <= 0.03 * np.array(DATA) * (1 + 1e-9)).all()
    code, out, _ = pathfront("show", "toy", rows[0]["trial"], "--storage", url)
    assert code == 0
    assert f"{rows[0]['mixture']['docs']:.1%}" in out
    code, out, _ = pathfront("status", "toy", "--storage", url)
    assert code == 0
    assert "the uniform mixture with at most 0.03 passes over" in out


def test_a_table_of_mixtures_by_domain_knows_its_controls_and_has_features(monkeypatch):
    monkeypatch.setattr(made_tables, "suite", counted_suite)
    space = {**made_tables.SPACE, "mixture": {"by": "domain", "epochs": EPOCHS, "floor": FLOOR}}
    table = made_tables.made_table(16, repeats=0, space=space)
    controls = [row for row in table.rows if provenance(row.origin).rule == "control"]
    assert len(controls) == 2
    assert all("at most 2.2 passes" in row.origin for row in controls)
    assert [row.weight for row in controls] == [0, 0]
    assert sum(row.weight for row in table.rows) == pytest.approx(1)
    found = Features(table).of_rows(table, range(16))
    shares = found[:, -16:-8] ** 2
    for row, of in zip(table.rows, shares, strict=True):
        assert of == pytest.approx([row.config.mixture.weights[task] for task in table.tasks])


@pytest.mark.slow
def test_a_launch_counts_the_data_that_the_cap_is_of(monkeypatch, tmp_path, url, pathfront):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(__file__).parents[n]) for n in (0, 1, 2)))
    file = {
        "study": "real",
        "suite": ["taxi", "digits"],
        "space": {"mixture": {"epochs": 0.9, "spread": 2.5}},
        "rungs": {"tokens": [100_000]},
        "stop": {"candidates": 5},
        "search": {"sampler": "random", "promotion": "rank"},
        "workers": 1,
        "trainer": "toy_trainers:climb",
    }
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(file))
    code, _, err = pathfront("launch", "real.yaml", "--storage", url)
    assert code == 0, err
    reader = Reader(url)
    suite = reader.suite("real")
    corpora = {task: load_task(task, suite).episodes() for task in suite.tasks}
    assert suite.tokens == {task: sum(map(len, episodes)) for task, episodes in corpora.items()}
    most = 0.9 * suite.tokens["digits"] / 120_000
    shares = [row.mixture["digits"] for row in reader.front("real")]
    configs = [reader.trial("real", row.number).config for row in reader.trials("real")]
    shares += [config.mixture.weights["digits"] for config in configs]
    assert max(shares) <= most
    assert max(shares) > most - 1e-5, "the cap holds back no candidate"
    (tmp_path / "real.yaml").write_text(
        yaml.safe_dump({**file, "study": "never", "rungs": {"tokens": [400_000]}})
    )
    code, out, err = pathfront("launch", "real.yaml", "--storage", url)
    assert (code, out) == (2, "")
    assert err.startswith("error: real.yaml: space.mixture.epochs: 0.9 passes over all data are ")
    assert err.count("\n") == 1
    assert [study.name for study in reader.studies()] == ["real"]


def test_the_control_of_a_confirmation_keeps_the_cap():
    proposer = proposer_of(SPACES["capped"], random=0)
    proposals, _ = played(proposer, 5, by_cost)
    rows = [found.row(ordinal, dict.fromkeys(found.params, "")) for ordinal, found in enumerate(proposals)]
    searched = SimpleNamespace(**rows[-1])
    control = control_row(proposer.config, proposer.suite, searched)
    assert control is not None
    weights = control["config"]["mixture"]["weights"]
    assert_kept(weights)
    assert weights == rows[0]["config"]["mixture"]["weights"]  # that of the search's own control
    assert {**control["config"], "mixture": None} == {**searched.config, "mixture": None}
    assert control_row(proposer.config, proposer.suite, SimpleNamespace(**rows[0])) is None


@pytest.mark.parametrize("name", SPACES)
def test_a_given_mixture_is_held_by_domain_and_under_a_cap(name):
    proposer = proposer_of(SPACES[name], random=0)
    proposals, _ = played(proposer, 6, by_cost)
    problem, tokens = proposer.problem, proposer.config.rungs.whole_tokens
    for found in proposals:
        params = held(as_point(found.candidate), problem.space, problem.suite, tokens)
        again = problem.feasible(params)
        assert again is not None
        weights = found.candidate.mixture.weights
        assert again.candidate.mixture.weights == pytest.approx(weights, abs=TOLERANCE)


def test_a_given_mixture_that_no_domain_or_cap_allows_is_refused():
    suite = counted_suite()
    uneven = dict(zip(suite.tasks, (0.3, 0.02, 0.02, 0.02, 0.3, 0.3, 0.02, 0.02), strict=True))
    for name, words in (
        ("by domain", "one log-ratio for each domain"),
        ("capped", "passes over a task's data"),
    ):
        problem = problem_of(SPACES[name])
        with pytest.raises(StudyFileError, match=words):
            held({"mixture": uneven}, problem.space, suite, problem.rungs.whole_tokens)


def test_a_prior_of_a_share_is_one_of_a_domain_where_mixtures_are_searched_so():
    suite = counted_suite()
    domain, members = max(suite_domains(suite).items(), key=lambda pair: len(pair[1]))
    priors = {f"mixture.{domain}": {"value": 0.6, "strength": 4}}
    space = {"mixture": {"by": "domain", "floor": FLOOR, "spread": 2.5}}
    config = toy_config(space=space, rungs={"tokens": list(made_studies.RUNGS)}, priors=priors)
    problem = Proposer(config, suite).problem
    assert problem.belief is not None
    shares = []
    for drawn in (
        problem.belief.draws(np.random.default_rng(0)),
        problem.plain_draws(np.random.default_rng(0)),
    ):
        mixtures = [problem.shares.mixture(params).weights for params in islice(drawn, 300)]
        shares.append(np.median([sum(weights[task] for task in members) for weights in mixtures]))
    assert shares[0] > shares[1] + 0.08
    with pytest.raises(StudyFileError, match=f"priors.mixture.{members[0]}: no domain of suite"):
        check_priors({f"mixture.{members[0]}": Prior(value=0.5)}, config.space, suite)
