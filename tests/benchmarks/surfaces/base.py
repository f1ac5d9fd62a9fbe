"""What all families share: the facts that scores depend on, and the noise of seeds and episodes.

Noise is as in real studies. Each task is scored on a fixed set of episodes, the same at every rung and for
every candidate, so that errors are partly shared. The number of successes is binomial. The seed of training
shifts each task's logit, more at low rungs, partly in the same direction at all rungs.
"""

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtri

from search.choose.snapshot import TaskFraction
from search.planning.clock import Result
from space.candidate import CandidateConfig
from space.cost import Cost
from space.scores import domain_weights
from space.study import StudyConfig

EPISODES = 60, 200  # least and most of a task
FLOORS = 0.0, 0.15  # success rate at a task's floor
SHARED, OWN = 0.4, 0.3  # of an episode's variance: shared by all candidates, by all rungs of a candidate
SEED_NOISE = 0.1, 0.5  # of a task's logit at the first rung
SEED_SHARED = 0.5  # of the variance of the seed's noise: shared by all rungs
SEED_DECLINE = 0.5  # power of the tokens with which the seed's noise declines
EDGE = 1e-6  # least distance of a rate from 0 and 1

RANGES = {  # knob -> its values at 0 and 1 of the features, and whether its logarithm counts
    "depth": (1, 4, True),
    "width": (48, 128, True),
    "experts": (1, 16, True),
    "top_k": (1, 4, True),
    "expert_ratio": (0.5, 4, True),
    "shared_experts": (0, 1, False),
    "dense_layers": (0, 2, False),
    "head_dim": (8, 32, True),
    "kv_groups": (1, 2, True),
    "window": (0, 64, False),
    "qk_norm": (0, 1, False),
}


@dataclass(frozen=True)
class Facts:
    """What a score depends on.

    Attributes:
        candidate: the candidate.
        cost: its exact cost.
        knobs: (14,) each about between 0 and 1 over the space of `quick`.
        shares: (tasks,) share of each task times the number of tasks; 1 in the uniform mixture.
        tau: logarithm of the tokens over those of the highest rung.
    """

    candidate: CandidateConfig
    cost: Cost
    knobs: np.ndarray
    shares: np.ndarray
    tau: float

    @property
    def log_rate(self) -> float:
        """Logarithm of the learning rate over 3e-3."""
        return float(np.log(self.candidate.learning_rate / 3e-3))

    @property
    def size(self) -> float:
        """Logarithm of the active parameters over 500,000."""
        return float(np.log(self.cost.active_params / 5e5))

    @property
    def sparsity(self) -> float:
        """Logarithm of all parameters over the active ones."""
        return float(np.log(self.cost.total_params / self.cost.active_params))


