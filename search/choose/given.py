"""Candidates that a person gives: which of a study's `start` comes next, and what of it is drawn."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from search.choose.provenance import START, provenance
from search.choose.sampler import Feasible, Problem
from search.choose.snapshot import Snapshot
from space.start import StartPoint, drawn_around, held

DRAWS = 64  # candidates around a partial one, of which one is taken


@dataclasses.dataclass(frozen=True)
class Given:
    """A candidate of `start`.

    Attributes:
        params: the parameters that it holds.
        whole: the candidate, if it holds all parameters; else None.
    """

    params: dict[str, Any]
    whole: Feasible | None

    def __init__(self, point: StartPoint, problem: Problem) -> None:
        params = held(point, problem.space, problem.suite, problem.rungs.whole_tokens)
        whole = set(params) == set(problem.parameters)
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "whole", problem.feasible(params) if whole else None)

    def proposal(self, view: Snapshot, problem: Problem, rng: np.random.Generator) -> Feasible | None:
        """A candidate that holds the given parameters and is new to the study; None if there is none.

        What is not given is drawn as a study's start is: by the study's belief, cheap candidates more often.
        """
        if self.whole is not None:
            return next(problem.usable(iter([self.whole.params]), view), None)
        found = list(islice(problem.usable(self._around(problem, rng), view), DRAWS))
        if not found:
            return None
        weights = 1 / np.array([feasible.cost.flops_per_token for feasible in found])
        return found[int(rng.choice(len(found), p=weights / weights.sum()))]

    def _around(self, problem: Problem, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        believed = problem.plain_draws(rng) if problem.belief is None else problem.belief.draws(rng)
        for drawn in islice(believed, 4 * DRAWS):
            found = drawn_around(self.params, problem.space, problem.suite, problem.limits, rng, drawn)
            if found is None:
                return
            yield found


def next_start(starts: Sequence[Given], view: Snapshot, problem: Problem) -> Feasible | None:
    """The next candidate of `start` that a study has not tried; None if it has tried all.

    A partial one is tried once a candidate of the study's start holds its parameters. One that nothing new
    can be drawn for is left out.

    Args:
        starts: in the order of the study file.
        view: the study's candidates and trials.
        problem: its space, tasks, limits and seed.
    """
    known = {candidate.id for candidate in view.candidates}
    whole = {given.whole.candidate.id for given in starts if given.whole is not None}
    tried = [
        candidate
        for candidate in view.candidates
        if provenance(candidate.origin).rule == START and candidate.id not in whole
    ]
    for given in starts:
        if given.whole is not None:
            done = given.whole.candidate.id in known
        else:
            match = next((c for c in tried if given.params.items() <= c.params.items()), None)
            done = match is not None
            tried = [candidate for candidate in tried if candidate is not match]
        if not done:
            found = given.proposal(view, problem, problem.rng(view))
            if found is not None:
                return found
    return None
