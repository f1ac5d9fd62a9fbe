"""The ensemble of a table whose rule is known: what it predicts, its noise, and the ends of its range."""

from dataclasses import replace

import numpy as np
import pytest
from factories import suite
from made_tables import STDERR, TOKENS, drawn, made_table, rule, table_config

from search.choose.sampler import Problem
from search.planning.clock import Result
from search.table.ensemble import Ensemble
from search.table.facts import rank_correlation
from search.table.features import Features
from search.table.files import read_table
from search.table.noise import Episodes, seed_noise
from search.table.regression import Scale, families, folds_of, held_out
from search.table.surfaces import Divergence, RandomField, RowsSurface
from space.cost import price
from space.errors import StudyFileError

SD = 0.03


@pytest.fixture(scope="module")
def table():
    return made_table(count=60, sd=SD, repeats=20)


@pytest.fixture(scope="module")
def ensemble(table):
    return Ensemble(table)


@pytest.fixture(scope="module")
def others():
    """Candidates of the space that the table does not hold."""
    config, rng = table_config(), np.random.default_rng(9)
    problem = Problem(config.space, suite(), config.limits, 0, config.rungs)
    found = (problem.feasible(config.space.sample(suite(), rng)) for _ in range(80))
    return [f for f in found if f is not None]


@pytest.mark.slow
def test_it_predicts_candidates_that_it_has_not_seen(ensemble, others):
    facts = ensemble.facts()
    assert all(rho > 0.85 for rho in facts.rank_correlation)
    assert all(rmse < 0.6 * spread for rmse, spread in zip(facts.rmse, facts.spread, strict=True))
    for of in facts.tasks:
        assert of.errors[of.family] == min(of.errors.values())
    surface = ensemble.surface("development", 0)
    truths = np.array([surface.truth(f.candidate, f.cost) for f in others])
    clean = np.array([np.mean(list(rule(f.candidate, f.cost, 2).values())) for f in others])
    assert rank_correlation(truths, clean) > 0.85


def test_its_noise_is_that_of_the_table(table, ensemble, others):
    """Seeds differ as much as in the table, and alike at all rungs of a candidate."""
    assert (ensemble.noise.source, ensemble.noise.repeats) == ("repeats", 20)
    surface = ensemble.surface("report", 1)
    moved = []
    for f in others[:40]:
        logits = surface.logits(f.candidate, f.cost)
        clean = [surface._scales[0].fraction(logits[0, rung]) for rung in range(3)]
        for seed in range(6):
            results = [surface.trial(f.candidate, f.cost, rung, seed) for rung in range(3)]
            moved.append([r.tasks["cartpole"].value - c for r, c in zip(results, clean, strict=True)])
    noise = np.array(moved)
    expected = np.hypot(SD, STDERR)
    assert np.all((noise.std(axis=0) > 0.5 * expected) & (noise.std(axis=0) < 1.7 * expected))
    assert np.corrcoef(noise[:, 0], noise[:, 2])[0, 1] > 0.4


@pytest.mark.slow
def test_a_surface_is_deterministic_and_members_differ(table, ensemble, others):
    one, again = ensemble.surface("report", 3), Ensemble(table).surface("report", 3)
    found = others[0]
    for rung in range(3):
        assert one.trial(found.candidate, found.cost, rung, 7) == again.trial(
            found.candidate, found.cost, rung, 7
        )
    members = [ensemble.surface("report", n) for n in (0, 1)] + [ensemble.surface("development", 0)]
    assert len({surface.truth(found.candidate, found.cost) for surface in (one, *members)}) == 4
    scores = {one.trial(found.candidate, found.cost, 2, seed).score for seed in range(4)}
    assert len(scores) == 4


def test_many_candidates_at_once_score_as_one_by_one(ensemble, others):
    once, single = ensemble.surface("report", 2), ensemble.surface("report", 2)
    once.prepare([(found.candidate, found.cost) for found in others[:30]])
    for found in others[:30]:
        together, alone = (surface.logits(found.candidate, found.cost) for surface in (once, single))
        np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-9)


def test_scores_without_noise_never_fall_from_rung_to_rung(ensemble, others):
    for number in range(3):
        surface = ensemble.surface("development", number)
        for found in others[:20]:
            assert (np.diff(surface.logits(found.candidate, found.cost), axis=1) >= 0).all()


def test_costs_beyond_the_table_are_clamped_or_refused(table, ensemble):
    suite_of, row = table.header.suite, table.rows[5]
    huge = row.config.model_copy(
        update={"architecture": row.config.architecture.model_copy(update={"depth": 12, "width": 512})}
    )
    cost = price(huge.architecture, suite_of)
    features = Features(table)
    inside = features.of(row.config, row.costs)
    assert not features.clamped
    outside = features.of(huge, cost)
    assert features.clamped == {huge.id}
    assert outside[0] == pytest.approx(np.log(table.flops_per_token.max()))
    assert inside[0] == pytest.approx(np.log(row.costs.flops_per_token))
    surface = ensemble.surface("development", 0, refuse=True)
    with pytest.raises(StudyFileError, match=r"an ensemble knows candidates of .* flops_per_token, got"):
        surface.trial(huge, cost, 0, 0)
    known = surface.trial(row.config, price(row.config.architecture, suite_of), 0, 0)
    assert known.score is not None


