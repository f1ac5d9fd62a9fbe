"""The first candidates of a study with a belief: the likeliest ones, trained to the end at once."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from factories import suite
from sqlalchemy import create_engine, update
from test_clock import RUNGS, Toy, run_of
from test_forecast import SPEED, study
from test_promote import RUNGS as THREE
from test_promote import SEARCH, standing
from test_warm import belief_from, by_size_and_rate, scored
from toy_trainers import toy_config

from search.choose.belief import Belief
from search.choose.models import models_of
from search.choose.promote import MOST_BELIEVED, most_believed, promote
from search.choose.propose import Proposer
from search.choose.provenance import BELIEVED, provenance
from search.choose.sampler import Problem
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from search.choose.stratified import Stratified
from search.database import tables
from search.planning.bounds import expected_trials, most_trials
from search.planning.clock import Result, play
from search.planning.forecast import forecast
from search.read.results import Reader
from search.table.draws import weigh
from search.worker import run_worker
from space.mixture import TaskMixture
from space.study import Search, StudyConfig

BY_PRIORS = "the likeliest at its cost by the priors"
BY_EARLIER = "the likeliest at its cost by the earlier study"
EMPTY = Snapshot((), (), 0.0)
ONE_PRIOR = {"learning_rate": 3e-3}
PRIORS = {"learning_rate": {"value": 9e-3, "strength": 4}, "experts": {"value": 16, "strength": 4}}


def proposed(config, count, view=EMPTY):
    """A study's next candidates, each proposed while the others have no score, and the study then."""
    proposer, found = Proposer(config, suite()), []
    for _ in range(count):
        proposal = proposer.propose(view)
        assert proposal is not None
        found.append(proposal)
        sparse = proposal.candidate.architecture.sparse
        flops = proposal.cost.flops_per_token
        known = Candidate(
            proposal.candidate.id, len(view.candidates), proposal.params, flops, sparse, proposal.origin
        )
        view = replace(view, candidates=(*view.candidates, known))
    return found, view


def rules(proposals):
    return [provenance(proposal.origin).rule for proposal in proposals]


@pytest.mark.parametrize("sampler", ["pathfront", "stratified", "random", "tpe", "nsga2"])
def test_the_first_ones_are_the_likeliest_at_cheap_costs_with_every_sampler(sampler):
    config = toy_config(priors=PRIORS, search={"sampler": sampler})
    found, _ = proposed(config, MOST_BELIEVED + 3)
    first, after = found[:MOST_BELIEVED], found[MOST_BELIEVED:]
    assert {proposal.origin for proposal in first} == {f"{BELIEVED}; {BY_PRIORS}"}
    assert rules(after)[:2] == ["control", "control"]  # the control mixtures keep their number and kinds
    if sampler != "random":
        assert [proposal.candidate.architecture.sparse for proposal in after[:2]] == [False, True]
    uniform = TaskMixture.uniform(suite().tasks)
    assert all(proposal.candidate.mixture == uniform for proposal in first)  # nothing is believed of mixtures
    assert BELIEVED not in rules(after)
    costs = [proposal.cost.flops_per_token for proposal in first]
    assert costs == sorted(costs)
    problem = Problem.of(config, suite())
    space = models_of(problem).space
    assert np.log(costs[-1]) < (space.edges[0] + space.edges[-1]) / 2 + 1e-9
    rates = [proposal.candidate.learning_rate for proposal in first]
    assert min(rates) > 7e-3
    experts = [proposal.candidate.architecture.experts for proposal in first]
    assert np.mean(np.log2(experts)) > 3


def test_without_a_belief_there_are_none():
    found, view = proposed(toy_config(search={"sampler": "pathfront"}), 3)
    assert BELIEVED not in rules(found)
    assert view.believed == frozenset()
    assert view.own == 3


