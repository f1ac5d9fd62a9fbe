"""The objectives of a study: a score, which is maximised, and one or two costs, which are minimised.

A study file lists them: `objectives: [{score: {image: 2, control: 1}}, total_params, training_flops]`. All
costs are known exactly before a candidate is trained. How a score weighs its tasks is stored with the study's
suite (`SuiteRecord.weights`), so that whatever scores a candidate uses the same weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import model_serializer, model_validator

from space.cost import Cost
from space.errors import StudyFileError, closest, nearest
from space.knobs import number
from space.records import Frozen, SuiteRecord
from space.words import short

SCORE = "score"
MOST_COSTS = 2
LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6  # so that their sum is finite and no share is rounded to 0


class KnownCosts(NamedTuple):
    """Everything that a candidate costs and that may be an objective, each by its name in a study file.

    Attributes:
        flops_per_token: forward, as in `Cost`.
        active_params: parameters that one token passes through.
        total_params: all parameters.
        memory_bytes: peak memory of a training step, as counted in `Cost.training_bytes`.
        training_flops: planned training FLOPs to the top rung, its decay branch included.
    """

    flops_per_token: float
    active_params: float
    total_params: float
    memory_bytes: float
    training_flops: float

    @classmethod
    def of(cls, cost: Cost, optimizer: str, batch_tokens: int, tokens: int) -> "KnownCosts":
        """The costs of a candidate.

        Args:
            cost: of its architecture.
            optimizer: "adamw" or "muon", whose own products are training FLOPs, too.
            batch_tokens: tokens in a training batch.
            tokens: that it trains on to the top rung, with the decay branch (`Rungs.whole_tokens`).
        """
        return cls(
            flops_per_token=cost.flops_per_token,
            active_params=cost.active_params,
            total_params=cost.total_params,
            memory_bytes=cost.training_bytes,
            training_flops=cost.planned_flops_per_token(optimizer, batch_tokens) * tokens,
        )


class CostWords(NamedTuple):
    """How a cost is shown.

    Attributes:
        words: in a sentence, after a number.
        axis: title of an axis.
        heading: of a table's column on a page.
        column: of a table in a terminal.
        unit: behind a number with an SI prefix.
    """

    words: str
    axis: str
    heading: str
    column: str
    unit: str = ""

    def value(self, amount: float) -> str:
        """An amount in words: "1.2M total parameters"."""
        return f"{short(amount, self.unit)} {self.words}"


COSTS = {
    "flops_per_token": CostWords(
        "FLOPs per token", "Compute: forward FLOPs per token", "FLOPs per token", "FLOPs/token"
    ),
    "active_params": CostWords("active parameters", "Active parameters", "Active params", "active"),
    "total_params": CostWords("total parameters", "Total parameters", "Total params", "params"),
    "memory_bytes": CostWords(
        "of memory to train", "Memory of a training step (bytes)", "Memory (bytes)", "memory", "B"
    ),
    "training_flops": CostWords(
        "training FLOPs to the top rung",
        "Planned training FLOPs to the top rung",
        "Planned training FLOPs",
        "planned FLOPs",
    ),
}
NAMES = (SCORE, *COSTS)


class Objectives(Frozen):
    """What a study trades off; written and stored as a list.

    Attributes:
        score: domain or task -> weight in the score; empty for the mean over domains.
        costs: names in `COSTS`, in the order of the study file.
    """

    score: dict[str, float]
    costs: tuple[str, ...]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, given: Any) -> Any:
        if isinstance(given, Objectives):
            return given
        if isinstance(given, str | bytes) or not isinstance(given, Sequence):
            raise ValueError(f"a list of score and one or two costs, got {given!r}")
        names = [_name(item) for item in given]
        for name in names:
            if name not in NAMES:
                raise ValueError(f"objectives are {', '.join(NAMES)}, got {name!r}{closest(name, NAMES)}")
        if len(set(names)) < len(names):
            raise ValueError(f"each objective is named once, got {names}")
        if SCORE not in names or not 1 < len(names) <= 1 + MOST_COSTS:
            raise ValueError(f"objectives are score and one or two costs, got {names}")
        score = given[names.index(SCORE)]
        return {
            "score": {} if score == SCORE else _weights(score[SCORE]),
            "costs": tuple(name for name in names if name != SCORE),
        }

    @model_serializer
    def _as_list(self) -> list[Any]:
        return [{SCORE: dict(self.score)} if self.score else SCORE, *self.costs]

    @property
    def names(self) -> tuple[str, ...]:
        """The score, then the costs."""
        return (SCORE, *self.costs)

    @property
    def maximise(self) -> tuple[bool, ...]:
        """For each of `names`, whether more is better."""
        return (True, *(False for _ in self.costs))

    @property
    def directions(self) -> tuple[str, ...]:
        """For each of `names`, Optuna's word."""
        return tuple("maximize" if more else "minimize" for more in self.maximise)

    def of(self, known: KnownCosts) -> tuple[float, ...]:
        """The costs that are objectives, in their order."""
        return tuple(float(getattr(known, name)) for name in self.costs)

    def weighted(self, suite: SuiteRecord) -> SuiteRecord:
        """A suite whose score is this one.

        Raises:
            StudyFileError: a weight is for neither a domain nor a task of the suite.
        """
        return suite.model_copy(update={"weights": task_weights(self.score, suite)}) if self.score else suite


