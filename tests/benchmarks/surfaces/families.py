"""Five families of surfaces: laws, smooth functions, foreign laws, crossing curves, and one like `quick`.

`law` is close to the scaling law of the sampler `pathfront`, `quick` in part. `smooth`, `foreign` and
`crossing` hold nothing of it.
"""

from typing import Any

import numpy as np

from search.planning.clock import KnownSurface
from space.plugins import load_object
from space.study import StudyConfig

from .base import Facts, SimulatedSurface, Smooth, to_logits

KNOBS = 14  # features of a candidate
SIZES = 0.75  # standard deviation of the logarithm of the active parameters over the space of `quick`


class Law(SimulatedSurface):
    """Per task a sum of two power laws, of effective parameters and of effective tokens.

    The fraction is exp(-regret) with regret = model + data (Hoffmann 2022,
    https://arxiv.org/abs/2203.15556). Tokens of other tasks count in part, by a matrix of transfer.
    Parameters that are not active count in part, by an exponent of sparsity. The learning rate has an
    optimum.
    """

    family = "law"

    def draw(self, rng: np.random.Generator) -> None:
        count = len(self.tasks)
        regret = -np.log(rng.uniform(0.4, 0.95, size=count))  # of a typical candidate at the highest rung
        share = rng.uniform(0.3, 0.7, size=count)
        self.model, self.data = regret * share, regret * (1 - share)
        self.model_power, self.data_power = rng.uniform(0.2, 0.6, count), rng.uniform(0.5, 1.2, count)
        self.sparsity = rng.uniform(0.3, 0.8)
        self.transfer = rng.uniform(0, 0.15, (count, count)) * (rng.random((count, count)) < 0.5)
        np.fill_diagonal(self.transfer, 1)
        self.best_rate, self.curvature = rng.uniform(-0.5, 0.5), rng.uniform(0.05, 0.3, count)
        self.depth_power, self.shape = rng.uniform(-0.1, 0.2), rng.normal(0, 0.15, KNOBS)

    def logits(self, facts: Facts) -> np.ndarray:
        data = np.log(self.transfer @ facts.shares / self.transfer.sum(1)) + facts.tau
        size = facts.size + self.sparsity * facts.sparsity + self.depth_power * facts.knobs[0]
        bend = self.curvature * (facts.log_rate - self.best_rate) ** 2 + self.shape[5:11] @ facts.knobs[5:11]
        model = self.model * np.exp(-self.model_power * size)
        return to_logits(np.exp(-np.exp(bend) * (model + self.data * np.exp(-self.data_power * data))))


class SmoothFunction(SimulatedSurface):
    """Draws of Gaussian processes over knobs, shares and tokens: no law at all.

    Larger models and more tokens are better on the whole, so that a front has more than one point.
    """

    family = "smooth"

    def draw(self, rng: np.random.Generator) -> None:
        count = len(self.tasks)
        lengths = np.exp(rng.uniform(np.log(0.6), np.log(3), KNOBS + count + 1))
        lengths[KNOBS:] *= np.sqrt(max(count, 8) / 8)
        self.common, self.own = Smooth(rng, lengths, 1), Smooth(rng, lengths, count)
        self.level, self.scale = rng.normal(0.3, 0.7, count), rng.uniform(0.6, 1.2, count)
        self.size, self.gain = rng.uniform(0.2, 0.6, count), rng.uniform(0.3, 1.0, count)

    def logits(self, facts: Facts) -> np.ndarray:
        x = np.concatenate((facts.knobs, np.sqrt(facts.shares), [0.5 * facts.tau]))
        bumps = 0.6**0.5 * self.common(x) + 0.4**0.5 * self.own(x)
        return self.level + self.scale * bumps + self.size * facts.size + self.gain * facts.tau