@pytest.mark.parametrize(("candidates", "expected"), [(1, 1), (5, 1), (6, 2), (12, 4), (90, 4), (None, 4)])
def test_a_small_study_has_fewer(candidates, expected):
    stop = {"training_flops": 1e12} if candidates is None else {"candidates": candidates}
    config = toy_config(priors=PRIORS, stop=stop)
    assert most_believed(config) == expected
    assert most_believed(toy_config(stop=stop)) == 0
    starts = toy_config(priors=PRIORS, stop={"candidates": 12}, start=[{"depth": 2}] * 12)
    assert most_believed(starts) == 0  # no room is left
    found, _ = proposed(config, expected + 1)
    assert rules(found) == [BELIEVED] * expected + ["control"]


def test_a_study_that_has_gone_on_to_others_does_not_go_back():
    """Such as one of a version that had no such candidates."""
    _, view = proposed(toy_config(), 2)
    found, _ = proposed(toy_config(priors=PRIORS), 2, view)
    assert BELIEVED not in rules(found)


def test_a_persons_own_candidates_come_first_and_take_no_place():
    config = toy_config(priors=PRIORS, start=[{"depth": 2}, {"depth": 1}], stop={"candidates": 14})
    found, view = proposed(config, MOST_BELIEVED + 3)
    assert rules(found) == ["start"] * 2 + [BELIEVED] * MOST_BELIEVED + ["control"]
    assert view.own == 1


def test_where_all_costs_are_alike_they_are_not():
    fixed = {"depth": 2, "width": 64, "experts": 4, "top_k": 1, "expert_ratio": 1}
    space = {name: {"choices": [value]} for name, value in fixed.items()} | {"mixture": {"spread": 1.0}}
    share = {f"mixture.{suite().tasks[0]}": {"value": 0.3, "strength": 1}}
    config = toy_config(space=space, priors={"learning_rate": {"value": 3e-3, "strength": 2}, **share})
    found, view = proposed(config, MOST_BELIEVED)
    assert rules(found) == [BELIEVED] * MOST_BELIEVED
    problem = Problem.of(config, suite())
    pool, _ = models_of(problem).space.encode([candidate.params for candidate in view.candidates])
    shares = models_of(problem).space.points(pool).shares
    apart = np.abs(shares[:, None] - shares[None]).sum(axis=2)[np.triu_indices(MOST_BELIEVED, 1)]
    assert apart.min() > 0.1


def of_study(*trials):
    """A study whose candidates named `b...` were chosen by its belief."""
    names = dict.fromkeys(trial.candidate for trial in trials)
    candidates = [
        Candidate(name, i, {}, 1e6, True, f"{BELIEVED}; why" if name.startswith("b") else "tpe model")
        for i, name in enumerate(names)
    ]
    return Snapshot(tuple(candidates), trials, 0.0)


def test_in_a_small_space_the_likeliest_that_are_left_come_next():
    fixed = {"experts": 1, "top_k": 1, "expert_ratio": 1}
    space = {"depth": {"choices": [1, 2, 3]}, "width": {"choices": [48, 64]}, "mixture": {"fixed": True}}
    space |= {name: {"choices": [value]} for name, value in fixed.items()}
    space |= {"learning_rate": {"choices": [1e-3, 3e-3]}}
    changes = {"space": space, "priors": {"learning_rate": {"value": 3e-3, "strength": 2}}}
    likeliest = proposed(toy_config(**changes), 1)[0][0].candidate
    start = {"depth": likeliest.architecture.depth, "width": likeliest.architecture.width}
    start |= {"learning_rate": likeliest.learning_rate}
    found, _ = proposed(toy_config(**changes, start=[start]), 2)
    assert rules(found) == ["start", BELIEVED]
    assert found[0].candidate == likeliest


@pytest.mark.parametrize("prior", [{"weights": {"200": 1}}, {"value": 200, "strength": 10}])
def test_priors_that_tell_nothing_apart_choose_none(prior):
    """The limits exclude the one value that they name."""
    config = toy_config(
        space={"depth": {"choices": [1, 2, 200]}, "mixture": {"spread": 1.0}}, priors={"depth": prior}
    )
    assert BELIEVED not in rules(proposed(config, 2)[0])


