"""Predictions of larger models: drawn from a known law, their intervals hold what comes of it."""

from dataclasses import replace

import numpy as np
import pytest

from search.export.extrapolate import Curves, Observation, observations, predicted_scores, reach, too_small
from search.read.rows import TrialRow
from space.candidate import Architecture, CandidateConfig
from space.description import describe
from space.mixture import TaskMixture
from space.study import Rungs

RUNGS = (270_000, 540_000, 1_080_000)
STDERR = 0.013


class Law:
    """A study's truth: 1 - score = floor + effect * size^-a * tokens^-b, and noisy scores of it."""

    def __init__(self, rng, floor=0.03, size=0.15, data=0.5, spread=0.2, own=0.0, luck=0.05, candidates=16):
        self.rng, self.floor, self.size, self.luck = rng, floor, size, luck
        self.data = np.maximum(data + own * rng.standard_normal(candidates), 0.05)
        self.flops = np.exp(rng.uniform(np.log(1.4e5), np.log(1.4e6), candidates))
        self.effects = 0.42 * np.exp(spread * rng.standard_normal(candidates))

    def measure(self, index: int, flops: float, tokens: float) -> float:
        powers = (flops / 4e5) ** -self.size * (tokens / RUNGS[0]) ** -self.data[index]
        above = self.effects[index] * powers * np.exp(self.luck * self.rng.standard_normal())
        return min(1.0, 1 - self.floor - above + STDERR * self.rng.standard_normal())

    def study(self) -> tuple[list[Observation], int]:
        """Trials of candidates of which half climb at each rung, and the best of those at the top."""
        seen, alive, scores = [], list(range(len(self.flops))), {}
        for tokens in RUNGS:
            for index in alive:
                scores[index] = self.measure(index, self.flops[index], tokens)
                seen.append(Observation(str(index), self.flops[index], tokens, scores[index], STDERR))
            alive = sorted(alive, key=lambda index: -scores[index])[: len(alive) // 2]
        return seen, max(alive, key=lambda index: scores[index])


@pytest.mark.slow
@pytest.mark.parametrize(
    "law", [{}, {"size": 0.0}, {"floor": 0.08}, {"own": 0.15}, {"candidates": 8}], ids=str
)
def test_nine_of_ten_tenfold_models_end_within_their_interval(law):
    rng = np.random.default_rng(0)
    within = {1: 0, 4: 0}
    for _ in range(100):
        truth = Law(rng, **law)
        seen, best = truth.study()
        curves = Curves(seen)
        for times in within:
            flops, tokens = 10 * truth.flops[best], times * RUNGS[-1]
            point = curves.predict(str(best), flops, tokens)
            within[times] += point.low <= truth.measure(best, flops, tokens) <= point.high
    assert 80 <= within[1] <= 98, within
    assert within[4] >= 80, within  # real curves bend beyond the highest rung, which this law does not


@pytest.mark.slow
def test_exponents_are_found_and_intervals_shrink_with_what_is_known():
    exponents, widths = {}, {}
    for candidates in (8, 64):
        truths = [Law(np.random.default_rng(seed), candidates=candidates, floor=0.0) for seed in range(10)]
        curves = [Curves(truth.study()[0]) for truth in truths]
        points = [curve.predict("0", 1e7, RUNGS[-1]) for curve in curves]
        exponents[candidates] = np.mean([curve.exponents for curve in curves], axis=0)
        widths[candidates] = np.mean([point.high - point.low for point in points])
    assert exponents[64] == pytest.approx([0.15, 0.5], abs=0.08)
    assert widths[64] < 0.9 * widths[8]


@pytest.mark.parametrize("seed", range(5))
def test_more_tokens_and_more_size_never_lower_a_prediction_and_none_is_above_1(seed):
    truth = Law(np.random.default_rng(seed), floor=0.0, data=0.9)
    seen, best = truth.study()
    curves = Curves(seen)
    places = [(10**size, 10**data) for size in range(5, 10) for data in range(5, 10)]
    points = {place: curves.predict(str(best), *place) for place in places}
    for (size, data), point in points.items():
        assert point.low <= point.score <= point.high <= 1
        for larger in ((10 * size, data), (size, 10 * data)):
            if larger in points:
                assert points[larger].score >= point.score
                assert points[larger].low >= point.low
                assert points[larger].high >= point.high


def test_what_a_candidate_has_shown_is_carried_along_but_not_whole():
    truth = Law(np.random.default_rng(1), spread=0.4)
    seen, best = truth.study()
    curves = Curves(seen)
    place = (truth.flops[best], RUNGS[0])
    own, other = curves.predict(str(best), *place), curves.predict(None, *place)
    assert own.score > other.score
    assert own.high - own.low < other.high - other.low


def test_a_study_that_is_too_small_predicts_nothing_and_says_why():
    seen, best = Law(np.random.default_rng(0)).study()
    few = [trial for trial in seen if int(trial.candidate) < 5]
    assert too_small(few) == "a prediction needs at least 6 candidates with scores, the study has 5"
    one_rung = [trial for trial in seen if trial.tokens == RUNGS[0]]
    assert too_small(one_rung) == "a prediction needs at least two rungs with scores, the study has 1"
    one_size = [Observation(t.candidate, 4e5, t.tokens, t.score, t.stderr) for t in seen]
    assert too_small(one_size) == "a prediction needs at least two sizes of candidates, the study has 1"
    assert predicted_scores(one_rung, str(best), 4e6, [RUNGS[0]], 12e6) == ((), too_small(one_rung))
    assert too_small(seen) is None


def test_perfect_scores_and_scores_below_the_floor_are_taken_as_they_are():
    seen, best = Law(np.random.default_rng(0)).study()
    seen[0] = Observation(seen[0].candidate, seen[0].flops_per_token, seen[0].tokens, -0.2, 0.0)
    seen[-1] = Observation(seen[-1].candidate, seen[-1].flops_per_token, seen[-1].tokens, 1.0, 0.0)
    point = Curves(seen).predict(str(best), 4e6, RUNGS[-1])
    assert point.low < point.score <= point.high <= 1


def test_only_done_trials_are_observed_and_the_decay_counts():
    architecture = Architecture(depth=1, width=16)
    mixture = TaskMixture(weights={"digits": 1.0})
    candidate = CandidateConfig(architecture=architecture, mixture=mixture, learning_rate=1e-3)
    row = TrialRow(
        number=0,
        candidate="a",
        rung=0,
        seed=0,
        attempt=1,
        state="done",
        score=0.5,
        stderr=None,
        flops_per_token=4e5,
        active_params=1,
        total_params=1,
        tokens=1000,
        progress_tokens=1000,
        training_flops=1.0,
        wall_seconds=1.0,
        description=describe(candidate),
        origin="x",
    )
    running = replace(row, number=1, candidate="b", state="running", score=None, progress_tokens=500)
    assert observations([row, running], Rungs(tokens=(1000,), decay=0.2)) == [
        Observation("a", 4e5, 1200, 0.5, 0.0)
    ]


def test_nothing_is_predicted_further_ahead_than_the_rungs_span():
    seen, best = Law(np.random.default_rng(0)).study()
    assert reach(seen) == 4 * RUNGS[-1]
    points, why = predicted_scores(seen, str(best), 4e6, [RUNGS[-1], 4 * RUNGS[-1], 10 * RUNGS[-1]], 12e6)
    assert ([point.tokens for point in points], why) == ([RUNGS[-1], 4 * RUNGS[-1]], None)
    points, why = predicted_scores(seen, str(best), 4e6, [5 * RUNGS[-1]], 12e6)
    assert points == ()
    assert "4 times from 270,000 to 1,080,000 tokens and so up to 4,320,000, got 5,400,000" in why


def test_two_short_rungs_do_not_tell_of_ten_times_as_many_tokens():
    rng = np.random.default_rng(0)
    seen = [
        Observation(str(n), 1e5 * (n + 1), tokens, 0.3 + 0.1 * rung + 0.02 * float(rng.random()), 0.01)
        for n in range(6)
        for rung, tokens in enumerate((24_000, 48_000))
    ]
    points, why = predicted_scores(seen, "0", 1e5, [480_000], 3e5)
    assert points == ()
    assert "2 times from 24,000 to 48,000 tokens and so up to 96,000, got 480,000" in why


def test_an_interval_widens_with_the_distance_to_the_highest_rung():
    seen, best = Law(np.random.default_rng(0), floor=0.0).study()
    curves = Curves(seen)
    points = [curves.predict(str(best), 4e6, times * RUNGS[-1]) for times in (1, 2, 4)]
    below = [(1 - point.low) / (1 - point.high) for point in points]  # of the regret
    assert below[0] < below[1] < below[2]
