"""The first candidates of a study with a belief: where it is right, they are nearly the front.

Candidates that good priors find likeliest are, at their cost, as good as the best of some fifty random ones,
and an earlier study of a related problem knows as much. If they competed for the rungs as others do, the
study would wait for peers that are worse. So a few of them, in the cheaper half of the costs, are trained to
the top rung at once (`search.choose.promote`), and the study goes on as it would without a belief.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from search.choose.belief import Belief
from search.choose.models import models_of
from search.choose.pool import COST_BINS, Pool, PoolSpace
from search.choose.sampler import Feasible, Problem, Suggestion
from search.choose.snapshot import Snapshot

CHEAP_BINS = COST_BINS // 2  # of the costs, which take turns
DRAWN, NEAR = 400, 200  # points: of the space and by the belief, near an earlier study's candidates
MUTANTS, KEPT, ROUNDS = 200, 24, 3  # points near the likeliest ones
FEW = 64  # points, of all bins, where all have had their turn
LEAST_DENSITY = 1e-9  # in the logarithm: a smaller one is rounding
PRIORS, EARLIER = "the priors", "the earlier study"


class Believed:
    """Chooses the first candidates of a study by what is believed.

    Args:
        problem: the study's space, tasks, limits and seed.
        belief: a person's priors, or an earlier study, or both.
        most: candidates that are chosen so.
    """

    def __init__(self, problem: Problem, belief: Belief, most: int) -> None:
        self._problem, self._belief, self._most = problem, belief, most

    def due(self, view: Snapshot) -> bool:
        """Whether the next candidate is one of these; a study that has gone on to others does not go back."""
        return not view.own and len(view.believed) < self._most

    def suggest(self, view: Snapshot) -> Iterator[Suggestion]:
        """Suggest parameters: points of the bin of cost whose turn it is, the likeliest first."""
        space, rng = models_of(self._problem).space, self._problem.rng(view)
        likeliest = self._likeliest(space, view, rng)
        for index in range(len(likeliest)):
            yield Suggestion(space.params(likeliest, index), self._why)

    def choose_among(self, view: Snapshot, pool: Sequence[Feasible]) -> Feasible | None:
        """The likeliest of a pool in the bin of cost whose turn it is, where only those can be tried.

        None if the bin holds none of them.
        """
        space = models_of(self._problem).space
        points, kept = space.encode([found.params for found in pool])
        order = self._in_bin(space, view, points)
        return replace(pool[int(kept[order[0]])], note=self._why) if len(order) else None

    @property
    def _why(self) -> str:
        by = [PRIORS] if self._belief.states_priors else []
        by += [EARLIER] if self._belief.earlier is not None else []
        return f"the likeliest at its cost by {' and '.join(by)}"

    def _likeliest(self, space: PoolSpace, view: Snapshot, rng: np.random.Generator) -> Pool:
        """Points of the bin of cost whose turn it is, the likeliest first.

        Where all bins have had their turn, the likeliest of a few, which are not what the study has already.
        """
        if len(view.believed) >= len(_bins(space)):
            pool = self._belief.pool(space, rng, FEW, 0.0)
            return pool.take(self._in_bin(space, view, pool))
        drawn = [self._belief.pool(space, rng, DRAWN, 0.0), space.random(rng, DRAWN, 0.0)]
        if self._belief.earlier is not None:
            drawn.append(self._belief.earlier.candidates(space, rng, NEAR))
        pool = self._mixed(Pool.joined(drawn))
        first = best = pool.take(self._in_bin(space, view, pool))
        for _ in range(ROUNDS if len(best) else 0):
            best = best.take(np.arange(min(KEPT, len(best))))
            near = self._mixed(Pool.joined((best, space.mutants(rng, best, MUTANTS, size=0.4))))
            best = near.take(self._in_bin(space, view, near))
        return Pool.joined((best, first))  # in a small space the best may all be the same candidate

    def _mixed(self, pool: Pool) -> Pool:
        """Points with their mixtures; where nothing is believed of these, with the study's own one."""
        if self._belief.weighs_mixtures:
            return pool
        return replace(pool, logits=np.zeros_like(pool.logits))

    def _in_bin(self, space: PoolSpace, view: Snapshot, pool: Pool) -> np.ndarray:
        """Indices of the points of a pool in the bin of cost whose turn it is, the likeliest first."""
        bins = _bins(space)
        turn = bins[len(view.believed) % len(bins)]
        at = np.flatnonzero(space.bin_of(space.own_points(pool).log_flops) == turn)
        density = self._belief.log_density(space, pool.take(at))
        if np.abs(density).max(initial=0.0) < LEAST_DENSITY:
            return at[:0]  # nothing is known of them
        return at[np.argsort(-density, kind="stable")]


def _bins(space: PoolSpace) -> list[int]:
    """The bins of cost that have a turn, from the cheapest on: one at least."""
    return [number for number in space.bins if number < CHEAP_BINS] or space.bins[:1]
