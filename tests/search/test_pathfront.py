"""Pathfront's sampler: its start, its models, running and diverging candidates, odd spaces and views."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from itertools import islice

import numpy as np
import pytest
from made_studies import MORE_KNOBS, ONE_ARCHITECTURE, by_cost, played, proposer_of
from old_studies import unpack
from sqlalchemy import create_engine, select

from search.choose import pool as pools
from search.choose.contract import RULES, Subject
from search.choose.gain import by_gain
from search.choose.pathfront import MOST_CHEAP, STARTS
from search.choose.propose import Proposal, Proposer
from search.choose.provenance import provenance
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, take_snapshot
from search.choose.stratified import Stratified
from search.database import tables
from search.database.storage import open_writer
from search.surrogate.surrogate import Surrogate
from space.errors import StudyFileError
from space.knobs import STORED
from space.records import SuiteRecord
from space.study import StudyConfig

EMPTY = Snapshot((), (), 0.0)
FIXED = {"mixture": {"fixed": True}}
DIVERGED = {"state": "failed", "final": True, "score": None, "stderr": None, "diverged": True, "tasks": {}}


@pytest.fixture(scope="module")
def ours():
    return proposer_of(random=0)


@pytest.fixture(scope="module")
def starting_early():
    return proposer_of(starts=6, random=0)


@pytest.fixture(scope="module")
def grown():
    """24 candidates with scores, on up to three rungs."""
    return played(proposer_of(starts=16, random=0), 24, by_cost)[1]


def first(proposer, view):
    return next(iter(proposer.sampler.suggest(view)))


def rules(proposals):
    return Counter(provenance(found.origin).rule for found in proposals)


def test_the_first_candidates_hold_the_control_mixture_one_dense_one_sparse():
    proposals, _ = played(proposer_of(), 4, by_cost)
    control = proposals[0].candidate.mixture
    assert control.weights == pytest.approx(dict.fromkeys(control.weights, 1 / 8))
    assert [found.candidate.mixture == control for found in proposals] == [True, True, False, False]
    assert {found.candidate.architecture.sparse for found in proposals[:2]} == {True, False}
    assert [provenance(found.origin).rule for found in proposals[2:]] == ["pathfront start"] * 2


def test_the_sampler_alone_holds_the_control_mixture_as_well(ours):
    control = ours.problem.control(0)
    assert len(control) == 8
    for suggestion in islice(ours.sampler.suggest(EMPTY), 20):
        assert suggestion.params == {**suggestion.params, **control}


def test_start_draws_are_cheaper_than_random_ones():
    costs = {}
    for cheap in (True, False):
        sampler = proposer_of(cheap_start=cheap)
        later = replace(EMPTY, candidates=tuple(Candidate(str(n), n, {}, 1e5, True) for n in range(2)))
        drawn = [sampler.problem.feasible(s.params) for s in islice(sampler.sampler.suggest(later), 300)]
        costs[cheap] = np.log([found.cost.flops_per_token for found in drawn])
    assert costs[True].mean() < costs[False].mean() - 0.5
    assert costs[True].max() > np.quantile(costs[False], 0.8)  # dear ones are drawn, too


def test_a_study_starts_with_draws_and_goes_on_with_the_models():
    proposals, _ = played(proposer_of(random=0), 24, by_cost)
    assert set(rules(proposals[:STARTS])) <= {"control", "pathfront start"}
    later = rules(proposals[STARTS:])
    assert set(later) == {"pathfront model"}
    for found in proposals[STARTS:]:
        assert provenance(found.origin).reason.endswith(tuple(f"weighs 0.{n:02d}" for n in range(100)))


def test_draws_go_on_until_three_candidates_have_scores(ours, grown):
    unscored = [replace(t, state="running", final=False, score=None, tasks={}) for t in grown.trials]
    for scored in (0, 2, 3):
        names = [candidate.id for candidate in grown.candidates[:scored]]
        done = [trial for trial in grown.trials if trial.candidate in names]
        note = first(ours, replace(grown, trials=(*done, *unscored))).note
        assert (note == "start") == (scored < 3)


def test_beyond_the_start_candidates_without_scores_are_stratified_draws(ours):
    unscored = replace(played(ours, MOST_CHEAP * STARTS, by_cost)[1], trials=())
    suggested = list(islice(ours.sampler.suggest(unscored), 50))
    stratified = Stratified(ours.problem).suggest(unscored)
    assert [s.params for s in suggested] == list(islice(stratified, 50))
    assert {s.note for s in suggested} == {"start"}
    cheap = islice(ours.sampler.suggest(replace(unscored, candidates=unscored.candidates[:-1])), 50)
    assert not {tuple(s.params.values()) for s in cheap} & {tuple(s.params.values()) for s in suggested}


def test_where_many_workers_ask_at_once_the_whole_start_is_stratified(ours):
    empty = Snapshot((), (), 0.0, workers=MOST_CHEAP * STARTS + 1)
    stratified = next(Stratified(ours.problem).suggest(empty))
    assert first(ours, empty).params == stratified  # with the control mixture
    assert first(ours, replace(empty, workers=MOST_CHEAP * STARTS)).params != stratified


def test_the_share_of_random_draws_is_an_argument(grown):
    sometimes, always = proposer_of(random=0.5, law=False), proposer_of(random=1)
    views = [replace(grown, candidates=grown.candidates + grown.candidates[:n]) for n in range(10)]
    notes = [first(sometimes, view).note for view in views]
    assert 2 <= notes.count("random") <= 8
    assert {first(always, view).note for view in views} == {"random"}


def test_it_finds_the_learning_rate_that_the_scores_prefer(ours, grown):
    found = [s.params["learning_rate"] for s in islice(ours.sampler.suggest(grown), 20)]
    assert np.abs(np.log(np.divide(found, 2e-3))).max() < 0.8  # the range reaches from 3e-4 to 1e-2


def listed(proposer, seed, count):
    """Random candidates."""
    rng = np.random.default_rng(seed)
    drawn = (proposer.problem.feasible(params) for params in proposer.problem.plain_draws(rng))
    return list(islice((found for found in drawn if found is not None), count))


def test_among_listed_candidates_it_takes_what_its_models_think_best(ours, grown):
    pool = listed(ours, 5, 60)
    chosen = ours.sampler.choose_among(grown, pool)
    assert chosen.note.startswith("model; the law weighs 0.")
    assert replace(chosen, note="") in pool
    rest = [found for found in pool if found.candidate.id != chosen.candidate.id]
    assert ours.sampler.choose_among(grown, list(reversed(pool))) == chosen
    assert ours.sampler.choose_among(grown, rest) != chosen
    assert ours.sampler.choose_among(grown, rest[:1]) == replace(rest[0], note=chosen.note)
    best = []
    while len(best) < 10:
        best.append(ours.sampler.choose_among(grown, [one for one in pool if one not in best]))
        best[-1] = replace(best[-1], note="")
    off = [
        np.mean([abs(np.log(found.params["learning_rate"] / 2e-3)) for found in some])
        for some in (best, pool)
    ]
    assert off[0] < 0.7 * off[1]  # the scores prefer 2e-3


def test_among_listed_candidates_it_starts_with_cheap_ones_of_both_kinds(ours):
    pool = listed(ours, 6, 80)
    flops = {found.candidate.id: np.log(found.cost.flops_per_token) for found in pool}
    chosen = {dense: [] for dense in (False, True)}
    for seed in range(40):
        proposer = proposer_of(seed=seed)
        for ordinal in (2, 3):
            view = replace(
                EMPTY, candidates=tuple(Candidate(str(n), n, {}, 1e5, True) for n in range(ordinal))
            )
            found = proposer.sampler.choose_among(view, pool)
            assert found.note == "start"
            chosen[ordinal == 3].append(found)
    assert {found.candidate.architecture.sparse for found in chosen[False]} == {True}
    assert {found.candidate.architecture.sparse for found in chosen[True]} == {False}
    costs = [flops[found.candidate.id] for of in chosen.values() for found in of]
    assert np.mean(costs) < np.mean(list(flops.values())) - 0.3
    many = Snapshot((), (), 0.0, workers=MOST_CHEAP * STARTS + 1)
    assert ours.sampler.choose_among(many, pool).note == "start"


def test_among_listed_candidates_some_are_taken_at_random(grown):
    always = proposer_of(random=1)
    pool = listed(always, 7, 60)
    views = [replace(grown, candidates=grown.candidates + grown.candidates[:n]) for n in range(10)]
    found = [always.sampler.choose_among(view, pool) for view in views]
    assert {one.note for one in found} == {"random"}
    assert len({one.candidate.id for one in found}) > 5


def running(view, proposal, **changes):
    """The view once a proposal is running."""
    flops, name = proposal.cost.flops_per_token, proposal.candidate.id
    sparse = proposal.candidate.architecture.sparse
    known = Candidate(name, len(view.candidates), proposal.params, flops, sparse)
    trial = SnapshotTrial(name, 0, "running", False, None, None, flops, 1e5 * flops)
    trials = (*view.trials, replace(trial, **changes))
    return replace(view, candidates=(*view.candidates, known), trials=trials)


def test_running_candidates_are_counted_in(ours, grown):
    """Proposals without a result between them spread; those after candidates that failed do not."""
    spreads, architectures = [], []
    for changes in ({}, {"state": "failed", "final": True}):
        view, proposals = grown, []
        for _ in range(10):
            proposals.append(ours.propose(view))
            view = running(view, proposals[-1], **changes)
        costs = np.log([found.cost.flops_per_token for found in proposals])
        spreads.append(np.abs(costs[:, None] - costs).mean())
        architectures.append(len({found.candidate.architecture for found in proposals}))
    assert spreads[0] > 1.2 * spreads[1]
    assert architectures[0] >= 8
    assert architectures[0] > architectures[1]


def test_a_diverging_region_is_avoided(ours, grown):
    high = {c.id for c in grown.candidates if c.params["learning_rate"] > 2.5e-3}
    trials = [replace(trial, **DIVERGED) if trial.candidate in high else trial for trial in grown.trials]
    view = replace(grown, trials=tuple(trials))
    assert 3 < len(high) < 20
    rates = [s.params["learning_rate"] for s in islice(ours.sampler.suggest(view), 10)]
    assert max(rates) < 2.5e-3


def test_suggestions_repeat_in_a_new_process(grown):
    code = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from made_studies import proposer_of
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, TaskFraction
view = json.load(sys.stdin)
for row in view["trials"]:
    row["tasks"] = {task: TaskFraction(*value) for task, value in row["tasks"].items()}
view = Snapshot(
    tuple(Candidate(**row) for row in view["candidates"]),
    tuple(SnapshotTrial(**row) for row in view["trials"]), 0.0
)
print(json.dumps(proposer_of(random=0).propose(view).params))
"""
    used = proposer_of(random=0)
    played(used, 20, by_cost)  # what a sampler was asked before changes nothing
    here = used.propose(grown)
    given = json.dumps(asdict(grown))
    command = [sys.executable, "-c", code, json.dumps(sys.path)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == here.params


def test_models_are_fitted_again_only_when_there_are_new_scores(grown, monkeypatch):
    fits, make = [], Surrogate.__init__
    monkeypatch.setattr(Surrogate, "__init__", lambda self, *given: fits.append(1) or make(self, *given))
    ours = proposer_of(random=0)
    ours.propose(running(grown, ours.propose(grown)))
    assert len(fits) == 1
    ours.propose(replace(grown, trials=grown.trials[:-1]))
    assert len(fits) == 2


@pytest.mark.parametrize("part", ["law", "residual", "plain", "per_task", "gradient"])
def test_parts_can_be_switched_off(part, ours, grown):
    without, whole = (
        list(islice(proposer.sampler.suggest(grown), 20))
        for proposer in (proposer_of(random=0, **{part: False}), ours)
    )
    assert [s.params for s in without] != [s.params for s in whole]
    assert ("weighs 0.00" in without[0].note) == (part == "law")
    assert ("weighs 1.00" in without[0].note) == (part == "plain")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"law": False}, "failed_trials"),
        ({"residual": False}, "equal_scores"),
        ({"plain": False}, "several_rungs"),
        ({"gradient": False}, "feasible_and_new"),
        ({"per_task": False}, "equal_scores"),
        ({"cheap_start": False}, "one_parameter"),
        ({"law": False, "plain": False}, "one_parameter"),
        ({}, "repeatable"),
        ({}, "few_results"),
    ],
)
def test_the_contract_holds_where_the_models_suggest(arguments, rule):
    """The other contract tests end before the models are asked."""
    RULES[rule](Subject("pathfront", {"starts": 8, **arguments}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"starts": 0}, "starts is a whole number of at least 1, got 0"),
        ({"starts": True}, "starts is a whole number of at least 1, got True"),
        ({"starts": 1.5}, "starts is a whole number of at least 1, got 1.5"),
        ({"random": 2}, "random is a number from 0 to 1, got 2"),
        ({"random": "a"}, "random is a number from 0 to 1, got 'a'"),
        ({"random": True}, "random is a number from 0 to 1, got True"),
        ({"law": "no"}, "law is true or false, got 'no'"),
        ({"per_task": 1}, "per_task is true or false, got 1"),
        ({"strats": 3}, "got 'strats'; did you mean 'starts'"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    with pytest.raises(StudyFileError, match=message) as refused:
        proposer_of(**arguments)
    assert str(refused.value).startswith("search.sampler_args: ")
    assert "\n" not in str(refused.value)


SPACES = {
    "one architecture": (ONE_ARCHITECTURE, {}),
    "one knob": ({**ONE_ARCHITECTURE, **FIXED, "learning_rate": 1e-3, "depth": {"low": 1, "high": 40}}, {}),
    "a list of rates": ({"learning_rate": {"choices": [1e-3, 2e-3, 4e-3]}}, {}),
    "a fixed rate": ({"learning_rate": 1e-3}, {}),
    "a fixed mixture": (FIXED, {}),
    "one task": ({}, {"tasks": 1}),
    "24 tasks": ({}, {"tasks": 24}),
    "one rung": ({}, {"rungs": (900_000,)}),
    "five rungs": ({}, {"rungs": (100_000, 200_000, 400_000, 800_000, 1_600_000)}),
    "14 knobs": (MORE_KNOBS, {}),
    "steps": ({"width": {"low": 48, "high": 250, "step": 48}, "depth": {"low": 1, "high": 9, "step": 4}}, {}),
    "weights of 0": ({"mixture": {"prior": {"taxi": 1, "docs": 2}, "floor": 0, "spread": 10}}, {}),
    "tight limits": ({"width": {"low": 64, "high": 4096, "step": 64}}, {"limits": {"total_params": 4e5}}),
}


@pytest.mark.parametrize("name", SPACES)
def test_models_suggest_in_every_space(name, monkeypatch):
    monkeypatch.setattr(pools, "SHAPES", 150)
    space, changes = SPACES[name]
    ours = proposer_of(space, starts=6, random=0, **changes)
    proposals, _ = played(ours, 10, by_cost)
    assert len({found.candidate.id for found in proposals}) == 10
    for found in proposals:
        assert ours.problem.checked_params(found.params) == found.params
        assert ours.config.limits.broken(found.cost) is None
    assert set(rules(proposals[6:])) <= {"pathfront model"}


RESULTS = {
    "at the floor": lambda score, tasks, n: (0.0, dict.fromkeys(tasks, 0.0)),
    "below -1": lambda score, tasks, n: (-1.0, dict.fromkeys(tasks, -4.0)),
    "above 1": lambda score, tasks, n: (1.0, dict.fromkeys(tasks, 1.7)),
    "without tasks": lambda score, tasks, n: (score, {}),
    "with some tasks": lambda score, tasks, n: (score, dict.fromkeys(list(tasks)[n % 8 :], score)),
    "every third": lambda score, tasks, n: None if n % 3 else (score, tasks),
}


@pytest.mark.parametrize("name", RESULTS)
def test_models_suggest_after_any_result(name, starting_early):
    ours = starting_early
    proposals, _ = played(ours, 11, lambda found, n: RESULTS[name](*by_cost(found, n), n))
    assert set(rules(proposals[8:])) <= {"pathfront model"}


def changed(view, **changes):
    return replace(view, trials=tuple(replace(trial, **changes) for trial in view.trials))


def with_params(view, every, **params):
    candidates = [
        replace(c, params={**c.params, **params}) if c.ordinal % every == 0 else c for c in view.candidates
    ]
    return replace(view, candidates=tuple(candidates))


@pytest.mark.parametrize(
    ("change", "by_model"),
    [
        (lambda view: changed(view, **DIVERGED), False),
        (lambda view: changed(view, stderr=0.0), True),
        (lambda view: changed(view, stderr=None), True),
        (lambda view: changed(view, rung=3), False),
        (lambda view: replace(view, trials=view.trials + changed(view, rung=7).trials), True),
        (lambda view: with_params(view, 1, width=50.5), False),
        (lambda view: with_params(view, 2, width=50.5), True),
        (lambda view: with_params(view, 2, depth=40), True),
        (lambda view: replace(view, trials=()), False),
    ],
)
def test_odd_views_are_suggested_for(ours, grown, change, by_model):
    proposal = ours.propose(change(grown))
    expected = {"pathfront model"} if by_model else {"pathfront start"}
    assert provenance(proposal.origin).rule in expected


@pytest.mark.parametrize(
    "change",
    [
        lambda view: with_params(view, 1, width=50.5),
        lambda view: with_params(view, 2, width=50.5),
        lambda view: changed(view, tasks={}),
        lambda view: view,
    ],
)
def test_expected_gain_orders_the_trials_of_odd_views(ours, grown, change):
    """All of them are ordered, those of candidates that the space no longer holds last."""
    view = change(grown)
    trials = view.rungs[0]
    held = {c.id for c in view.candidates if ours.problem.feasible(c.params) is not None}
    order = [trial.candidate for trial in by_gain(trials, view, ours.problem)]
    assert sorted(order) == sorted(trial.candidate for trial in trials)
    if len(held) >= 6:
        assert set(order[: len(held)]) == held


def test_a_kind_that_is_rare_among_the_promoted_is_promoted_first(ours, grown):
    """However good the others are: what experts are worth may show at a later rung."""
    sparse = {c.id: c.sparse for c in grown.candidates}
    trials = grown.rungs[0]
    assert len({sparse[trial.candidate] for trial in trials}) == 2
    for kind in (True, False):
        above = tuple(replace(t, rung=1) for t in trials if sparse[t.candidate] != kind)[:4]
        view = replace(grown, trials=(*trials, *above))
        order = [trial.candidate for trial in by_gain(trials, view, ours.problem)]
        assert set(order[:4]) == {trial.candidate for trial in above}  # they hold places
        assert sparse[order[4]] == kind


def test_a_kind_that_fails_at_the_next_rung_is_not_promoted_again_and_again(ours, grown):
    sparse = {c.id: c.sparse for c in grown.candidates}
    trials = grown.rungs[0]
    failed = [t for t in trials if sparse[t.candidate]][:3]
    kept = [t for t in trials if not sparse[t.candidate]][:3]
    above = [replace(t, rung=1, state="failed", score=None, diverged=True, tasks={}) for t in failed]
    view = replace(grown, trials=(*trials, *above, *(replace(t, rung=1) for t in kept)))
    order = [trial.candidate for trial in by_gain(trials, view, ours.problem)]
    assert order[:3] == [trial.candidate for trial in by_gain(kept, view, ours.problem)]
    without = replace(grown, trials=(*trials, *(replace(t, rung=1) for t in kept)))
    assert sparse[by_gain(trials, without, ours.problem)[3].candidate]
    half = [sparse[trial.candidate] for trial in by_gain(trials, view, ours.problem)[3:]]
    assert half != sorted(half, reverse=True)  # by gain, and not the sparse ones first


def test_a_score_without_tasks_has_one_law(ours):
    view = played(proposer_of(starts=24), 24, by_cost)[1]
    assert ours.sampler.models.surrogate(view).encoder.laws == 8
    alone = proposer_of().sampler.models.surrogate(changed(view, tasks={}))
    assert alone.encoder.laws == 1
    models = proposer_of().sampler.models
    pool = models.space.random(np.random.default_rng(1), 50, 0.0)
    scores = alone.predict(models.space.points(pool)).mixed_mean
    params = [models.space.params(pool, i) for i in range(len(pool))]
    found = [ours.problem.feasible(p) for p in params]
    known = [by_cost(Proposal(f.candidate, f.params, f.cost, ""), 2)[0] for f in found]
    assert np.corrcoef(scores, known)[0, 1] > 0.9


def test_hundreds_of_running_candidates_are_no_burden(ours, grown):
    rng, candidates = np.random.default_rng(5), {c.id: c for c in grown.candidates}
    while len(candidates) < 300:
        found = ours.problem.feasible(ours.problem.space.sample(ours.suite, rng))
        if found is not None:
            flops, name = found.cost.flops_per_token, found.candidate.id
            candidates[name] = Candidate(name, len(candidates), found.params, flops, True)
    others = list(candidates.values())[24:]
    trials = [SnapshotTrial(c.id, 0, "running", False, None, None, c.flops_per_token, 1e9) for c in others]
    view = replace(grown, candidates=tuple(candidates.values()), trials=(*grown.trials, *trials))
    assert provenance(ours.propose(view).origin).rule == "pathfront model"
    nothing = replace(view, trials=tuple(trials))
    assert provenance(ours.propose(nothing).origin).rule == "pathfront start"


def test_a_small_space_is_searched_to_its_end_by_the_models():
    space = {**ONE_ARCHITECTURE, **FIXED, "learning_rate": {"choices": [1e-3, 2e-3]}}
    space |= {"depth": {"low": 1, "high": 4}, "experts": {"choices": [1, 2, 4]}}
    ours = proposer_of(space, starts=6, random=0)
    proposals, view = played(ours, 40, by_cost)
    assert len(proposals) == 4 * 2 * 2  # depths, rates, experts from top_k on
    assert ours.propose(view) is None
    assert set(rules(proposals[6:])) == {"pathfront model"}


@pytest.mark.parametrize("version", [1, 2])
def test_studies_of_older_databases_go_on_with_it(version, tmp_path, capsys):
    url = unpack(version, tmp_path)
    open_writer(url).dispose()
    engine = create_engine(url)
    with engine.connect() as connection:
        row = connection.execute(select(tables.studies)).one()
    config = StudyConfig.model_validate(row.config, context=STORED)
    search = config.search.model_copy(
        update={"sampler": "pathfront", "sampler_args": {"starts": 3, "random": 0}}
    )
    ours = Proposer(config.model_copy(update={"search": search}), SuiteRecord.model_validate(row.suite))
    view = take_snapshot(engine, "old", search.seed)
    engine.dispose()
    assert provenance(ours.propose(view).origin).rule == "pathfront start"
    paused = next(trial for trial in view.trials if trial.state == "paused")
    scored = replace(paused, state="done", final=True, score=0.4, stderr=0.02)
    view = replace(view, trials=(*(t for t in view.trials if t is not paused), scored))
    assert provenance(ours.propose(view).origin).rule == "pathfront model"
