"""Optuna's samplers on spaces of ranges: buildable suggestions, few questions, true origins, old studies."""

import json
import re
from dataclasses import replace
from itertools import islice

import numpy as np
import optuna
import pytest
from factories import suite
from test_propose import grow, proposer
from toy_trainers import toy_config

from search.choose.propose import Proposer
from search.choose.provenance import FALLBACK, provenance
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from search.database import tables
from search.store.studies import create_or_resume
from search.worker import run_worker
from space.knobs import STORED
from space.ranges import SearchSpace
from space.study import LARGEST_SEED, StudyConfig

MODELS = ["tpe", "nsga2", "gp"]
NEEDED = {"tpe": 5, "nsga2": 10, "gp": 5}  # scores
WIDE = {
    "width": {"low": 48, "high": 512},
    "expert_ratio": {"low": 1, "high": 4},
    "experts": {"low": 1, "high": 16},
    "top_k": {"low": 1, "high": 4},
    "mixture": {"spread": 1.0},
}


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a Gaussian process misses an optional package


def seen(config, count, params=None):
    """A study in which `count` candidates have ended at rung 0."""
    rng, candidates, trials = np.random.default_rng(1), [], []
    while len(candidates) < count:
        drawn = params(len(candidates)) if params else config.space.sample(suite(), rng)
        candidate = config.space.candidate(drawn, suite())
        if candidate is None:
            continue
        candidates.append(Candidate(candidate.id, len(candidates), drawn, 1e5 + len(candidates), False))
        trials.append(SnapshotTrial(candidate.id, 0, "done", True, float(rng.random()), 0.01, 1e5, 1e9))
    return Snapshot(tuple(candidates), tuple(trials), 0.0)


def suggestions(config, view):
    return Proposer(config, suite()).sampler.suggest(view)


def config_of(sampler, space, seed=0, **changes):
    return toy_config(space=space, search={"sampler": sampler, "seed": seed}, limits={}, **changes)


@pytest.mark.parametrize("sampler", MODELS)
def test_nearly_every_suggestion_can_be_built(sampler):
    config = config_of(sampler, WIDE)
    asked = suggestions(config, seen(config, 12))
    found = [config.space.candidate(params, suite()) for _, params in zip(range(61), asked, strict=False)]
    assert sum(candidate is not None for candidate in found) >= 58


@pytest.mark.parametrize("sampler", MODELS)
def test_a_proposal_takes_a_question_or_two(sampler, monkeypatch):
    asked = []
    ask = optuna.Study.ask
    monkeypatch.setattr(optuna.Study, "ask", lambda self, *a: asked.append(1) or ask(self, *a))
    ours = proposer(sampler, limits={"flops_per_token": 6e5})  # rules half of the space out
    _, view = grow(proposer("stratified", limits={"flops_per_token": 6e5}), 12)
    replayed = 12 if sampler == "nsga2" else 0
    found = ours.propose(view)
    assert found.origin == sampler
    assert len(asked) - replayed <= 2


@pytest.mark.parametrize("seed", [4295, LARGEST_SEED])
@pytest.mark.parametrize("sampler", MODELS)
def test_every_seed_of_a_study_file_seeds_every_sampler(sampler, seed):
    config = config_of(sampler, {"depth": {"low": 1, "high": 8}, "mixture": {"fixed": True}}, seed)
    assert next(suggestions(config, seen(config, 12)))["depth"] in range(1, 9)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_draw_where_the_model_suggests_nothing_new_says_so(sampler):
    rates = [1e-3 + 1e-6 * n for n in range(500)]
    fixed = {"depth": 1, "width": 48, "experts": 1, "top_k": 1, "expert_ratio": 1, "mixture": {"fixed": True}}
    config = config_of(sampler, {**fixed, "learning_rate": {"choices": rates}})
    view = seen(config, 499, lambda n: {"learning_rate": rates[n]})
    found = proposer(sampler, space=config.space.model_dump(), limits={}).propose(view)
    assert found.params["learning_rate"] == rates[499]
    rule, reason = provenance(found.origin)
    assert rule == f"{sampler} fallback" == sampler + FALLBACK
    assert re.fullmatch(r"no suggestion of [\d,]+ was new and within the limits", reason)
    assert len(found.origin) <= tables.candidates.c.origin.type.length


