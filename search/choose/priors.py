"""Priors of knobs and shares in numbers: densities over the space's own distribution, and draws.

A density is mixed with the space's own distribution, so that no value is excluded, however certain a person
is: at least one in ten draws is as if there were no prior.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.choose.sampler import Problem
from space.knobs import Between, Choices
from space.knowledge import SHARE_SPREAD, SPREAD, Prior, spelt
from space.mixture import shares_to_logits
from space.ranges import MIXTURE_PREFIX

OWN = 0.1  # share of the space's own distribution
GRID = 257  # points of a range of real numbers
LARGEST_PART = 0.9  # that tasks with priors may take of what the floors leave


class KnobPrior:
    """The prior of one knob.

    Args:
        knob: its values.
        prior: what is believed.
    """

    def __init__(self, knob: Between | Choices, prior: Prior) -> None:
        self._knob = knob
        listed = knob.values()
        self._real = listed is None
        self._values: list[Any] = _grid(knob) if listed is None else list(listed)
        own = _own(knob, self._values)
        kernel = _kernel(knob, self._values, prior)
        relative = kernel / (own @ kernel)
        self._density = (1 - OWN) * relative + OWN
        self._draw_from = own * kernel / (own @ kernel)
        self._places = {value: i for i, value in enumerate(self._values)}
        self._log = np.log(np.array(self._values, dtype=float)) if self._real else None

    def density(self, value: Any) -> float:
        """Density at a value over that of the space's own distribution."""
        if self._log is None:
            return float(self._density[self._places[value]]) if value in self._places else OWN
        return float(self.densities(np.log([float(value)]))[0])

    def densities(self, logs: np.ndarray) -> np.ndarray:
        """Densities at logarithms of values of a range of real numbers, or at those of a list, (points,)."""
        at = np.log(np.array(self._values, dtype=float)) if self._log is None else self._log
        order = np.argsort(at)
        return np.interp(logs, at[order], self._density[order])

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw a value from the prior, or by a small chance from the space's own distribution."""
        if rng.random() < OWN:
            return self._knob.sample(rng)
        index = int(rng.choice(len(self._values), p=self._draw_from))
        if not self._real:
            return self._values[index]
        knob: Any = self._knob
        near = self._values[min(index + 1, GRID - 1)]
        return float(knob.clipped(rng.uniform(*sorted((self._values[index], near)))))


def _grid(knob: Any) -> list[float]:
    ends = float(knob.low), float(knob.high)
    return (np.geomspace(*ends, GRID) if knob.log else np.linspace(*ends, GRID)).tolist()


def _own(knob: Between | Choices, values: Sequence[Any]) -> np.ndarray:
    """Probability of each value as the space draws it, (values,)."""
    if isinstance(knob, Between) and knob.whole and knob.log:
        edges = np.array(values, dtype=float)
        own = np.log(edges + 0.5) - np.log(edges - 0.5)
        return own / own.sum()
    return np.full(len(values), 1 / len(values))


def _kernel(knob: Between | Choices, values: Sequence[Any], prior: Prior) -> np.ndarray:
    """Likelihood of each value as the best one, up to a factor, (values,)."""
    if prior.weights is not None:
        return np.array([prior.weights.get(spelt(value), 0.0) for value in values])
    if any(isinstance(value, bool | str) for value in values):
        others = math.exp(-prior.strength) / len(values)
        return np.array([others + (1 - math.exp(-prior.strength)) * (v == prior.value) for v in values])
    places = _places(knob, values, values)
    (centre,) = _places(knob, [prior.value], values)
    return np.exp(-0.5 * ((places - centre) / (SPREAD / prior.strength)) ** 2)


def _places(knob: Between | Choices, values: Sequence[Any], known: Sequence[Any]) -> np.ndarray:
    """Places of numbers between the ends of a range, or in the order of a list: from 0 to 1, (values,)."""
    if isinstance(knob, Choices):
        ranks = sorted(known)
        return np.array([ranks.index(value) for value in values]) / max(len(ranks) - 1, 1)
    low, high, at = float(knob.low), float(knob.high), np.array(values, dtype=float)
    if knob.log:
        low, high, at = math.log(low), math.log(high), np.log(at)
    return (at - low) / (high - low)


class SharePriors:
    """The priors of tasks' shares: normal in the logarithm of the share.

    Args:
        problem: the study's space and tasks.
        priors: task -> its prior.
        sample: (points, tasks) shares as the space draws them.

    Where mixtures are searched by domain, the shares are those of domains.
    """

    def __init__(self, problem: Problem, priors: Mapping[str, Prior], sample: np.ndarray) -> None:
        tasks, self._groups = problem.suite.tasks, problem.shares.groups
        self._floors, self._spread = self._groups.sizes * problem.shares.floor, problem.space.mixture.spread
        self._prior = self._groups.sums(np.array([[problem.shares.prior[task] for task in tasks]]))[0]
        self._at = np.array([self._groups.names.index(name) for name in priors])
        self._centre = np.log([float(prior.value) for prior in priors.values()])  # type: ignore[arg-type]
        self._std = SHARE_SPREAD / np.array([prior.strength for prior in priors.values()])
        self._mean = self._kernel(sample).mean(axis=0)

    def log_density(self, shares: np.ndarray) -> np.ndarray:
        """Log density of shares (points, tasks) over the space's own distribution, (points,)."""
        relative = self._kernel(shares) / np.maximum(self._mean, 1e-6)
        return np.log((1 - OWN) * relative + OWN).sum(axis=1)

    def _kernel(self, shares: np.ndarray) -> np.ndarray:
        of_groups = self._groups.sums(shares)[:, self._at]
        return np.exp(-0.5 * ((np.log(of_groups) - self._centre) / self._std) ** 2)

    def draw(self, rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
        """Log-ratios (groups,) whose shares of groups with priors are drawn; of the others, as given."""
        if rng.random() < OWN:
            return logits
        z = np.log(np.maximum(self._prior, 1e-9)) + logits
        part = np.exp(z - z.max())
        part /= part.sum()
        free = 1 - self._floors.sum()
        drawn = np.exp(self._centre + self._std * rng.standard_normal(len(self._at)))
        taken = np.maximum((drawn - self._floors[self._at]) / free, 1e-4)
        rest = np.setdiff1d(np.arange(len(part)), self._at)
        most = LARGEST_PART if len(rest) else 1.0
        if taken.sum() > most or not len(rest):
            taken *= most / taken.sum()
        part[self._at] = taken
        if len(rest):
            part[rest] *= (1 - taken.sum()) / part[rest].sum()
        return shares_to_logits(part, self._prior, self._spread)


def share_priors(priors: Mapping[str, Prior]) -> dict[str, Prior]:
    """Task -> prior of its share, among the priors of a study."""
    prefix = MIXTURE_PREFIX
    return {name.removeprefix(prefix): of for name, of in priors.items() if name.startswith(prefix)}