class SimulatedSurface(ABC):
    """A surface of one family.

    Args:
        config: the study, which gives the space and the rungs.
        number: of the surface.
    """

    family = ""

    def __init__(self, config: StudyConfig, number: int) -> None:
        self.config, self.suite, self.number = config, config.suite_record(), number
        self.tasks = self.suite.tasks
        self._key = [zlib.crc32(self.family.encode()), number]
        self.rng = np.random.default_rng(self._key)
        self.episodes = self.rng.integers(*EPISODES, size=len(self.tasks))
        self.floors = self.rng.uniform(*FLOORS, size=len(self.tasks))
        self.seed_noise = np.exp(self.rng.uniform(*np.log(SEED_NOISE), size=len(self.tasks)))
        self.draw(self.rng)
        self.shared = [self.rng.standard_normal(n) for n in self.episodes]
        weights = domain_weights({t: self.suite.records[t].domain for t in self.tasks})
        self.weights = np.array([weights[task] for task in self.tasks])

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> None:
        """Draw the coefficients of the family's formulas."""

    @abstractmethod
    def logits(self, facts: Facts) -> np.ndarray:
        """Logit of each task's fraction without noise. Shape (tasks,)."""

    def excess_rate(self, facts: Facts) -> float:
        """How far the logarithm of the learning rate lies above what trains; training diverges above 0."""
        return -np.inf

    def facts(self, candidate: CandidateConfig, cost: Cost, rung: int) -> Facts:
        """The facts of a candidate at a rung."""
        tokens = self.config.rungs.tokens
        shares = [candidate.mixture.weights[task] * len(self.tasks) for task in self.tasks]
        return Facts(
            candidate, cost, features(candidate), np.array(shares), np.log(tokens[rung] / tokens[-1])
        )

    def truth(self, candidate: CandidateConfig, cost: Cost, rung: int = -1) -> float | None:
        """The score at a rung, by default the highest, without noise; None if training diverges."""
        facts = self.facts(candidate, cost, range(len(self.config.rungs.tokens))[rung])
        if self.excess_rate(facts) > 0:
            return None
        return float(self.weights @ expit(self.logits(facts)))

    def trial(self, candidate: CandidateConfig, cost: Cost, rung: int, seed: int) -> Result:
        """The result of training a candidate to a rung."""
        facts = self.facts(candidate, cost, rung)
        identity = [*self._key, int(candidate.id, 16)]
        of_seed = np.random.default_rng([*identity, 1, seed])
        if self.excess_rate(facts) + 0.1 * of_seed.standard_normal() > 0:
            return Result()
        shared, own = (
            of_seed.standard_normal(len(self.tasks)),
            of_seed.standard_normal((rung + 1, len(self.tasks))),
        )
        noise = SEED_SHARED**0.5 * shared + (1 - SEED_SHARED) ** 0.5 * own[rung]
        tokens = self.config.rungs.tokens
        noise *= self.seed_noise * (tokens[rung] / tokens[0]) ** -SEED_DECLINE
        return self._evaluated(expit(self.logits(facts) + noise), [*identity, 2], rung, seed)

    def _evaluated(self, fractions: np.ndarray, identity: list[int], rung: int, seed: int) -> Result:
        """Play the episodes of each task."""
        total = int(self.episodes.sum())
        own = np.random.default_rng(identity).standard_normal(total)
        rest = np.random.default_rng([*identity, seed, rung]).standard_normal(total)
        difficulty = (
            SHARED**0.5 * np.concatenate(self.shared) + OWN**0.5 * own + (1 - SHARED - OWN) ** 0.5 * rest
        )
        rates = np.clip(self.floors + (1 - self.floors) * fractions, EDGE, 1 - EDGE)
        ends = np.cumsum(self.episodes)
        wins = difficulty < np.repeat(ndtri(rates), self.episodes)
        won = np.add.reduceat(wins, ends - self.episodes)
        tasks: dict[str, TaskFraction] = {}
        for i, task in enumerate(self.tasks):
            n, mean = int(self.episodes[i]), float(won[i] / self.episodes[i])
            stderr = (mean * (1 - mean) / (n - 1)) ** 0.5
            scale = float(1 - self.floors[i])
            tasks[task] = TaskFraction((mean - float(self.floors[i])) / scale, stderr / scale)
        return Result.of(self.suite, tasks)


class Smooth:
    """Draws of a Gaussian process with a Matern-5/2 kernel, by random Fourier features.

    Rahimi and Recht 2007 (https://papers.nips.cc/paper/3182): the frequencies of this kernel follow
    Student's t distribution with five degrees of freedom.

    Args:
        rng: of the draws.
        lengths: (inputs,) length scale of each input.
        outputs: independent functions.
    """

    FEATURES = 256

    def __init__(self, rng: np.random.Generator, lengths: np.ndarray, outputs: int) -> None:
        tails = np.sqrt(rng.chisquare(5, size=(self.FEATURES, 1)) / 5)
        self._frequencies = rng.standard_normal((self.FEATURES, len(lengths))) / tails / lengths
        self._phases = rng.uniform(0, 2 * np.pi, size=self.FEATURES)
        self._weights = rng.standard_normal((self.FEATURES, outputs)) * (2 / self.FEATURES) ** 0.5

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values at a point. Shapes (inputs,) -> (outputs,)."""
        return np.cos(self._frequencies @ x + self._phases) @ self._weights


def features(candidate: CandidateConfig) -> np.ndarray:
    """The knobs as numbers. Shape (14,): those of `RANGES`, the learning rate, the router, the optimizer."""
    arch: Any = candidate.architecture
    values: list[float] = []
    for name, (low, high, log) in RANGES.items():
        value = float(getattr(arch, name))
        ends = np.log([low, high, max(value, 1e-9)]) if log else np.array([low, high, value])
        values.append(float((ends[2] - ends[0]) / (ends[1] - ends[0])))
    rate = float(np.log10(candidate.learning_rate / 1e-3))
    others = arch.router == "sigmoid", candidate.optimizer == "muon"
    return np.array([*values, rate, *others], dtype=float)


def to_logits(fractions: np.ndarray) -> np.ndarray:
    """Logits of fractions, which are kept away from 0 and 1."""
    return logit(np.clip(fractions, EDGE, 1 - EDGE))
