"""Task mixtures: one weight per task, positive and summing to 1.

A weight is the task's share of the input tokens. No weight is below the floor of the mixture space, and none
above its cap on repetition, if it has one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import field_validator

from space.errors import StudyFileError
from space.records import Frozen, SuiteRecord

DECIMALS = 6


class TaskMixture(Frozen):
    """Shares of the input tokens by task name; at least 0, and 1 in sum."""

    weights: dict[str, float]

    @field_validator("weights")
    @classmethod
    def _on_the_simplex(cls, weights: dict[str, float]) -> dict[str, float]:
        if not weights:
            raise ValueError("a mixture needs at least one task")
        low = min(weights, key=weights.__getitem__)
        if not all(np.isfinite(list(weights.values()))) or weights[low] < 0:
            raise ValueError(f"a mixture's weights are finite and at least 0, got {weights[low]} for '{low}'")
        total = sum(weights.values())
        if abs(total - 1) > 1e-4:
            raise ValueError(f"a mixture's weights sum to 1, got {total:g}")
        return {name: weights[name] for name in sorted(weights)}

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> "TaskMixture":
        """Normalise weights and round them to six decimals, so that candidate ids are stable.

        Raises:
            StudyFileError: a weight is negative, or all are 0.
        """
        total = sum(weights.values())
        if total <= 0 or min(weights.values()) < 0:
            raise StudyFileError(f"mixture weights are at least 0 with one above it, got {dict(weights)}")
        return cls(weights={name: round(w / total, DECIMALS) for name, w in weights.items()})

    @classmethod
    def uniform(cls, tasks: Sequence[str]) -> "TaskMixture":
        """The same share for each task: every study tries this mixture as a control."""
        return cls.of(dict.fromkeys(tasks, 1.0))

    @classmethod
    def from_logits(
        cls,
        logits: Mapping[str, float],
        prior: Mapping[str, float],
        floor: float,
        caps: np.ndarray | None = None,
    ) -> "TaskMixture":
        """Shares from log-ratios to a prior: floor + (1 - n * floor) * softmax(log prior + logits).

        Args:
            logits: task -> log-ratio.
            prior: task -> share.
            floor: least share.
            caps: (tasks,) largest shares, in the order of `logits`; see `capped`.
        """
        names = list(logits)
        z = np.array([np.log(max(prior[name], 1e-9)) + logits[name] for name in names])
        p = np.exp(z - z.max())
        shares = floor + (1 - len(names) * floor) * p / p.sum()
        if caps is not None:
            shares = capped(shares[None], caps)[0]
        return cls.of(dict(zip(names, shares.tolist(), strict=True)))


def share_caps(
    epochs: float, suite: SuiteRecord, tokens: int, prior: Mapping[str, float], floor: float
) -> np.ndarray:
    """Largest share of each task at which its data are seen no more than `epochs` times.

    Args:
        epochs: passes over the training data of a task.
        suite: the tasks, and the tokens of their data; those whose data are not counted have no cap.
        tokens: input tokens of a whole training.
        prior: task -> share; tasks of share 0 keep the floor.
        floor: least share of a task.

    Returns:
        (tasks,), rounded down to the decimals of a mixture.

    Raises:
        StudyFileError: no mixture of the suite keeps the cap.
    """
    known = {task: suite.tokens[task] for task in suite.tasks if suite.tokens.get(task)}
    if not known:
        raise StudyFileError(
            f"space.mixture.epochs: suite '{suite.name}' counts the data of none of its tasks"
        )
    scale = 10**DECIMALS
    most = {task: np.floor(epochs * count / tokens * scale) / scale for task, count in known.items()}
    caps = {task: min(most.get(task, 1.0), 1.0) for task in suite.tasks}
    low = min(caps, key=caps.__getitem__)
    if caps[low] < floor:
        raise StudyFileError(
            f"space.mixture.epochs: {epochs:g} passes over the data of '{low}' are {caps[low]:.4g} of"
            f" {tokens:,} tokens, and space.mixture.floor gives each task {floor:g};"
            f" at least {_passes(floor * tokens / known[low])} passes, or a lower floor"
        )
    if sum(cap if prior[task] > 0 else floor for task, cap in caps.items()) < 1:
        data = sum(known[task] for task in known if prior[task] > 0)
        raise StudyFileError(
            f"space.mixture.epochs: {epochs:g} passes over all data are {epochs * data:,.0f} tokens, and a"
            f" candidate trains on {tokens:,} to the top rung; at least {_passes(tokens / data)} passes"
        )
    return np.array([caps[task] for task in suite.tasks])


def _passes(least: float) -> str:
    """A number of passes, rounded up to two decimals."""
    return f"{np.ceil(least * 100 + 1e-6) / 100:g}"


def capped(shares: np.ndarray, caps: np.ndarray) -> np.ndarray:
    """Shares above a cap are lowered to it, and what they lose goes to the others in proportion.

    Args:
        shares: (points, tasks), each row positive with the sum 1.
        caps: (tasks,), at least 1 in sum.

    Returns:
        (points, tasks): the smaller of the cap and a factor of at least 1 times the share, 1 in sum.
    """
    full = np.zeros(shares.shape, dtype=bool)
    while True:
        found = np.where(full, caps, shares * _factor(shares, caps, full))
        more = found > caps
        if not (more & ~full).any():
            return found
        full |= more


def _factor(shares: np.ndarray, caps: np.ndarray, full: np.ndarray) -> np.ndarray:
    """(points, 1): what the shares of the tasks that are not full are multiplied by."""
    rest = np.where(full, 0.0, shares).sum(axis=1, keepdims=True)
    left = 1 - np.where(full, caps, 0.0).sum(axis=1, keepdims=True)
    return np.where(rest > 0, left / np.where(rest > 0, rest, 1.0), 1.0)


def capped_slopes(shares: np.ndarray, caps: np.ndarray, by_share: np.ndarray) -> np.ndarray:
    """Turn derivatives by capped shares into derivatives by the shares before the cap.

    Args:
        shares: (points, tasks) before the cap.
        caps: (tasks,).
        by_share: (points, tasks) derivatives by the capped shares.

    Returns:
        (points, tasks); 0 for tasks at their cap.
    """
    found = capped(shares, caps)
    full = found >= caps
    free = np.where(full, 0.0, shares)
    rest = free.sum(axis=1, keepdims=True)
    mean = (free * by_share).sum(axis=1, keepdims=True) / np.where(rest > 0, rest, 1.0)
    return np.where(full, 0.0, _factor(shares, caps, full) * (by_share - mean))


def shares_to_logits(part: np.ndarray, prior: np.ndarray, spread: float) -> np.ndarray:
    """Log-ratios to a prior of what tasks get beyond the floors: the inverse of `from_logits`.

    Args:
        part: (tasks,) shares of what the floors leave, above 0, 1 in sum.
        prior: (tasks,) shares.
        spread: largest absolute log-ratio; larger ones are cut.

    Returns:
        (tasks,) log-ratios, whose largest and smallest have the same distance from 0 before they are cut.
    """
    z = np.log(part) - np.log(np.maximum(prior, 1e-9))
    return np.clip(z - (z.max() + z.min()) / 2, -spread, spread)
