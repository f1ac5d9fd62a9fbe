"""What a study will cost, before it runs: how many trials, tokens and FLOPs, and how long.

Only `space` is asked; nothing here reads a database or trains. What a trial really takes is measured
elsewhere and handed in as a `Speed`.
"""

import math
from dataclasses import dataclass

import numpy as np

from space.ranges import MOST_ARCHITECTURES
from space.study import Rungs, StudyConfig

COST_BINS = 8  # bins of log FLOPs per token over which proposals are spread


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
class Forecast:
    """The price of a study.

    Ranges are (least, most) over the architectures within the limits. `training_flops` counts the head at
    every position; training runs it where the loss looks only, so that less is spent. The optimizers of the
    space are taken to be drawn equally often. Of a space with very many combinations of knobs a sample was
    priced, `drawn_from` all of them.
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
    parameters: tuple[str, ...]
    rungs: tuple[RungForecast, ...]
    candidates: int
    trials: int
    training_tokens: int
    training_flops: float
    workers: int
    device: str
    speed: Speed
    wall_seconds: float


def expected_trials(rungs: Rungs, candidates: int) -> list[int]:
    """Trials at each rung when the study ends: one of `eta` candidates is promoted."""
    counts = [candidates]
    for _ in rungs.tokens[1:]:
        counts.append(math.floor(counts[-1] / rungs.eta))
    return counts


def trial_tokens(rungs: Rungs, rung: int) -> int:
    """Tokens that the trial which ends at a rung trains on: its part of the trunk, and the decay branch."""
    budget = rungs.budget(rung)
    return budget.tokens - budget.start_tokens + budget.decay_tokens


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
    flops = np.array([cost.flops_per_token for cost in costs])
    optimizers = [str(word) for word in config.space.optimizer.values() or ()]
    planned = np.array(
        [[cost.planned_flops_per_token(word, suite.batch_tokens) for word in optimizers] for cost in costs]
    )
    per_token = _mean_cost(flops, planned.mean(axis=1), stratified=config.search.sampler == "stratified")
    candidates = _candidates(config, per_token, workers, speed)
    counts = expected_trials(config.rungs, candidates)
    rungs = tuple(
        RungForecast(rung, config.rungs.tokens[rung], count, trial_tokens(config.rungs, rung))
        for rung, count in enumerate(counts)
    )
    tokens = sum(rung.trials * rung.tokens_per_trial for rung in rungs)
    trials = sum(counts)
    return Forecast(
        study=config.study,
        suite=suite.name,
        tasks=len(suite.tasks),
        architectures=sum(1 for _ in config.space.architectures()),
        drawn_from=config.space.points if config.space.points > MOST_ARCHITECTURES else None,
        within_limits=len(priced),
        flops_per_token=(float(flops.min()), float(flops.max())),
        active_params=_span([cost.active_params for cost in costs]),
        total_params=_span([cost.total_params for cost in costs]),
        training_bytes=_span([cost.training_bytes for cost in costs]),
        parameters=tuple(config.space.parameters(suite)),
        rungs=rungs,
        candidates=candidates,
        trials=trials,
        training_tokens=tokens,
        training_flops=tokens * per_token,
        workers=workers,
        device=device,
        speed=speed,
        wall_seconds=_seconds(tokens * per_token, trials, workers, speed),
    )


def _mean_cost(flops: np.ndarray, planned: np.ndarray, stratified: bool) -> float:
    """Training FLOPs per token of a mean candidate.

    Stratified proposals give each bin of log cost the same compute, so a cheap bin gets more candidates: the
    harmonic mean over the bins that hold an architecture.

    Args:
        flops: (architectures,) forward FLOPs per token, which the bins divide.
        planned: (architectures,) training FLOPs per token.
        stratified: whether proposals are.
    """
    if not stratified:
        return float(planned.mean())
    logs = np.log(flops)
    width = max(float(np.ptp(logs)), 1e-9)
    bins = np.minimum((logs - logs.min()) / width * COST_BINS, COST_BINS - 1).astype(int)
    centres = np.array([planned[bins == index].mean() for index in np.unique(bins)])
    return float(1 / np.mean(1 / centres))


def _candidates(config: StudyConfig, per_token: float, workers: int, speed: Speed) -> int:
    """Candidates until the first stop rule is reached."""
    shares = [trial_tokens(config.rungs, r) / config.rungs.eta**r for r in range(len(config.rungs.tokens))]
    tokens = sum(shares)
    trials = sum(config.rungs.eta**-r for r in range(len(shares)))
    stop, limits = config.stop, []
    if stop.candidates is not None:
        limits.append(stop.candidates)
    if stop.training_flops is not None:
        limits.append(math.ceil(stop.training_flops / (tokens * per_token)))
    if stop.wall_minutes is not None:
        seconds = tokens * per_token / speed.flops_per_second + trials * speed.evaluation_seconds
        limits.append(math.ceil(stop.wall_minutes * 60 * workers / seconds))
    return max(1, min(limits))


def _seconds(flops: float, trials: int, workers: int, speed: Speed) -> float:
    busy = flops / speed.flops_per_second + trials * speed.evaluation_seconds
    return busy / min(workers, max(trials, 1))


def _span(values: list[int]) -> tuple[int, int]:
    return min(values), max(values)
