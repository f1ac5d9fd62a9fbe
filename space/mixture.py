"""Task mixtures: one weight per task, positive and summing to 1.

A weight is the task's share of the input tokens. No weight is below the floor of the mixture space.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import field_validator

from space.errors import StudyFileError
from space.records import Frozen

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
        cls, logits: Mapping[str, float], prior: Mapping[str, float], floor: float
    ) -> "TaskMixture":
        """Shares from log-ratios to a prior: floor + (1 - n * floor) * softmax(log prior + logits)."""
        names = list(logits)
        z = np.array([np.log(max(prior[name], 1e-9)) + logits[name] for name in names])
        p = np.exp(z - z.max())
        shares = floor + (1 - len(names) * floor) * p / p.sum()
        return cls.of(dict(zip(names, shares.tolist(), strict=True)))


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