@pytest.mark.slow
def test_divergence_follows_the_table(others):
    rates = [p.candidate.learning_rate for p in drawn(table_config(), 60)]
    high = tuple(np.flatnonzero(np.array(rates) > 5.5e-3))
    ensemble = Ensemble(made_table(count=60, diverged=high))
    surface = ensemble.surface("development", 0)
    hot = [surface.truth(f.candidate, f.cost) is None for f in others if f.candidate.learning_rate > 7e-3]
    cool = [surface.truth(f.candidate, f.cost) is None for f in others if f.candidate.learning_rate < 3e-3]
    assert np.mean(hot) > 0.5 > 0.1 > np.mean(cool)
    diverges = next(f for f in others if surface.truth(f.candidate, f.cost) is None)
    assert surface.trial(diverges.candidate, diverges.cost, 0, 0) == Result()
    never = Divergence(np.zeros((3, 2)), np.zeros(3, dtype=bool))
    assert never.probability(np.ones(2)) == 0


def test_noise_between_seeds_of_a_table_without_repeats_is_half_of_what_is_left():
    table = made_table(count=12, repeats=0)
    scales = [Scale.of(np.array([0.0, 1.0]))] * len(table.tasks)
    left = np.stack([np.eye(3) * n for n in range(1, 9)])
    noise = seed_noise(table, scales, left)
    assert (noise.source, noise.repeats) == ("residuals", 0)
    assert np.allclose(noise.covariances, left / 2)


def test_shares_of_successes_have_binomial_noise():
    table = read_table("quick")
    trials = [trial for row in table.rows for trial in row.rungs]
    records, rng = table.header.suite.records, np.random.default_rng(0)
    kinds = {task: Episodes(task, records[task], trials).binomial for task in table.tasks}
    shares = {task for task, binomial in kinds.items() if binomial}
    assert shares == {"digits", "taxi", "metaworld-reach", "dialled-digits", "babyai-goto-redball-grey"}
    digits = Episodes("digits", records["digits"], trials)
    found = np.array([digits.measured(0.5, rng) for _ in range(3000)])
    floor, expert = records["digits"].checked("select")
    gain, chance = expert.mean - floor.mean, (floor.mean + expert.mean) / 2
    sd = (chance * (1 - chance) / digits.n) ** 0.5 / gain
    assert found[:, 0].mean() == pytest.approx(0.5, abs=3 * sd / 3000**0.5 + 1e-9)
    assert found[:, 0].std() == pytest.approx(sd, rel=0.06)
    assert found[:, 1].mean() == pytest.approx(sd, rel=0.03)


def test_a_random_field_has_the_covariance_that_is_asked_for():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((50, 6))
    wanted = np.array([[1.0, 0.8], [0.8, 1.0]])
    values = []
    for number in range(400):
        field = RandomField(features, np.stack([wanted, 0 * wanted]), np.random.default_rng(number))
        values.append(field.at(features[0]))
        near = field.at(features[0] + 1e-3)
        assert np.abs(near - values[-1]).max() < 0.05  # smooth
    at = np.array(values)
    assert np.allclose(np.cov(at[:, 0].T), wanted, atol=0.25)
    assert np.allclose(at[:, 1], 0)


def test_a_scale_is_undone():
    scale = Scale.of(np.array([-0.1, np.nan, 1.02]))
    assert (scale.low, scale.high) == (pytest.approx(-0.2), pytest.approx(1.05))
    fractions = np.linspace(-0.1, 1.02, 7)
    assert np.allclose(scale.fraction(scale.logit(fractions)), fractions)
    step = 1e-6
    slope = (scale.fraction(scale.logit(fractions) + step) - fractions) / step
    assert np.allclose(slope, scale.slope(fractions), rtol=1e-3)


def test_a_candidate_is_held_out_at_all_of_its_rungs():
    """Rows of one candidate are never split: a regression that remembers them would look perfect."""
    groups = np.repeat(np.arange(20), 3)
    x = np.repeat(np.random.default_rng(0).standard_normal((20, 2)), 3, axis=0)
    y = np.repeat(np.random.default_rng(1).standard_normal(20), 3)
    trees = families(x, y, 0)["extra trees"]
    predicted = held_out(trees, x, y, groups, folds_of(20, 0), 0)
    assert rank_correlation(predicted, y) < 0.6
    assert rank_correlation(trees(x, y, 0).predict(x), y) > 0.8


def test_the_rows_of_a_table_score_what_they_scored(table):
    surface, row = RowsSurface(table), table.rows[3]
    cost = price(row.config.architecture, table.header.suite)
    for rung in range(3):
        result = surface.trial(row.config, cost, rung, 5)
        assert result.score == pytest.approx(row.rungs[rung].score)
        assert result.tasks["taxi"].value == row.rungs[rung].tasks["taxi"].fraction
    both = np.mean([row.rungs[2].score, row.repeats[2].score])
    assert surface.truth(row.config, cost) == pytest.approx(both)
    ended = RowsSurface(made_table(count=12, repeats=0, diverged=(4,)))
    diverged = made_table(count=12, repeats=0, diverged=(4,)).rows[4].config
    assert ended.trial(diverged, cost, 1, 0) == ended.trial(diverged, cost, 2, 0) == Result()
    assert ended.truth(diverged, cost) is None
    with pytest.raises(StudyFileError, match="is not among them"):
        surface.trial(row.config.model_copy(update={"learning_rate": 1.0}), cost, 0, 0)


def test_an_ensemble_needs_ten_candidates(table):
    with pytest.raises(StudyFileError, match="at least 10 candidates, got 9"):
        Ensemble(replace(table, rows=table.rows[:9]))
    assert len(TOKENS) == table.num_rungs
