"""The first candidates of a study that begins with an earlier one.

They have the largest expected gain of a front for their compute, as the surrogate of the earlier study
predicts it: its own best candidates first, and what lies near them. Scores are drawn together, so that a
candidate like one that is being trained gains little.
"""

from dataclasses import replace

import numpy as np

from search.choose.belief import Belief
from search.choose.improve import improved
from search.choose.pool import Pool, PoolSpace
from search.choose.sampler import Parameters
from search.choose.snapshot import Snapshot
from search.surrogate.columns import logits_of

RANDOM, BELIEVED, NEAR = 200, 100, 200  # points: of the space, by the belief, near the earlier candidates
CHILDREN = 120  # points near the best ones


class WarmStart:
    """One choice of a first candidate.

    Args:
        space: the study's space in numbers.
        view: its candidates.
        rng: random numbers.
        belief: of the study, with its earlier study.
        least_score: that gains anything.
        control: mixture parameters of all points, where the next candidate tries them.
    """

    def __init__(
        self,
        space: PoolSpace,
        view: Snapshot,
        rng: np.random.Generator,
        belief: Belief,
        least_score: float,
        control: Parameters | None = None,
    ) -> None:
        assert belief.earlier is not None
        self._space, self._rng, self._belief, self._control = space, rng, belief, control
        self._earlier = belief.earlier
        known, _ = space.encode([candidate.params for candidate in view.candidates])
        self._front = self._earlier.front(space, known, least_score)

    def ranked(self) -> Pool:
        """Points that gain anything, the best first."""
        space, rng = self._space, self._rng
        drawn = space.random(rng, RANDOM, 0.0), self._belief.pool(space, rng, BELIEVED, 0.0)
        first = Pool.joined((*drawn, self._earlier.candidates(space, rng, NEAR)))
        pool, value = improved(first, self._value, lambda best: space.mutants(rng, best, CHILDREN, size=0.4))
        return pool.take(_best_first(value))

    def order(self, pool: Pool) -> np.ndarray:
        """Indices of given points that gain anything, the best first."""
        return _best_first(self._value(pool))

    def _value(self, pool: Pool) -> np.ndarray:
        """Expected gain of points for their compute, times the priors, (points,)."""
        space = self._space
        if self._control:
            logits = np.tile(logits_of([self._control], space.groups), (len(pool), 1))
            pool = replace(pool, logits=logits)
        gain = self._earlier.gain(self._front, space, pool)
        value = gain / space.compute(space.own_points(pool))
        if self._belief.states_priors:
            value = value * np.exp(self._belief.prior_density(space, pool))
        return value


def _best_first(value: np.ndarray) -> np.ndarray:
    return np.argsort(-value, kind="stable")[: np.count_nonzero(value)]
