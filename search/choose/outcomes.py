"""One outcome for each candidate: what a sampler learns from, whatever rungs a study has."""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from search.choose.snapshot import Snapshot


@dataclass(frozen=True)
class Outcome:
    """How one candidate has done so far.

    Attributes:
        params: its parameters.
        flops_per_token: what training it costs.
        state: "done" once it has a score, "failed" if it never will, else "running".
        score: at its highest rung, plus the median gains of other candidates on the rungs above; None without
            a score.
        costs: those that are objectives of the study, in their order; empty if the candidate has no trial.
    """

    params: dict[str, Any]
    flops_per_token: float
    state: Literal["done", "failed", "running"]
    score: float | None
    costs: tuple[float, ...] = ()


def outcomes(view: Snapshot) -> list[Outcome]:
    """The outcomes of all candidates, in the order of their proposals."""
    scores = corrected_scores(view)
    failed = {trial.candidate for trial in view.trials if trial.state == "failed" and trial.final}
    costs = {trial.candidate: trial.costs for trial in view.trials}
    return [
        Outcome(
            candidate.params,
            candidate.flops_per_token,
            "done" if candidate.id in scores else "failed" if candidate.id in failed else "running",
            scores.get(candidate.id),
            costs.get(candidate.id, ()),
        )
        for candidate in view.candidates
    ]


def corrected_scores(view: Snapshot) -> dict[str, float]:
    """Candidate -> score of its highest rung plus the median gains of the rungs above it."""
    done = [trial for trial in view.trials if trial.state == "done" and trial.score is not None]
    scores: dict[str, dict[int, float]] = {}
    for trial in done:
        scores.setdefault(trial.candidate, {})[trial.rung] = trial.score or 0.0
    rungs = sorted({trial.rung for trial in done})
    gains = {
        upper: median(s[upper] - s[lower] for s in scores.values() if lower in s and upper in s)
        for lower, upper in pairwise(rungs)
        if any(lower in s and upper in s for s in scores.values())
    }
    return {
        candidate: by_rung[max(by_rung)] + sum(gain for rung, gain in gains.items() if rung > max(by_rung))
        for candidate, by_rung in scores.items()
    }
