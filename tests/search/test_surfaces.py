"""Simulated surfaces of the benchmark of samplers: repeatable, with the noise of real studies."""

import numpy as np
import pytest
from benchmarks.surfaces.families import FAMILIES
from benchmarks.surfaces.settings import SETTINGS, study
from scipy.stats import spearmanr

from search.choose.sampler import Problem
from space.study import read_study

COUNT = 80


def drawn(config, count=COUNT):
    problem = Problem(config.space, config.suite_record(), config.limits, 0, config.rungs)
    rng, found = np.random.default_rng(3), {}
    while len(found) < count:
        feasible = problem.feasible(config.space.sample(problem.suite, rng))
        if feasible is not None:
            found[feasible.candidate.id] = feasible
    return list(found.values())


@pytest.fixture(scope="module")
def candidates():
    return drawn(study())


def scores(surface, candidates, rung, seed=0):
    results = [surface.trial(found.candidate, found.cost, rung, seed) for found in candidates]
    return np.array([np.nan if result.score is None else result.score for result in results])


@pytest.mark.parametrize("family", FAMILIES)
def test_surfaces_are_repeatable_and_differ_by_number(family, candidates):
    first, again, other = (FAMILIES[family](study(), number) for number in (100, 100, 101))
    some = candidates[:5]
    assert [first.trial(f.candidate, f.cost, 1, 0) for f in some] == [
        again.trial(f.candidate, f.cost, 1, 0) for f in reversed(some)
    ][::-1]
    assert all(first.truth(f.candidate, f.cost) != other.truth(f.candidate, f.cost) for f in some)


@pytest.mark.parametrize("family", FAMILIES)
def test_errors_have_the_size_that_is_reported_and_are_shared_between_rungs(family, candidates):
    surface = FAMILIES[family](study(), 0)
    truths = np.array([surface.truth(f.candidate, f.cost) or np.nan for f in candidates])
    top = scores(surface, candidates, 2)
    stderr = np.nanmean([surface.trial(f.candidate, f.cost, 2, 0).stderr or np.nan for f in candidates])
    assert 0.01 < stderr < 0.02
    assert 0.3 * stderr < np.nanstd(top - truths) < 3 * stderr
    changes = [
        scores(surface, candidates, rung, seed=1) - scores(surface, candidates, rung) for rung in (1, 2)
    ]
    assert np.nanstd(changes[0]) > np.nanstd(changes[1]) > 0
    known = ~np.isnan(changes[0] + changes[1])
    assert np.corrcoef(changes[0][known], changes[1][known])[0, 1] > 0.15


def test_families_are_what_they_claim(candidates):
    surfaces = {name: kind(study(), 0) for name, kind in FAMILIES.items()}
    agreement = {}
    for name, surface in surfaces.items():
        low, top = scores(surface, candidates, 0), scores(surface, candidates, 2)
        agreement[name] = spearmanr(low, top, nan_policy="omit").statistic
    assert agreement["crossing"] < 0.4 < min(agreement["law"], agreement["smooth"], agreement["quick"])
    lost = [f for f in candidates if surfaces["foreign"].truth(f.candidate, f.cost) is None]
    assert 0.03 < len(lost) / COUNT < 0.4
    rates = [f.candidate.learning_rate for f in candidates]
    assert np.mean([f.candidate.learning_rate for f in lost]) > np.mean(rates)
    levels = [scores(surfaces["quick"], candidates, rung).mean() for rung in range(3)]
    assert levels == pytest.approx([0.556, 0.701, 0.785], abs=0.08)  # of the real study's first candidates


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_family_can_be_played_in_every_setting(setting):
    config = study(setting)
    found = drawn(config, 3)
    for kind in FAMILIES.values():
        surface = kind(config, 0)
        for rung in range(len(config.rungs.tokens)):
            for of in found:
                result = surface.trial(of.candidate, of.cost, rung, 0)
                assert result.diverged or set(result.tasks) == set(config.suite_record().tasks)


def test_studies_of_benchmarks_are_searched_as_those_of_the_users_are():
    assert study().search == read_study("quick").search