DEFAULT = Objectives.model_construct(score={}, costs=("flops_per_token",))


def task_weights(score: Mapping[str, float], suite: SuiteRecord) -> dict[str, float]:
    """Task -> weight in a score, of sum 1; tasks without a weight are left out.

    Args:
        score: domain or task -> weight. The weight of a domain is divided evenly among its tasks; a name that
            is both is the domain.
        suite: the tasks.

    Raises:
        StudyFileError: a name is neither a domain nor a task of the suite.
    """
    domain_of = {task: suite.records[task].domain for task in suite.tasks}
    found = dict.fromkeys(suite.tasks, 0.0)
    for name, weight in score.items():
        members = [task for task in suite.tasks if domain_of[task] == name] or [name]
        if members == [name] and name not in found:
            known = {*suite.tasks, *domain_of.values()}
            raise StudyFileError(
                f"objectives.score: a domain or a task of suite '{suite.name}', got {name!r}"
                f"{nearest(name, known)}"
            )
        for task in members:
            found[task] += weight / len(members)
    total = sum(score.values())
    return {task: weight / total for task, weight in found.items() if weight}


def score_words(suite: SuiteRecord) -> str:
    """How a suite's score weighs its tasks: "mean over domains", "task digits", "weighted mean: ..."."""
    parts = _parts(suite)
    if not parts:
        return "mean over domains"
    if len(parts) == 1:
        return parts[0][0]
    return "weighted mean: " + ", ".join(f"{name} {weight:.0%}" for name, weight in parts)


def score_title(suite: SuiteRecord) -> str:
    """What a suite's score is a fraction of, for an axis: "fraction of the expert, task digits"."""
    parts = _parts(suite)
    if not parts:
        return "mean fraction of the expert"
    if len(parts) == 1:
        return f"fraction of the expert, {parts[0][0]}"
    return "weighted mean fraction of the expert"


def _parts(suite: SuiteRecord) -> list[tuple[str, float]]:
    """The domains and tasks of a suite's score, with their weights; empty for the plain mean over domains."""
    if not suite.weights:
        return [(f"task {suite.tasks[0]}", 1.0)] if len(suite.tasks) == 1 else []
    left = dict(suite.weights)
    parts: list[tuple[str, float]] = []
    for domain in dict.fromkeys(suite.records[task].domain for task in suite.tasks):
        members = [task for task in suite.tasks if suite.records[task].domain == domain]
        weights = {left.get(task, 0.0) for task in members}
        if len(members) > 1 and len(weights) == 1 and (share := weights.pop()):
            parts.append((f"domain {domain}", share * len(members)))
            for task in members:
                left.pop(task)
    return parts + [(f"task {task}", left[task]) for task in suite.tasks if task in left]


def _name(item: Any) -> Any:
    """The name of an objective of the list."""
    if not isinstance(item, Mapping):
        return item
    if len(item) != 1:
        raise ValueError(f"an objective is a name, or score with its weights, got {dict(item)!r}")
    (name,) = item
    if name in COSTS:
        raise ValueError(f"only score has weights, got {dict(item)!r}; write {name}")
    return name


def _weights(said: Any) -> dict[str, float]:
    """Weights of the score; a plain name has all of it."""
    if isinstance(said, str):
        return {said: 1.0}
    if not isinstance(said, Mapping) or not all(isinstance(name, str) for name in said):
        raise ValueError(f"score has a domain, a task, or weights of them, got {said!r}")
    weights = [number(weight) for weight in said.values()]
    if min(weights, default=0) < 0 or not max(weights, default=0) > 0:
        raise ValueError(f"weights of the score are at least 0 with one above it, got {dict(said)!r}")
    for name, weight in said.items():
        if weight and not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
            raise ValueError(
                f"a weight of the score is 0, or from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}, got {name}:"
                f" {weight!r}"
            )
    return {name: float(weight) for name, weight in said.items()}