@pytest.mark.parametrize("sampler", MODELS)
def test_what_chance_has_drawn_for_want_of_scores_is_no_suggestion_of_the_model(sampler):
    ours = proposer(sampler)
    _, view = grow(ours, 12, ended=False)
    assert ours.sampler.suggest(view) is None
    assert (
        ours.propose(view).origin == f"stratified; {sampler} waits for results: 0 of {NEEDED[sampler]} scores"
    )


@pytest.mark.parametrize("sampler", MODELS)
def test_a_model_says_how_many_candidates_it_waits_for(sampler):
    _, view = grow(proposer("stratified"), 4)
    found = proposer(sampler).propose(view)
    assert found.origin == f"stratified; {sampler} waits for results: 4 of 10 candidates"


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("sampler", MODELS)
def test_whole_ratios_of_an_old_study_are_understood(sampler, stored):
    space = SearchSpace.model_validate(
        {"expert_ratio": {"low": 1, "high": 4}}, context=STORED if stored else None
    )
    config = config_of(sampler, {}).model_copy(update={"space": space})
    rng = np.random.default_rng(0)
    view = seen(config, 12, lambda n: {**space.sample(suite(), rng), "expert_ratio": 1 + n % 4, "experts": 8})
    ratios = {params["expert_ratio"] for _, params in zip(range(30), suggestions(config, view), strict=False)}
    assert all(type(ratio) is (int if stored else float) for ratio in ratios)
    assert all(1 <= ratio <= 4 for ratio in ratios)


@pytest.mark.slow
def test_an_old_study_with_whole_ratios_goes_on_with_them(launch, url, rows):
    space = {"expert_ratio": {"low": 1, "high": 4}, "mixture": {"fixed": True}}
    new = toy_config(space=space, stop={"candidates": 3})
    assert not new.space.expert_ratio.whole
    launch(study="other")  # makes the folder ready
    old = StudyConfig.model_validate(
        {**new.model_dump(mode="json"), "space": {**new.space.model_dump(mode="json"), **space}},
        context=STORED,
    )
    create_or_resume(url, old)
    run_worker(url, "toy", "artifacts")
    more = new.model_copy(update={"stop": new.stop.model_copy(update={"candidates": 8})})
    create_or_resume(url, more)
    run_worker(url, "toy", "artifacts")
    found = [row for row in rows(tables.candidates) if row["study"] == "toy"]
    assert len(found) == 8
    assert all(type(row["params"]["expert_ratio"]) is int for row in found)
    kinds = {json.loads(row["distributions"]["expert_ratio"])["name"] for row in found}
    assert kinds == {"IntDistribution"}


def test_a_new_study_draws_real_ratios_to_its_end(launch, url, rows):
    launch(space={"expert_ratio": {"low": 1, "high": 4}, "mixture": {"fixed": True}}, stop={"candidates": 6})
    run_worker(url, "toy", "artifacts")
    found = rows(tables.candidates)
    assert any(row["params"]["expert_ratio"] % 1 for row in found)
    assert {json.loads(row["distributions"]["expert_ratio"])["name"] for row in found} == {
        "FloatDistribution"
    }


def test_a_network_that_is_known_under_an_older_id_is_not_proposed_again():
    space = {**dict.fromkeys(("depth", "expert_ratio", "dense_layers"), 1), "width": 48, "top_k": 2}
    space |= {"experts": {"choices": [4, 8]}, "learning_rate": {"choices": [1e-3, 2e-3]}}
    space |= {"mixture": {"fixed": True}}
    ours = proposer(space=space)
    old = Candidate("0123456789ab", 0, {"experts": 4, "learning_rate": 1e-3}, 1e5, False)
    view = Snapshot((old,), (), 0.0)
    found = ours.propose(view)
    assert found.candidate.learning_rate == 2e-3
    known = Candidate(found.candidate.id, 1, found.params, 1e5, False)
    assert ours.propose(Snapshot((old, known), (), 0.0)) is None


@pytest.mark.parametrize("sampler", MODELS)
@pytest.mark.slow
def test_a_model_suggests_something_else_where_scores_are_reversed(sampler):
    config = config_of(sampler, {"depth": {"low": 1, "high": 64}, "mixture": {"fixed": True}})
    view = seen(config, 24)
    best = max(trial.score for trial in view.trials)
    turned = tuple(replace(trial, score=best - trial.score) for trial in view.trials)
    asked = [list(islice(suggestions(config, v), 1)) for v in (view, replace(view, trials=turned))]
    assert asked[0] != asked[1]
