"""Which task mixtures a study searches: the prior, the floor, the parameters, and the cap on repetition.

A mixture has one log-ratio for each group of tasks: a task alone, or a domain. Its shares are

    floor + (1 - tasks * floor) * softmax(log prior + log-ratio of the task's group)

so a domain's share is divided among its tasks in proportion to the prior. A cap then bounds how often a
task's data are repeated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from space.documented import documented
from space.errors import StudyFileError, nearest
from space.knobs import Real
from space.mixture import TaskMixture, share_caps
from space.records import Frozen, SuiteRecord
from space.words import counted

MIXTURE_PREFIX = "mixture."
MANY_TASKS = 12  # above it, `by: auto` searches by domain

_WEIGHTS = TypeAdapter(dict[str, Annotated[Real, Field(ge=0, le=1e9)]])


class MixtureSpace(Frozen):
    """The task mixtures that a study searches."""

    prior: Literal["uniform"] | dict[str, float] = documented(
        "uniform",
        "mixture that the search is centred on: uniform, or weights by task or by domain, whose weight is"
        " divided equally among its tasks",
        type="word or weights",
        allowed="uniform, or weights of at least 0 with one above 0",
    )
    fixed: bool = documented(
        False, "whether every candidate has the prior itself", type="true or false", allowed="true or false"
    )
    by: Literal["task", "domain", "auto"] = documented(
        "auto",
        "what has a log-ratio of its own: each task, or each domain, whose share is divided among its tasks"
        f" in proportion to the prior; auto is domain for more than {MANY_TASKS} tasks of several domains",
        type="word",
        allowed="task, domain or auto",
    )
    floor: Real = documented(
        0.02,
        "least share of a task",
        type="number",
        unit="of the input tokens",
        allowed="0 to below 1 / number of tasks",
        ge=0,
        lt=1,
    )
    spread: Real = documented(
        2.5,
        "largest absolute log-ratio of a task's share to its prior, before the floor",
        type="number",
        unit="nats",
        allowed="above 0, at most 10",
        gt=0,
        le=10,
    )
    epochs: Annotated[Real, Field(gt=0)] | None = documented(
        None,
        "most passes over a task's training data in a candidate's whole training, to the top rung with its"
        " decay branch; what a share exceeds is divided among the other tasks in proportion",
        type="number",
        unit="passes",
        allowed="above 0",
    )

    @model_validator(mode="before")
    @classmethod
    def _older_studies_search_by_task(cls, data: Any, info: ValidationInfo) -> Any:
        stored = bool(info.context and info.context.get("stored"))
        return {"by": "task", **data} if stored and isinstance(data, Mapping) else data

    @field_validator("prior", mode="before")
    @classmethod
    def _weights(cls, prior: Any) -> Any:
        if not isinstance(prior, Mapping):
            return prior
        weights = _WEIGHTS.validate_python(dict(prior))
        if not sum(weights.values()) > 0:
            raise ValueError(f"at least one weight is above 0, got {dict(prior)}")
        return weights

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
        domains = _domains(suite)
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

    def groups(self, suite: SuiteRecord) -> "Groups":
        """The groups of tasks that have one log-ratio each: tasks, or domains."""
        alone = Groups(suite.tasks, {task: [task] for task in suite.tasks})
        many = self.by == "domain" or (self.by == "auto" and len(suite.tasks) > MANY_TASKS)
        if self.fixed or not many or len(suite.tasks) == 1:
            return alone
        domains = _domains(suite)
        return alone if self.by == "auto" and len(domains) == 1 else Groups(suite.tasks, domains)

    def parameters(self, suite: SuiteRecord) -> list[str]:
        """Names of the groups whose log-ratios are searched; none if there is one mixture."""
        names = self.groups(suite).names
        return [] if self.fixed or len(names) == 1 else list(names)

    def ratios_of_uniform(self, suite: SuiteRecord) -> dict[str, float]:
        """Group -> log-ratio that gives each group its share of the uniform mixture; 0 on average."""
        prior, groups = self.prior_weights(suite), self.groups(suite).members
        weights = {name: sum(prior[task] for task in of) for name, of in groups.items()}
        logits = {name: np.log(len(of)) - np.log(max(weights[name], 1e-9)) for name, of in groups.items()}
        centre = float(np.mean(list(logits.values())))
        return {name: float(logit - centre) for name, logit in logits.items()}

    def shares(self, suite: SuiteRecord, tokens: int | None) -> "Shares":
        """How log-ratios become shares of the suite's tasks.

        Args:
            suite: the tasks, and the tokens of their training data.
            tokens: input tokens of a candidate's whole training; needed only where `epochs` is given.

        Raises:
            StudyFileError: the prior, the floor or the cap does not fit the suite.
        """
        prior, caps = self.prior_weights(suite), None
        if self.epochs is not None:
            if tokens is None:
                raise ValueError("a cap on repetition needs the tokens of a whole training")
            caps = share_caps(self.epochs, suite, tokens, prior, self.floor)
        return Shares(suite.tasks, self.groups(suite), prior, self.floor, caps)

    def check(self, suite: SuiteRecord, tokens: int) -> None:
        """Check that a suite and a whole training fit this space.

        Raises:
            StudyFileError: they do not; the message names the key.
        """
        self.shares(suite, tokens)
        names = self.groups(suite).names
        if not self.fixed and len(names) == 1 < len(suite.tasks):
            raise StudyFileError(
                f"space.mixture.by: a search by domain needs tasks of two domains, and all"
                f" {len(suite.tasks)} tasks are of '{names[0]}'"
            )


@dataclass(frozen=True)
class Groups:
    """The groups of tasks whose shares change together.

    Attributes:
        tasks: names, in the order of the suite.
        members: group -> its tasks.
    """

    tasks: tuple[str, ...]
    members: Mapping[str, Sequence[str]]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(self.members)

    @cached_property
    def kind(self) -> str:
        """What a group is: a task, or a domain."""
        return "task" if self.names == self.tasks else "domain"

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of tasks in each group, (groups,)."""
        return np.array([len(of) for of in self.members.values()])

    @cached_property
    def of(self) -> np.ndarray:
        """Index of the group of each task, (tasks,)."""
        numbers = {task: n for n, of in enumerate(self.members.values()) for task in of}
        return np.array([numbers[task] for task in self.tasks])

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the tasks of each group: (points, tasks) to (points, groups)."""
        if len(self.members) == len(self.tasks):
            return values
        return values @ (self.of[:, None] == np.arange(len(self.members)))

    def to_tasks(self, values: np.ndarray) -> np.ndarray:
        """Each task's value of its group: (points, groups) to (points, tasks).

        An index would change the order in memory, and with it the last bits of later sums.
        """
        return values if len(self.members) == len(self.tasks) else np.ascontiguousarray(values[:, self.of])


@dataclass(frozen=True)
class Shares:
    """The mixtures of a space over the tasks of a suite.

    Attributes:
        tasks: names, in the order of the suite.
        groups: which tasks have a log-ratio in common.
        prior: task -> share.
        floor: least share of a task.
        caps: (tasks,) largest shares; None without a cap.
    """

    tasks: tuple[str, ...]
    groups: Groups
    prior: Mapping[str, float]
    floor: float
    caps: np.ndarray | None

    def mixture(self, params: Mapping[str, Any]) -> TaskMixture:
        """The mixture of parameters; groups without one have the log-ratio 0."""
        ratios = {
            task: float(params.get(MIXTURE_PREFIX + group, 0.0))
            for group, members in self.groups.members.items()
            for task in members
        }
        logits = {task: ratios[task] for task in self.tasks}
        return TaskMixture.from_logits(logits, self.prior, self.floor, self.caps)

    @cached_property
    def above_cap(self) -> list[str]:
        """Tasks whose share of the uniform mixture is above their cap."""
        if self.caps is None:
            return []
        return [task for task, cap in zip(self.tasks, self.caps, strict=True) if 1 / len(self.tasks) > cap]


def _domains(suite: SuiteRecord) -> dict[str, list[str]]:
    domains: dict[str, list[str]] = {}
    for task in suite.tasks:
        domains.setdefault(suite.records[task].domain, []).append(task)
    return domains