class ForeignLaw(SimulatedSurface):
    """Laws that a sampler does not expect.

    The best learning rate falls with the model's size and with its tokens, sparsity hurts early and helps
    late, tasks hurt each other, half of the tasks are learned in a sudden step, and training diverges at
    high learning rates, the earlier the wider and deeper the model is.
    """

    family = "foreign"

    def draw(self, rng: np.random.Generator) -> None:
        count = len(self.tasks)
        self.level, self.size = rng.normal(0.5, 0.5, count), rng.uniform(0.2, 0.7, count)
        self.gain, self.share = rng.uniform(0.3, 0.8, count), rng.uniform(0.2, 0.6, count)
        self.rates = rng.uniform([-0.3, 0.4, 0.2, 0.1], [0.5, 1.0, 0.5, 0.4])
        self.curvature = rng.uniform(0.3, 0.8, count)
        self.late, self.turn = rng.uniform(0.4, 1.0, count), rng.uniform(-0.9, -0.4)
        self.conflicts = np.where(rng.random((count, count)) < 2 / max(count, 2), 1.0, 0.0)
        self.conflicts *= rng.uniform(0.2, 0.5, (count, count))
        np.fill_diagonal(self.conflicts, 0)
        self.step = np.where(rng.random(count) < 0.5, rng.uniform(1.5, 3.0, count), 0.0)
        self.threshold = rng.normal(-0.5, 0.3, count)
        self.limit = rng.uniform(0.9, 1.2)

    def logits(self, facts: Facts) -> np.ndarray:
        arch = facts.candidate.architecture
        start, width, depth, tokens = self.rates
        best = start - width * np.log(arch.width / 64) - depth * np.log(arch.depth) - tokens * facts.tau
        sparse = np.tanh((facts.tau - self.turn) / 0.3) * facts.sparsity
        own = np.log(facts.shares)
        step = np.tanh((own + facts.tau + 0.5 * facts.size - self.threshold) / 0.15)
        return (
            self.level
            + self.size * facts.size
            + self.gain * facts.tau
            + self.share * own
            - self.curvature * (facts.log_rate - best) ** 2
            + self.late * sparse
            - self.conflicts @ (facts.shares - 1)
            + 0.5 * self.step * (step - 1)
        )

    def excess_rate(self, facts: Facts) -> float:
        arch = facts.candidate.architecture
        return facts.log_rate - self.limit + 0.4 * np.log(arch.width / 64) + 0.2 * np.log(arch.depth)


class Crossing(SimulatedSurface):
    """Learning curves that cross: in about half of the space the order at the first rung is reversed later.

    A smooth gate says where. At the highest rung a candidate has its quality; where the gate is open, the
    quality changes its sign towards the first rung.
    """

    family = "crossing"

    def draw(self, rng: np.random.Generator) -> None:
        count = len(self.tasks)
        lengths = np.exp(rng.uniform(np.log(0.8), np.log(3), KNOBS + count))
        lengths[KNOBS:] *= np.sqrt(max(count, 8) / 8)
        self.common, self.own = Smooth(rng, lengths, 1), Smooth(rng, lengths, count)
        self.gate = Smooth(rng, np.full(KNOBS + count, 0.7), 1)
        points = rng.uniform(0, 1, (64, KNOBS + count)) + np.repeat([0, 0.5], [KNOBS, count])
        self.closed = float(np.mean([self.gate(x)[0] for x in points])) + rng.uniform(0, 0.4)
        self.level, self.scale = rng.normal(0.5, 0.6, count), rng.uniform(0.5, 0.9, count)
        self.size, self.gain = rng.uniform(0.2, 0.5, count), rng.uniform(0.4, 1.0, count)
        self.share = rng.uniform(0.1, 0.4, count)

    def logits(self, facts: Facts) -> np.ndarray:
        x = np.concatenate((facts.knobs, np.sqrt(facts.shares)))
        quality = 0.7**0.5 * self.common(x) + 0.3**0.5 * self.own(x)
        quality = self.scale * quality + self.size * facts.size + self.share * np.log(facts.shares)
        tokens = self.config.rungs.tokens
        below = facts.tau / np.log(tokens[0] / tokens[-1]) if len(tokens) > 1 else 0.0  # 1 at the first rung
        turned = 1 / (1 + np.exp(-6 * (self.gate(x)[0] - self.closed)))
        return self.level + quality * (1 - 2 * turned * below) + self.gain * facts.tau


