"""Confirmed means: scores with fresh seeds, their standard error and their interval.

Nothing here reads a database.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LEVEL = 0.95  # of an interval


class Scored(NamedTuple):
    """The score of one trial, and its standard error over the episodes."""

    score: float
    stderr: float


class Mean(NamedTuple):
    """The mean score of a candidate over its fresh seeds.

    Attributes:
        stderr: from the variation between seeds, pooled over candidates; at least that of the episodes.
        freedom: degrees of freedom of the pooled variation; 0 if no candidate has two seeds.
        seeds: trials that it is the mean of.
    """

    score: float
    stderr: float
    freedom: int
    seeds: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval by Student's t; None if the variation between seeds is unknown."""
        return interval(self.score, self.stderr, self.freedom)


def interval(value: float, stderr: float, freedom: int) -> tuple[float, float] | None:
    """A 95% interval by Student's t; None without degrees of freedom."""
    if not freedom:
        return None
    from scipy.special import stdtrit  # slow to import

    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * stderr
    return value - half, value + half


def confirmed_means(scores: Mapping[str, Sequence[Scored]]) -> dict[str, Mean]:
    """The mean of each candidate's scores with fresh seeds.

    The variance between seeds is pooled over the candidates, because each has few seeds. All trials of a
    study play the same episodes, so more seeds make the error of the episodes no smaller: the standard error
    is never below the mean one of the candidate's trials.

    Args:
        scores: candidate -> its trials; candidates without any are left out.
    """
    known = {name: trials for name, trials in scores.items() if trials}
    means = {name: math.fsum(trial.score for trial in trials) / len(trials) for name, trials in known.items()}
    squares = math.fsum(
        (trial.score - means[name]) ** 2 for name, trials in known.items() for trial in trials
    )
    freedom = sum(len(trials) - 1 for trials in known.values())
    variance = squares / freedom if freedom else 0.0
    return {
        name: Mean(
            score=means[name],
            stderr=max(
                math.sqrt(variance / len(trials)), math.fsum(trial.stderr for trial in trials) / len(trials)
            ),
            freedom=freedom,
            seeds=len(trials),
        )
        for name, trials in known.items()
    }
