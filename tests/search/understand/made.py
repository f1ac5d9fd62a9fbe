"""Studies with scores by a known rule, of random candidates, so that what is said of them can be checked."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from made_studies import problem_of

from search.choose.sampler import Feasible, Problem
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, TaskFraction
from search.choose.studied import Studied
from search.surrogate.law import fraction
from space.scores import domain_weights

NARROW = {"mixture": {"spread": 1.5}}
Rule = Callable[[Feasible, int], Mapping[str, float]]  # of a candidate at a rung: task -> fraction


def score_of(problem: Problem, fractions: Mapping[str, float]) -> float:
    """Mean over domains of the mean over tasks."""
    weights = domain_weights({name: record.domain for name, record in problem.suite.records.items()})
    return sum(weights[task] * float(np.clip(value, -1, 1)) for task, value in fractions.items())


def by_rates_and_shares(
    rate: float = 0.3, size: float = 0.0, transfer: Mapping[tuple[str, str], float] | None = None
) -> Rule:
    """A rule with an optimum of the learning rate and, for each task, the worth of its own share.

    Args:
        rate: curvature in the learning rate, around 3e-3.
        size: worth of active parameters.
        transfer: (source, target) -> worth of the source's share for the target.
    """

    def rule(found: Feasible, rung: int) -> dict[str, float]:
        shares, fractions = found.candidate.mixture.weights, {}
        common = -0.1 + 0.3 * rung - rate * np.log(found.candidate.learning_rate / 3e-3) ** 2
        common += size * np.log(found.cost.active_params / 3e5)
        for task, share in shares.items():
            z = common + 0.3 * np.log(share * len(shares))
            for (source, target), worth in (transfer or {}).items():
                if target == task:
                    z += worth * (shares[source] * len(shares) - 1)
            fractions[task] = float(fraction(np.array(-z), np.array(0.05)))
        return fractions

    return rule


def made(
    rule: Rule,
    count: int,
    seed: int,
    noise: float = 0.02,
    space: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Studied:
    """A study of random candidates, half of which are trained to each further rung."""
    problem = problem_of(NARROW if space is None else space, **changes)
    rng = np.random.default_rng(seed)
    candidates: dict[str, Candidate] = {}
    trials: list[SnapshotTrial] = []
    while len(candidates) < count:
        found = problem.feasible(problem.space.sample(problem.suite, rng))
        if found is None or found.candidate.id in candidates:
            continue
        name, flops, ordinal = found.candidate.id, found.cost.flops_per_token, len(candidates)
        sparse = found.candidate.architecture.sparse
        candidates[name] = Candidate(name, ordinal, found.params, flops, sparse)
        for rung in range(len(problem.rungs.tokens)):
            if ordinal % 2**rung:
                break
            fractions = {t: v + noise * rng.standard_normal() for t, v in rule(found, rung).items()}
            tasks = {task: TaskFraction(value, noise) for task, value in fractions.items()}
            score, spent = score_of(problem, fractions), flops * problem.rungs.trial_tokens(rung)
            trials.append(
                SnapshotTrial(name, rung, "done", True, score, noise / 3, flops, spent, tasks=tasks)
            )
    return Studied("made", problem, Snapshot(tuple(candidates.values()), tuple(trials), 0.0))