class TestPromotion:
    def test_they_wait_for_no_peers(self):
        assert promote(of_study(standing("b", score=0.1)), THREE, SEARCH, True) == ("b", 1)
        climbed = of_study(standing("b", score=0.1), standing("b", 1, score=0.1))
        assert promote(climbed, THREE, SEARCH, True) == ("b", 2)

    @pytest.mark.parametrize(
        "trials",
        [
            [standing("b", score=0.01, stderr=0.02)],
            [standing("b", score=None, state="failed", diverged=True)],
            [standing("b", score=None, state="running")],
            [standing("b"), standing("b", 1, score=None, state="running")],
            [standing("b"), standing("b", 1, score=None, state="failed")],
            [standing("b", rung) for rung in range(3)],
        ],
        ids=["at the floor", "diverged", "running", "promoted", "failed above", "at the top"],
    )
    def test_those_that_cannot_climb_do_not(self, trials):
        assert promote(of_study(*trials), THREE, SEARCH, True) is None

    def test_where_all_are_promoted_they_are_so_at_the_floor_too(self):
        every = SEARCH.model_copy(update={"promotion": "all"})
        for name in ("b", "x"):
            assert promote(of_study(standing(name, score=0.01, stderr=0.02)), THREE, every, True) == (name, 1)

    def test_they_take_and_make_no_places_for_others(self):
        believed = [standing(name, rung, score=0.9) for name in ("b1", "b2") for rung in range(3)]
        alone = of_study(*believed, standing("x"))
        assert promote(alone, THREE, SEARCH, False) is None
        pair = of_study(*believed, standing("x"), standing("y", score=0.4))
        assert promote(pair, THREE, SEARCH, True) == ("x", 1)


@pytest.mark.parametrize("workers", [1, 4])
def test_all_of_them_reach_the_top_and_the_others_are_counted_apart(workers):
    run = run_of(workers, priors=PRIORS)
    view = run.snapshot
    assert len(view.believed) == MOST_BELIEVED
    at_top = {trial.candidate for trial in view.rungs[len(RUNGS) - 1]}
    assert view.believed <= at_top
    config = toy_config(priors=PRIORS)
    counts = [len(view.rungs[rung]) for rung in range(len(RUNGS))]
    assert counts == most_trials(config, 12) == [12, 8, 6]


def test_one_that_diverges_ends():
    class Diverges(Toy):
        def trial(self, candidate, cost, rung, seed):
            return Result()

    run = run_of(2, Diverges(), priors=PRIORS)
    assert {trial.rung for trial in run.snapshot.trials} == {0}


def test_what_they_cost_says_nothing_of_the_cells_of_the_others():
    config = toy_config(priors=PRIORS)
    problem = Problem.of(config, suite())
    _, view = proposed(config, MOST_BELIEVED + 1)
    trials = tuple(
        SnapshotTrial(c.id, 0, "done", True, 0.5, 0.01, c.flops_per_token, 10.0 + c.ordinal)
        for c in view.candidates
    )
    spent = Stratified(problem).spent(replace(view, trials=trials))
    assert sum(spent.values()) == 10.0 + MOST_BELIEVED


def test_counts_and_forecasts_have_them():
    assert expected_trials(THREE, 12, Search(), 4) == most_trials(study(priors=ONE_PRIOR), 12) == [12, 8, 6]
    assert expected_trials(THREE, 2, Search(), 4) == [2, 2, 2]
    assert expected_trials(THREE, 12, Search(promotion="all"), 4) == [12, 12, 12]
    plain, believing = (forecast(study(priors=priors), 2, "cpu", SPEED) for priors in ({}, ONE_PRIOR))
    assert [rung.trials for rung in plain.rungs] == [12, 6, 3]
    assert [rung.trials for rung in believing.rungs] == [12, 8, 6]
    assert believing.training_flops_most is not None
    assert believing.training_flops <= believing.training_flops_most


