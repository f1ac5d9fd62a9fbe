"""Forecast what a study costs before it runs: trials, tokens, FLOPs, time and disk.

Nothing here reads a database or trains. The time that a trial takes is measured elsewhere and passed in as a
`Speed`. Expected values come from simulated runs of the study (`search.planning.simulate`), upper bounds from
its rules alone (`search.planning.bounds`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import mul

import numpy as np

from search.choose.promote import goes_ahead, most_believed
from search.pareto import pareto
from search.planning.bounds import (
    all_priced,
    expected_trials,
    most_candidates,
    most_expensive,
    most_flops,
    most_flops_per_token,
    most_tokens,
    most_trials,
    possible_candidates,
)
from search.planning.simulate import Course, Trial, courses
from search.store.checkpoints import SPARE_TRUNKS
from space.candidate import Architecture
from space.cost import FLOAT_BYTES, TRAINING_FACTOR, Cost, checkpoint_bytes
from space.ranges import MOST_ARCHITECTURES
from space.records import SuiteRecord
from space.study import Rungs, StudyConfig

FLOPS = ("training_flops", "planned_flops")


@dataclass(frozen=True, slots=True)
class Speed:
    """What one worker sustains.

    Attributes:
        flops_per_second: planned training FLOPs (the head at every position) over the seconds of training.
        evaluation_seconds: scoring one trial.
        trials: finished trials that it was measured on; 0 for a default.
    """

    flops_per_second: float
    evaluation_seconds: float
    trials: int = 0


DEFAULT_SPEED = {"cpu": Speed(1.5e10, 6.0), "cuda": Speed(3e13, 60.0)}


@dataclass(frozen=True, slots=True)
class RungForecast:
    """Trials that end at a rung, and the tokens that each of them trains on (the decay branch included)."""

    rung: int
    tokens: int
    trials: int
    tokens_per_trial: int


@dataclass(frozen=True, slots=True)
class DiskForecast:
    """Bytes of checkpoints.

    Attributes:
        trunk: of one to train on from, the optimizer's state included: (least, most) over the candidates.
        weights: of a trial's decayed weights, likewise.
        final: expected at the end.
        peak: expected at most while it runs.
        most: what cannot be exceeded; None where only time ends the study.
    """

    trunk: tuple[int, int]
    weights: tuple[int, int]
    final: int
    peak: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The price of a study.

    Ranges are (least, most) over the architectures within the limits. Trials, tokens, FLOPs and seconds are
    expectations; `training_flops_most` and `training_tokens_most` cannot be exceeded, whatever the scores,
    unless attempts crash (None where only time ends the study). Of a space with very many combinations of
    knobs a sample was priced, `drawn_from` all of them. `training_bytes` is the memory of each of the
    `devices` of a trial.
    """

    study: str
    suite: str
    tasks: int
    architectures: int
    drawn_from: int | None
    within_limits: int
    flops_per_token: tuple[float, float]
    active_params: tuple[int, int]
    total_params: tuple[int, int]
    training_bytes: tuple[int, int]
    devices: int
    parameters: tuple[str, ...]
    rungs: tuple[RungForecast, ...]
    candidates: int
    trials: int
    training_tokens: int
    training_tokens_most: int | None
    training_flops: float
    training_flops_most: float | None
    workers: int
    device: str
    speed: Speed
    wall_seconds: float
    disk_bytes: DiskForecast


