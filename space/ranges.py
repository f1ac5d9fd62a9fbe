"""What may be searched: a range for each knob, limits on costs, the way from parameters to candidates.

Parameters are flat (nested conditionals are modelled badly by most samplers): one a knob that is not fixed,
and one bounded log-ratio a task for the mixture. Which proposals are sensible is not decided here.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from space.candidate import Architecture, CandidateConfig
from space.catalog import Frozen, SuiteRecord
from space.cost import Cost, price
from space.errors import StudyFileError, nearest
from space.mixture import TaskMixture
from space.words import counted

MIXTURE_PREFIX = "mixture."
WORDS = {"router": ("softmax", "sigmoid"), "optimizer": ("adamw", "muon")}  # knobs that are no numbers
NOT_OF_ARCHITECTURE = ("learning_rate", "optimizer", "mixture")
MOST_ARCHITECTURES = 20_000  # that are priced one by one; of a larger space so many are drawn
Scalar = bool | int | float | str


class Between(Frozen):
    """Every number from `low` to `high`, both included; whole numbers if both are whole."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low is at most high, got low {self.low}, high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range starts above 0, got low {self.low}")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def values(self) -> list[Scalar] | None:
        """All values if there are finitely many, else None."""
        return list(range(int(self.low), int(self.high) + 1)) if self.whole else None

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw one value, uniformly or log-uniformly."""
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if not self.log:
            return float(rng.uniform(self.low, self.high))
        if self.whole:
            value = int(np.exp(rng.uniform(np.log(self.low - 0.5), np.log(self.high + 0.5))).round())
            return min(max(value, int(self.low)), int(self.high))
        return float(np.clip(np.exp(rng.uniform(np.log(self.low), np.log(self.high))), self.low, self.high))


class Choices(Frozen):
    """One of a list of values."""

    choices: tuple[Scalar, ...] = Field(min_length=1)

    @field_validator("choices")
    @classmethod
    def _are_distinct(cls, choices: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        if len(set(choices)) != len(choices):
            raise ValueError(f"choices differ from each other, got {list(choices)}")
        return choices

    def values(self) -> list[Scalar] | None:
        """All values."""
        return list(self.choices)

    def sample(self, rng: np.random.Generator) -> Scalar:
        """Draw one value uniformly."""
        return self.choices[int(rng.integers(len(self.choices)))]


Knob = Annotated[Between | Choices, Field(union_mode="left_to_right")]


class MixtureSpace(Frozen):
    """Which task mixtures are tried.

    Attributes:
        prior: "uniform", or weights by task or by domain (a domain's weight is shared by its tasks).
        fixed: only the prior itself is tried.
        floor: least share of a task.
        spread: the log-ratio of a task's share to its prior lies in [-spread, spread].
    """

    prior: Literal["uniform"] | dict[str, float] = "uniform"
    fixed: bool = False
    floor: float = Field(default=0.02, ge=0, lt=1)
    spread: float = Field(default=2.5, gt=0, le=10)

    def prior_weights(self, suite: SuiteRecord) -> dict[str, float]:
        """The prior's share of each task.

        Raises:
            StudyFileError: a name is neither a task nor a domain of the suite, or the floor is too high.
        """
        if self.floor * len(suite.tasks) >= 1:
            raise StudyFileError(
                f"space.mixture.floor: the floors of {counted(len(suite.tasks), 'task')} sum to less than 1,"
                f" got {self.floor}"
            )
        if isinstance(self.prior, str):
            return dict.fromkeys(suite.tasks, 1 / len(suite.tasks))
        domains: dict[str, list[str]] = {}
        for task in suite.tasks:
            domains.setdefault(suite.records[task].domain, []).append(task)
        weights = dict.fromkeys(suite.tasks, 0.0)
        for name, weight in self.prior.items():
            members = [name] if name in weights else domains.get(name)
            if members is None:
                raise StudyFileError(
                    f"space.mixture.prior.{name}: neither a task nor a domain of suite '{suite.name}'"
                    + nearest(name, [*suite.tasks, *domains])
                )
            for task in members:
                weights[task] += weight / len(members)
        return TaskMixture.of(weights).weights


class Limits(Frozen):
    """Bounds on counted costs; a candidate that breaks one is rejected before it becomes a trial."""

    flops_per_token: float | None = Field(default=None, gt=0)
    active_params: float | None = Field(default=None, gt=0)
    total_params: float | None = Field(default=None, gt=0)
    training_bytes: float | None = Field(default=None, gt=0)

    def broken(self, cost: Cost) -> str | None:
        """Name the first limit that a cost breaks, or None."""
        for name in type(self).model_fields:
            limit, value = getattr(self, name), getattr(cost, name)
            if limit is not None and value > limit:
                return f"{name} {value:,.0f} above the limit {limit:,.0f}"
        return None


def _architecture(knobs: dict[str, Any]) -> Architecture | None:
    """The architecture that knobs describe, without those that a dense one has no use for."""
    if knobs["experts"] == 1:
        knobs = {**knobs, "dense_layers": 0}
    if knobs["experts"] == 1 or knobs["dense_layers"] >= knobs["depth"]:
        knobs = {**knobs, "router": "softmax"}
    try:
        return Architecture.model_validate(knobs)
    except ValueError:
        return None


def _fixed(value: Scalar) -> Choices:
    return Choices(choices=(value,))


class SearchSpace(Frozen):
    """A range for each knob; a plain number in a study file fixes it."""

    depth: Knob = Between(low=1, high=4)
    width: Knob = Choices(choices=(48, 64, 96, 128))
    experts: Knob = Choices(choices=(1, 2, 4, 8, 16))
    top_k: Knob = Choices(choices=(1, 2, 4))
    expert_ratio: Knob = Choices(choices=(0.5, 1, 2, 4))
    shared_experts: Knob = _fixed(0)
    dense_layers: Knob = _fixed(0)
    router: Knob = _fixed("softmax")
    head_dim: Knob = _fixed(16)
    kv_groups: Knob = _fixed(1)
    qk_norm: Knob = _fixed(True)
    learning_rate: Knob = Between(low=3e-4, high=1e-2, log=True)
    optimizer: Knob = _fixed("adamw")
    mixture: MixtureSpace = MixtureSpace()

    @field_validator("*", mode="before")
    @classmethod
    def _number_fixes_a_knob(cls, value: Any) -> Any:
        return {"choices": [value]} if isinstance(value, bool | int | float | str) else value

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Self:
        for name in self.knobs():
            words = WORDS.get(name)
            for value in getattr(self, name).values() or []:
                if words is None and isinstance(value, str):
                    raise ValueError(f"{name}: numbers, got '{value}'")
                if words is not None and value not in words:
                    raise ValueError(
                        f"{name}: one of {', '.join(words)}, got {value!r}{nearest(value, words)}"
                    )
            if words is not None and isinstance(getattr(self, name), Between):
                raise ValueError(f"{name}: one of {', '.join(words)}, got a range of numbers")
        return self

    @model_validator(mode="after")
    def _admits_an_architecture(self) -> Self:
        experts, top_k = self.experts.values(), self.top_k.values()
        for name, values in (("experts", experts), ("top_k", top_k), ("depth", self.depth.values())):
            if values is None or not all(isinstance(v, int) and v >= 1 for v in values):
                raise ValueError(f"{name}: whole numbers of at least 1, got {getattr(self, name)!r}")
        if experts and top_k and min(map(int, top_k)) > max(map(int, experts)):
            raise ValueError(
                f"top_k: at least one value is at most the largest number of experts,"
                f" got top_k {min(top_k)} and up to {max(experts)} experts"
            )
        return self

    @classmethod
    def knobs(cls) -> list[str]:
        """Names of all knobs but the mixture."""
        return [name for name in cls.model_fields if name != "mixture"]

    def parameters(self, suite: SuiteRecord) -> dict[str, Between | Choices]:
        """Every parameter that varies, by its name in Optuna."""
        ranges: dict[str, Between | Choices] = {}
        for name in self.knobs():
            knob = getattr(self, name)
            values = knob.values()
            if values is None or len(values) > 1:
                ranges[name] = knob
        if not self.mixture.fixed and len(suite.tasks) > 1:
            bound = Between(low=-self.mixture.spread, high=self.mixture.spread)
            ranges |= {MIXTURE_PREFIX + task: bound for task in suite.tasks}
        return ranges

    def sample(self, suite: SuiteRecord, rng: np.random.Generator) -> dict[str, Scalar]:
        """Draw every parameter on its own; the result may be infeasible."""
        return {name: knob.sample(rng) for name, knob in self.parameters(suite).items()}

    def controls(self, suite: SuiteRecord) -> list[dict[str, float]]:
        """Mixture parameters of the controls that every study tries: the uniform mixture."""
        if self.mixture.fixed or len(suite.tasks) == 1:
            return []
        prior, bound = self.mixture.prior_weights(suite), self.mixture.spread
        logits = {task: -np.log(max(prior[task], 1e-9)) for task in suite.tasks}
        centre = float(np.mean(list(logits.values())))
        return [
            {MIXTURE_PREFIX + task: float(np.clip(z - centre, -bound, bound)) for task, z in logits.items()}
        ]

    def candidate(self, params: dict[str, Any], suite: SuiteRecord) -> CandidateConfig | None:
        """Parameters -> candidate; None where they describe no architecture (such as top_k above experts)."""
        knobs = {}
        for name in self.knobs():
            fixed = getattr(self, name).values()
            knobs[name] = params[name] if name in params else (fixed or [None])[0]
        rate, optimizer = float(knobs.pop("learning_rate")), knobs.pop("optimizer")
        prior = self.mixture.prior_weights(suite)
        logits = {task: float(params.get(MIXTURE_PREFIX + task, 0.0)) for task in suite.tasks}
        mixture = TaskMixture.from_logits(logits, prior, self.mixture.floor)
        architecture = _architecture(knobs)
        if architecture is None:
            return None
        return CandidateConfig(
            architecture=architecture,
            mixture=mixture,
            learning_rate=float(f"{rate:.6g}"),
            optimizer=optimizer,
        )

    def architectures(self) -> Iterator[Architecture]:
        """Every architecture of the space (real knobs at 5 points); of a very large space, a fixed sample."""
        names = [name for name in self.knobs() if name not in NOT_OF_ARCHITECTURE]
        values = [self._finite(name) for name in names]
        points = itertools.product(*values)
        if self.points > MOST_ARCHITECTURES:
            rng = np.random.default_rng(0)
            drawn = (rng.integers(len(of), size=MOST_ARCHITECTURES) for of in values)
            points = zip(
                *([of[i] for i in index] for of, index in zip(values, drawn, strict=True)), strict=True
            )
        found = (_architecture(dict(zip(names, point, strict=True))) for point in points)
        yield from dict.fromkeys(architecture for architecture in found if architecture is not None)

    @property
    def points(self) -> int:
        """Combinations of the knobs of an architecture, those that cannot be built included."""
        names = [name for name in self.knobs() if name not in NOT_OF_ARCHITECTURE]
        return math.prod(len(self._finite(name)) for name in names)

    def _finite(self, name: str) -> Sequence[Scalar]:
        values = getattr(self, name).values()
        if values is not None:
            return values
        knob = getattr(self, name)
        return np.linspace(knob.low, knob.high, 5).tolist()

    def feasible(self, suite: SuiteRecord, limits: Limits) -> list[tuple[Architecture, Cost]]:
        """Every architecture within the limits with its cost, cheapest first (real knobs at 5 points).

        Raises:
            StudyFileError: there is none.
        """
        priced = [(arch, price(arch, suite)) for arch in self.architectures()]
        kept = [(arch, cost) for arch, cost in priced if limits.broken(cost) is None]
        if not kept:
            least = min((cost.flops_per_token for _, cost in priced), default=0)
            raise StudyFileError(
                f"limits: at least one architecture of the space is within them, got none of {len(priced)};"
                f" the cheapest takes {least:,.0f} flops_per_token"
            )
        return sorted(kept, key=lambda pair: pair[1].flops_per_token)