class TestLaunched:
    def test_a_worker_trains_them_first_and_progress_counts_them(self, launch, url, rows):
        launch(priors=PRIORS)
        with closing(Reader(url)) as reader:
            assert [rung.expected for rung in reader.status("toy").rungs] == [12, 8, 6]
        run_worker(url, "toy")
        with closing(Reader(url)) as reader:
            status = reader.status("toy")
        assert [rung.expected for rung in status.rungs] == [rung.done for rung in status.rungs] == [12, 8, 6]
        assert status.fraction_done == 1
        assert status.origins[BELIEVED] == MOST_BELIEVED
        order = sorted(rows(tables.trials), key=lambda row: row["started_at"])
        first = order[0]["candidate"]
        assert [row["rung"] for row in order if row["candidate"] == first] == [0, 1, 2]
        assert [row["candidate"] for row in order[:3]] == [first] * 3

    def test_a_study_of_before_counts_as_before(self, launch, url):
        launch(priors=PRIORS)
        run_worker(url, "toy")
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(update(tables.candidates).values(origin="stratified"))
        engine.dispose()
        with closing(Reader(url)) as reader:
            assert [rung.expected for rung in reader.status("toy").rungs] == [12, 6, 3]


def test_a_forecast_that_flops_end_stays_within_them():
    """Also where only the study's beginning is simulated."""
    stop = {"training_flops": 1e12}
    plain, believing = (forecast(study(priors=of, stop=stop), 2, "cpu", SPEED) for of in ({}, ONE_PRIOR))
    assert believing.training_flops_most is not None
    assert believing.training_flops <= believing.training_flops_most
    assert believing.training_flops == pytest.approx(plain.training_flops, rel=0.1)


def warm_study(**changes):
    config = toy_config(**changes)
    belief, _, config = belief_from(config, scored(config, by_size_and_rate), config)
    assert belief.earlier is not None
    return StudyConfig.model_validate(config.model_dump())


def test_an_earlier_study_chooses_them():
    config = warm_study(search={"sampler": "pathfront"})
    found, view = proposed(config, MOST_BELIEVED + 1)
    assert {proposal.origin for proposal in found[:-1]} == {f"{BELIEVED}; {BY_EARLIER}"}
    assert rules(found)[-1] == "control"
    assert len(view.believed) == MOST_BELIEVED


def rows_of(proposer, count=300):
    rng = np.random.default_rng(0)
    drawn = (proposer.problem.feasible(proposer.problem.sample(rng)) for _ in range(count))
    return [found for found in drawn if found is not None]


def test_among_listed_candidates_they_are_the_likeliest():
    proposer = Proposer(toy_config(priors=PRIORS), suite())
    pool = rows_of(proposer)
    first = proposer.choose_among(EMPTY, pool)
    assert first is not None
    assert first.origin == f"{BELIEVED}; {BY_PRIORS}"
    assert first.candidate.id in {found.candidate.id for found in pool}
    usual = np.mean([abs(np.log(found.candidate.learning_rate / 9e-3)) for found in pool])
    assert abs(np.log(first.candidate.learning_rate / 9e-3)) < usual / 2
    dear = [found for found in pool if found.cost.flops_per_token > 5e5]  # none at the cost whose turn it is
    other = proposer.choose_among(EMPTY, dear)
    assert other is not None
    assert provenance(other.origin).rule == "control"


def test_among_listed_candidates_an_earlier_study_chooses_them():
    proposer = Proposer(warm_study(), suite())
    pool = rows_of(proposer)
    first = proposer.choose_among(EMPTY, pool)
    assert first is not None
    assert first.origin == f"{BELIEVED}; {BY_EARLIER}"
    belief, space = proposer.problem.belief, models_of(proposer.problem).space
    assert isinstance(belief, Belief)
    assert belief.earlier is not None
    points, kept = space.encode([found.params for found in pool])
    assert len(kept) == len(pool)
    expected = dict(zip([f.candidate.id for f in pool], belief.earlier.above(space, points), strict=True))
    assert expected[first.candidate.id] > np.quantile(list(expected.values()), 0.7)


def test_the_draws_of_a_study_with_a_belief_have_no_weights():
    config = toy_config(search={"promotion": "all"})
    drawn = [("start; given by the study file", True, 4e5), ("stratified", True, 4e5)]
    weights, _ = weigh(config, suite(), drawn)
    assert weights == [0, 1]
    assert weigh(toy_config(search={"promotion": "all"}, priors=PRIORS), suite(), drawn) == (None, [])


def test_a_run_is_the_same_again():
    one, other = (play(toy_config(priors=PRIORS), suite(), Toy(), 2) for _ in range(2))
    assert one.snapshot == other.snapshot