PROFILES = np.array(
    # mean logit at 225k, 450k and 900k tokens; its standard deviation there; episodes, as if binomial
    [
        (-2.3, -1.4, -0.85, 0.7, 0.4, 0.45, 147),  # python-docs
        (3.3, 3.9, 4.5, 0.2, 0.2, 0.2, 162),  # digits
        (0.35, 1.7, 3.0, 0.7, 0.8, 0.6, 353),  # shape-captions
        (2.5, 2.75, 3.2, 0.35, 0.25, 0.2, 174),  # dialled-digits
        (-0.4, 1.8, 3.8, 1.2, 1.3, 1.2, 114),  # taxi
        (1.2, 1.4, 1.6, 0.35, 0.2, 0.2, 48),  # babyai-goto-redball-grey
        (0.3, 2.2, 4.0, 2.0, 1.8, 1.0, 369),  # cartpole
        (-1.4, -0.2, 0.5, 1.1, 0.85, 0.75, 40),  # metaworld-reach
    ]
)
PROFILE_TOKENS = np.log(np.array([225_000, 450_000, 900_000]))


class LikeQuick(SimulatedSurface):
    """Levels, spreads and noise of the first 18 candidates of the real study `quick`, at its three rungs.

    Where a candidate lies within a task's spread is partly a law (size, own share, learning rate) and partly
    a smooth function of everything.
    """

    family = "quick"
    SIGNAL, SEED = 0.85, 0.6  # of a task's spread: between candidates, between seeds of a candidate

    def draw(self, rng: np.random.Generator) -> None:
        count = len(self.tasks)
        profiles = PROFILES[np.arange(count) % len(PROFILES)]
        self.means, self.spreads = profiles[:, :3], profiles[:, 3:6]
        self.episodes = profiles[:, 6].astype(int)
        self.floors = np.zeros(count)
        self.seed_noise = self.SEED * self.spreads[:, 0]
        parts = rng.dirichlet([2, 2, 1, 2], size=count) ** 0.5
        self.size, self.share, self.rate, self.rest = parts.T
        self.best_rate, self.sparsity = rng.uniform(-0.5, 0.7), rng.uniform(0.1, 0.6)
        self.early = Smooth(rng, np.full(KNOBS + count, 2.0), count)
        self.common, self.own = (Smooth(rng, np.full(KNOBS + count, 2.0), n) for n in (1, count))

    def logits(self, facts: Facts) -> np.ndarray:
        x = np.concatenate((facts.knobs, np.sqrt(facts.shares)))
        size = (facts.size + self.sparsity * facts.sparsity) / SIZES
        rate = 1 - (facts.log_rate - self.best_rate) ** 2
        smooth = 0.5**0.5 * (self.common(x) + self.own(x))
        law = self.size * size + self.share * np.log(facts.shares) / 0.5 + self.rate * rate / 0.8
        log_tokens = np.log(self.config.rungs.tokens[-1]) + facts.tau
        mean, spread = _interpolated(log_tokens, self.means), _interpolated(log_tokens, self.spreads)
        early = 0.5 * -facts.tau / np.log(4) * self.early(x)
        return mean + self.SIGNAL * spread * (law + self.rest * smooth + early)


def _interpolated(log_tokens: float, rows: np.ndarray) -> np.ndarray:
    """Values at a number of tokens between three known ones, or beyond. Shapes (tasks, 3) -> (tasks,)."""
    last = log_tokens > PROFILE_TOKENS[1]
    low, high = (1, 2) if last else (0, 1)
    share = (log_tokens - PROFILE_TOKENS[low]) / (PROFILE_TOKENS[high] - PROFILE_TOKENS[low])
    return rows[:, low] + share * (rows[:, high] - rows[:, low])


FAMILIES: dict[str, type[SimulatedSurface]] = {
    kind.family: kind for kind in (Law, SmoothFunction, ForeignLaw, Crossing, LikeQuick)
}


def make_surface(family: str, config: StudyConfig, number: int) -> KnownSurface:
    """A surface.

    Args:
        family: a key of `FAMILIES`, or `package.module:name` of a function of `config` and `number`.
        config: the study.
        number: of the surface.
    """
    if family in FAMILIES:
        return FAMILIES[family](config, number)
    make: Any = load_object(family, "a family of surfaces as package.module:name")
    return make(config, number)