def forecast(config: StudyConfig, workers: int, device: str, speed: Speed) -> Forecast:
    """Price a study.

    Args:
        config: the study.
        workers: trials side by side.
        device: "cpu" or "cuda".
        speed: what one worker sustains.

    Raises:
        StudyFileError: the study breaks a rule, such as limits that admit no architecture.
    """
    suite = config.check()
    priced = config.space.feasible(suite, config.limits)
    costs = [cost for _, cost in priced]
    flops = [cost.flops_per_token for cost in costs]
    possible = possible_candidates(config, suite, len(priced))
    known = [number for number in (possible, config.stop.candidates) if number is not None]
    limit = min(known, default=None)
    flops_most = most_flops(config, suite, most_flops_per_token(config, suite, priced), limit, workers)
    most = limit  # candidates
    if most is None and flops_most is not None:
        most = most_candidates(flops_most, config.rungs, costs)
    expected = _expected(config, suite, limit, workers, speed)
    tokens = [config.rungs.trial_tokens(rung) for rung in range(len(expected.trials))]
    trials = sum(expected.trials)
    return Forecast(
        study=config.study,
        suite=suite.name,
        tasks=len(suite.tasks),
        architectures=sum(1 for _ in config.space.architectures(suite.context)),
        drawn_from=config.space.points if config.space.points > MOST_ARCHITECTURES else None,
        within_limits=len(priced),
        flops_per_token=(min(flops), max(flops)),
        active_params=_span([cost.active_params for cost in costs]),
        total_params=_span([cost.total_params for cost in costs]),
        training_bytes=_span([cost.training_bytes for cost in costs]),
        devices=suite.devices,
        parameters=tuple(config.space.parameters(suite)),
        rungs=tuple(
            RungForecast(rung, config.rungs.tokens[rung], count, tokens[rung])
            for rung, count in enumerate(expected.trials)
        ),
        candidates=expected.candidates,
        trials=trials,
        training_tokens=sum(n * each for n, each in zip(expected.trials, tokens, strict=True)),
        training_tokens_most=None
        if flops_most is None
        else _most_tokens(config, suite, limit, flops_most, costs),
        training_flops=expected.training_flops,
        training_flops_most=flops_most,
        workers=workers,
        device=device,
        speed=speed,
        wall_seconds=_seconds(expected.planned_flops, trials, workers, speed),
        disk_bytes=_disk(config, suite, [arch for arch, _ in priced], expected, most, workers),
    )


def _most_tokens(
    config: StudyConfig, suite: SuiteRecord, limit: int | None, flops: float, costs: Sequence[Cost]
) -> int:
    """An upper bound of the tokens: from the number of candidates, or from the cost of the cheapest token."""
    cheapest = TRAINING_FACTOR * min(cost.body_flops_per_token for cost in costs)
    bounds = [math.ceil(flops / cheapest)]
    if limit is not None:
        trials = enumerate(most_trials(config, limit))
        bounds.append(sum(count * most_tokens(config.rungs, rung, suite) for rung, count in trials))
    return min(bounds)


@dataclass(frozen=True, slots=True)
class _Expected:
    """Expected candidates, trials by rung and FLOPs, and the simulated courses they are computed from."""

    candidates: int
    trials: list[int]
    training_flops: float
    planned_flops: float
    courses: list[Course]


def _expected(
    config: StudyConfig, suite: SuiteRecord, limit: int | None, workers: int, speed: Speed
) -> _Expected:
    """Simulate the study; of a long one only the beginning, from which the rest is extrapolated."""

    def seconds(planned: float) -> float:
        return planned / speed.flops_per_second + speed.evaluation_seconds

    stop = config.stop
    played = courses(config, suite, workers, seconds, limit)
    rungs = range(len(config.rungs.tokens))
    if all(course.ended for course in played):
        counts = [[sum(t.rung == rung for t in course.trials) for course in played] for rung in rungs]
        return _Expected(
            candidates=round(float(np.mean([course.candidates for course in played]))),
            trials=[round(float(np.mean(of))) for of in counts],
            training_flops=float(np.mean([sum(t.training_flops for t in c.trials) for c in played])),
            planned_flops=float(np.mean([sum(t.planned_flops for t in c.trials) for c in played])),
            courses=played,
        )
    flops, planned = (
        _by_rung(played, config.rungs, lambda t, of=of: getattr(t, of) / t.tokens) for of in FLOPS
    )
    tokens = [config.rungs.trial_tokens(rung) for rung in rungs]
    shares, believed = _shares(config, played), most_believed(config)
    each = sum(s * f * n for s, f, n in zip(shares, flops, tokens, strict=True))
    beyond = believed * sum(max(0.0, 1 - s) * f * n for s, f, n in zip(shares, flops, tokens, strict=True))
    busy = sum(s * seconds(p * n) for s, p, n in zip(shares, planned, tokens, strict=True))
    ends = [limit] if limit is not None else []
    if stop.training_flops is not None:
        ends.append(math.ceil(max(0.0, stop.training_flops - beyond) / each))
    if stop.wall_minutes is not None:
        ends.append(math.ceil(60 * stop.wall_minutes * workers / busy))
    trials = [round(min(ends) * share + believed * max(0.0, 1 - share)) for share in shares]
    if not goes_ahead(config):
        trials = expected_trials(config.rungs, min(ends), config.search, believed)
    return _Expected(
        candidates=min(ends),
        trials=trials,
        training_flops=sum(c * f * n for c, f, n in zip(trials, flops, tokens, strict=True)),
        planned_flops=sum(c * p * n for c, p, n in zip(trials, planned, tokens, strict=True)),
        courses=played,
    )


