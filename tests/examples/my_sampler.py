"""A sampler that changes one parameter of a good candidate.

A study file names it: `search: {sampler: my_sampler:Mutate, sampler_args: {best: 4}}`.
"""

import numpy as np

from search.choose.outcomes import outcomes


class Mutate:
    """Changes one parameter of one of the `best` candidates by score."""

    def __init__(self, problem, best=4):
        self.problem, self.best = problem, best

    def suggest(self, view):
        """Yield mutants of the best candidates without end; None until four candidates have a score."""
        done = [outcome for outcome in outcomes(view) if outcome.score is not None]
        if len(done) < self.best:
            return None
        parents = sorted(done, key=lambda outcome: -outcome.score)[: self.best]
        return self._mutants(parents, np.random.default_rng([self.problem.seed, len(view.candidates)]))

    def _mutants(self, parents, rng):
        while True:
            name = str(rng.choice(list(self.problem.parameters)))
            params = parents[rng.integers(len(parents))].params
            yield {**params, name: self.problem.parameters[name].sample(rng)}
