"""Studies for tests of the surrogate and of the sampler that uses it: problems, points, laws, views."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from factories import suite
from factories import suite as suite_of_eight
from toy_trainers import toy_config

from search.choose.pool import PoolSpace
from search.choose.propose import Proposal, Proposer
from search.choose.sampler import Problem
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, TaskFraction
from search.surrogate.columns import Encoder, Points
from search.surrogate.law import fraction
from search.surrogate.surrogate import Observations
from space.catalog import load_catalog
from space.records import SuiteRecord

RUNGS = (225_000, 450_000, 900_000)
MORE_KNOBS: dict[str, Any] = {  # words, flags and numbers that may be 0
    "shared_experts": {"choices": [0, 1]},
    "dense_layers": {"low": 0, "high": 2},
    "router": {"choices": ["softmax", "sigmoid"]},
    "head_dim": {"choices": [8, 16, 32]},
    "kv_groups": {"choices": [1, 2]},
    "qk_norm": {"choices": [True, False]},
    "window": {"choices": [0, 32, 64]},
    "optimizer": {"choices": ["adamw", "muon"]},
}
ONE_ARCHITECTURE = {"depth": 2, "width": 48, "experts": 4, "top_k": 2, "expert_ratio": 1}
Score = Callable[[Proposal, int], tuple[float, Mapping[str, float]] | None]


DATA = (50_000, 100_000, 100_000, 80_000, 30_000, 60_000, 200_000, 900_000)  # tokens, of each of eight tasks


def counted_suite() -> SuiteRecord:
    """The suite of eight tasks, whose training data are counted."""
    eight = suite_of_eight()
    return eight.model_copy(update={"tokens": dict(zip(eight.tasks, DATA, strict=True))})


def tasks_of(count: int) -> SuiteRecord:
    """A suite of 1, 8 or 24 tasks."""
    if count == 8:
        return suite()
    return load_catalog().suite("generalist") if count == 24 else load_catalog().of_tasks(("taxi",), {})


def proposer_of(
    space: Mapping[str, Any] | None = None,
    tasks: int = 8,
    rungs: tuple[int, ...] = RUNGS,
    limits: Mapping[str, float] | None = None,
    seed: int = 0,
    **arguments: Any,
) -> Proposer:
    """A proposer of a study whose sampler is Pathfront's."""
    search = {"sampler": "pathfront", "sampler_args": arguments, "seed": seed}
    config = toy_config(space=space or {}, rungs={"tokens": list(rungs)}, limits=limits or {}, search=search)
    return Proposer(config, tasks_of(tasks))


def problem_of(*given: Any, **changes: Any) -> Problem:
    """The problem of such a study."""
    return proposer_of(*given, **changes).problem


def encoded(problem: Problem, per_task: bool = True) -> tuple[PoolSpace, Encoder]:
    """The space and the columns of a problem."""
    space = PoolSpace(problem)
    sample = space.points(space.random(np.random.default_rng(0), 400, 0.0))
    return space, Encoder(problem.space, problem.suite, problem.rungs, sample, per_task)


def true_law(encoder: Encoder, seed: int, size: float = 0.5) -> np.ndarray:
    """Coefficients (laws, columns) drawn from the prior, with its deviations times `size`."""
    rng, prior = np.random.default_rng(seed), encoder.prior
    of_all = prior.mean + size * prior.std * rng.standard_normal(len(prior.mean))
    return of_all + size * prior.spread * rng.standard_normal((encoder.laws, len(prior.mean)))


def by_law(encoder: Encoder, beta: np.ndarray, points: Points, rungs: np.ndarray) -> np.ndarray:
    """Fractions (laws, points) without noise."""
    return fraction(np.einsum("tpc,tc->tp", encoder.law(points, rungs), beta), np.array(0.05))


def observed(
    encoder: Encoder, points: Points, rungs: np.ndarray, fractions: np.ndarray, seed: int, noise: float = 0.03
) -> Observations:
    """Scores of points at rungs, by rising rung; `noise` is the standard error of a fraction."""
    order = np.argsort(rungs, kind="stable")
    seen = fractions + noise * np.random.default_rng(seed).standard_normal(fractions.shape)
    errors = np.full(fractions.shape, noise)
    of_score = noise * float(np.sqrt((encoder.weights**2).sum())) if encoder.per_task else noise
    everything = Observations(
        points,
        np.arange(len(points)),
        rungs,
        seen,
        errors,
        encoder.score(seen),
        np.full(len(points), of_score),
    )
    return everything.take(order)


def played(
    proposer: Proposer, count: int, score: Score, rungs: Callable[[int], int] = lambda n: 1 + n % 3
) -> tuple[list[Proposal], Snapshot]:
    """Propose candidates one after the other; a candidate without a score is running.

    Args:
        proposer: of the study.
        count: of candidates; fewer where the space is exhausted.
        score: proposal and its number -> its score and the fractions of its tasks.
        rungs: number of a candidate -> rungs that it is trained to.
    """
    candidates: list[Candidate] = []
    trials: list[SnapshotTrial] = []
    proposals: list[Proposal] = []
    for ordinal in range(count):
        found = proposer.propose(Snapshot(tuple(candidates), tuple(trials), 0.0))
        if found is None:
            break
        proposals.append(found)
        flops, name = found.cost.flops_per_token, found.candidate.id
        sparse = found.candidate.architecture.sparse
        candidates.append(Candidate(name, ordinal, found.params, flops, sparse))
        told = score(found, ordinal)
        if told is None:
            trials.append(SnapshotTrial(name, 0, "running", False, None, None, flops, 1e5 * flops))
            continue
        fractions = {task: TaskFraction(value, 0.01) for task, value in told[1].items()}
        done = SnapshotTrial(name, 0, "done", True, told[0], 0.01, flops, 1e5 * flops, tasks=fractions)
        reached = min(rungs(ordinal), len(proposer.config.rungs.tokens))
        trials += [replace(done, rung=rung) for rung in range(reached)]
    return proposals, Snapshot(tuple(candidates), tuple(trials), 0.0)


def by_cost(proposal: Proposal, number: int) -> tuple[float, dict[str, float]]:
    """A score that rises with the cost and has an optimum of the learning rate, the same on every task."""
    size = 0.15 * np.log(proposal.cost.flops_per_token / 1e5)
    score = float(np.clip(0.2 + size - 0.1 * np.log(proposal.candidate.learning_rate / 2e-3) ** 2, -1, 1))
    return score, dict.fromkeys(proposal.candidate.mixture.weights, score)