def _shares(config: StudyConfig, played: Sequence[Course]) -> list[float]:
    """Trials at each rung for one candidate that no belief chose, in a study of many.

    They follow from the quotas; with promotion ahead of these, from what was simulated.
    """
    search, rungs = config.search, range(len(config.rungs.tokens))
    climb = [1.0 if search.promotion == "all" else config.rungs.eta**-rung for rung in rungs]
    if goes_ahead(config):
        climbed = [t.rung for course in played for t in course.trials if not (t.repeats or t.believed)]
        climb = [climbed.count(rung) / max(1, climbed.count(0)) for rung in rungs]
    return [share * (1 + search.repeats) for share in climb]


def _by_rung(played: Sequence[Course], rungs: Rungs, value: Callable[[Trial], float]) -> list[float]:
    """Mean of a value over the trials at each rung; without trials, that of the rung below."""
    means: list[float] = []
    for rung in range(len(rungs.tokens)):
        found = [value(trial) for course in played for trial in course.trials if trial.rung == rung]
        means.append(float(np.mean(found)) if found else means[-1])
    return means


def _disk(
    config: StudyConfig,
    suite: SuiteRecord,
    archs: Sequence[Architecture],
    expected: _Expected,
    most: int | None,
    workers: int,
) -> DiskForecast:
    """Bytes of checkpoints: weights of every scored trial, and a trunk of each that may still be promoted."""
    number = 2 if config.precision == "bf16-true" else FLOAT_BYTES

    def files(arch: Architecture, optimizer: str) -> tuple[int, int]:
        return checkpoint_bytes(arch, suite, optimizer, number)

    def of_trial(trial: Trial) -> tuple[int, int]:
        candidate = trial.proposal.candidate
        return files(candidate.architecture, candidate.optimizer)

    optimizers = [str(word) for word in config.space.optimizer.values() or ()]
    sizes = [files(arch, word) for arch in archs for word in optimizers]
    trunks = _by_rung(expected.courses, config.rungs, lambda trial: of_trial(trial)[0])
    weights = _by_rung(expected.courses, config.rungs, lambda trial: of_trial(trial)[1])
    left = [count - after for count, after in pairwise(expected.trials)]  # none of the last rung is promoted
    kept = sum(count * each for count, each in zip(expected.trials, weights, strict=True))
    if config.keep == "front":
        kept = min(kept, float(np.mean([_front_bytes(course, of_trial) for course in expected.courses])))
    final = kept + sum(count * each for count, each in zip(left, trunks, strict=False))
    writing = (SPARE_TRUNKS + 1, 1)  # times the bytes of trunk and weights; another trunk is being written
    dearest_of = (max(sum(map(mul, of_trial(t), writing)) for t in c.trials) for c in expected.courses)
    running = float(np.mean(list(dearest_of)))
    least, largest = (tuple(map(end, zip(*sizes, strict=True))) for end in (min, max))
    bound = None
    if most is not None:
        corner = largest if all_priced(config) else files(most_expensive(config), "adamw")
        trials = sum(most_trials(config, most))
        bound = trials * corner[1] + most * corner[0] + workers * ((SPARE_TRUNKS + 1) * corner[0] + corner[1])
    return DiskForecast(
        trunk=(least[0], largest[0]),
        weights=(least[1], largest[1]),
        final=round(final),
        peak=round(final + workers * running),
        most=bound,
    )


def _front_bytes(course: Course, files: Callable[[Trial], tuple[int, int]]) -> int:
    """Bytes of the weights of a course's front, taken over each candidate's highest rung."""
    highest = {trial.candidate: trial for trial in course.trials}
    last = list(highest.values())
    front = pareto([(trial.score, *trial.costs) for trial in last])
    return sum(files(last[i])[1] for i in front)


def _seconds(flops: float, trials: int, workers: int, speed: Speed) -> float:
    busy = flops / speed.flops_per_second + trials * speed.evaluation_seconds
    return busy / min(workers, max(trials, 1))


def _span(values: list[int]) -> tuple[int, int]:
    return min(values), max(values)
