"""The study file: read, checked, and explained in one line where it is wrong."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from space.catalog import Frozen, SuiteRecord, load_catalog, local_catalog
from space.errors import NotFoundError, StudyFileError, nearest
from space.ranges import Limits, SearchSpace
from space.scores import Budget

SCHEMA_VERSION = 1
SAMPLERS = ("stratified", "random", "tpe", "nsga2", "gp")
DEFAULT_SUITE = "quick"


class Rungs(Frozen):
    """The geometric ladder of token budgets that candidates climb.

    Attributes:
        tokens: trunk tokens at each rung, rising.
        eta: of `eta` candidates at a rung, one is promoted.
        decay: tokens of the decay branch as a share of its rung.
        episodes: share of each task's evaluation episodes at each rung, the first ones, so that those of a
            lower rung are among those of a higher one; all of them everywhere where it is not given.
    """

    tokens: tuple[int, ...] = Field(min_length=1)
    eta: float = Field(default=3, gt=1)
    decay: float = Field(default=0.2, ge=0, le=1)
    episodes: tuple[float, ...] = ()

    @field_validator("tokens")
    @classmethod
    def _rise(cls, tokens: tuple[int, ...]) -> tuple[int, ...]:
        if tokens[0] <= 0 or any(b <= a for a, b in pairwise(tokens)):
            raise ValueError(f"token budgets are above 0 and rise from rung to rung, got {list(tokens)}")
        return tokens

    @field_validator("episodes")
    @classmethod
    def _shares(cls, episodes: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share <= 1 for share in episodes) or any(b < a for a, b in pairwise(episodes)):
            raise ValueError(
                f"shares of the episodes lie in (0, 1] and never fall from rung to rung, got {[*episodes]}"
            )
        return episodes

    @model_validator(mode="after")
    def _one_share_a_rung(self) -> Self:
        if self.episodes and len(self.episodes) != len(self.tokens):
            raise ValueError(
                f"episodes: one share for each of the {len(self.tokens)} rungs, got {len(self.episodes)}"
            )
        return self

    def budget(self, rung: int, **other: Any) -> Budget:
        """What the trial that ends at a rung may spend."""
        return Budget(
            start_tokens=self.tokens[rung - 1] if rung else 0,
            tokens=self.tokens[rung],
            decay_tokens=round(self.tokens[rung] * self.decay),
            rung=rung,
            episodes=self.episodes[rung] if self.episodes else 1.0,
            **other,
        )


class Search(Frozen):
    """How candidates are proposed."""

    sampler: Literal["stratified", "random", "tpe", "nsga2", "gp"] = "stratified"
    seed: int = Field(default=0, ge=0)


class Stop(Frozen):
    """When a study ends: at the first of these that is reached."""

    candidates: int | None = Field(default=None, ge=1)
    training_flops: float | None = Field(default=None, gt=0)
    wall_minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.candidates is None and self.training_flops is None and self.wall_minutes is None:
            raise ValueError("a study ends: give candidates, training_flops or wall_minutes")
        return self


class StudyConfig(Frozen):
    """All that a study is: stored as JSON with it, so that every worker reads the same.

    Attributes:
        stall_minutes: longest time that a running trial may go without progress; its worker then exits.
        keep: "all" keeps the weights of every scored trial, "front" only those of candidates on the front.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    study: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    suite: str | tuple[str, ...] = DEFAULT_SUITE
    space: SearchSpace = SearchSpace()
    limits: Limits = Limits()
    rungs: Rungs
    search: Search = Search()
    stop: Stop
    workers: Literal["auto"] | int = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trials_per_gpu: int = Field(default=1, ge=1)
    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = "32-true"
    batch_tokens: int | None = Field(default=None, ge=8)
    context: int | None = Field(default=None, ge=8)
    checkpoint_seconds: float = Field(default=30, gt=0)
    stall_minutes: float = Field(default=30, gt=0)
    keep: Literal["all", "front"] = "all"
    logger: str = "none"
    trainer: str | None = None

    @field_validator("workers")
    @classmethod
    def _at_least_one_worker(cls, workers: str | int) -> str | int:
        if isinstance(workers, int) and workers < 1:
            raise ValueError(f"workers is 'auto' or at least 1, got {workers}")
        return workers

    def suite_record(self) -> SuiteRecord:
        """The tasks and sequence settings that this study names, with their references frozen in.

        Raises:
            StudyFileError: a task or a suite does not exist.
        """
        catalog = load_catalog()
        try:
            if isinstance(self.suite, str) and ":" not in self.suite:
                suite = catalog.suite(self.suite)
            else:
                tasks = (self.suite,) if isinstance(self.suite, str) else self.suite
                suite = catalog.of_tasks(tasks, local_catalog())
        except NotFoundError as error:
            raise StudyFileError(f"suite: {error}") from None
        changes = {"batch_tokens": self.batch_tokens, "context": self.context}
        return suite.model_copy(update={key: value for key, value in changes.items() if value is not None})

    def check(self) -> SuiteRecord:
        """Check what no single key can: the suite, the prior and the limits against the space.

        Raises:
            StudyFileError: something does not fit.
        """
        suite = self.suite_record()
        self.space.mixture.prior_weights(suite)
        self.space.feasible(suite, self.limits)
        if self.rungs.tokens[0] < suite.batch_tokens:
            raise StudyFileError(
                f"rungs.tokens: the first rung holds at least one batch of {suite.batch_tokens} tokens,"
                f" got {self.rungs.tokens[0]}"
            )
        for task in suite.records.values():
            task.checked("select")
        return suite


def shipped_studies() -> dict[str, Path]:
    """Name -> file of the study files that ship."""
    folder = Path(__file__).resolve().parent.parent / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_study(spec: str) -> StudyConfig:
    """Read a study file by its path, or one that ships by its name.

    Raises:
        NotFoundError: there is no such file.
        StudyFileError: it breaks a rule; the message names the key, the rule, the value and the nearest name.
    """
    shipped = shipped_studies()
    path = shipped.get(spec, Path(spec))
    if not path.is_file():
        raise NotFoundError(f"no study file '{spec}'{nearest(spec, shipped)}")
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StudyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyFileError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise StudyFileError(f"{path.name}: a study file is a mapping of keys, got {type(data).__name__}")
    try:
        config = StudyConfig.model_validate(data)
        config.check()
    except ValidationError as error:
        raise StudyFileError(f"{path.name}: {explain(error, StudyConfig)}") from None
    except StudyFileError as error:
        raise StudyFileError(f"{path.name}: {error}") from None
    return config


class _StudyLoader(yaml.SafeLoader):
    """YAML in which a key stands once, and 1e6 is a number as it is everywhere but in YAML 1.1."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            problem = f"the key '{twice.pop()}' stands twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


_StudyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first error of a validation as one line: path of the key, rule, value, nearest name."""
    first = min(_of_likeliest_kind(error), key=lambda e: (e["type"] != "extra_forbidden", -len(e["loc"])))
    path = [str(part) for part in first["loc"] if not _is_kind(part)]
    where = ".".join(path) or "study file"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(path[-1], _keys(model, path[:-1]))}"
    if first["type"] == "missing":
        return f"{where}: this key is needed"
    rule = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    if first["type"] == "value_error" and "got" in rule:
        return f"{where}: {rule}"
    hint = nearest(value, SAMPLERS) if path[-1:] == ["sampler"] else ""
    return f"{where}: {rule[:1].lower()}{rule[1:]}, got {value!r}{hint}"


def _of_likeliest_kind(error: ValidationError) -> list[ErrorDetails]:
    """All errors, but of a range only those of the kind (`Between` or `Choices`) that it comes closest to."""

    def kind(detail: ErrorDetails) -> tuple[int | str, ...]:
        loc = detail["loc"]
        return next((loc[: i + 1] for i, part in enumerate(loc) if _is_kind(part)), ())

    counts = Counter(kind(detail) for detail in error.errors())
    least = {name: min(n for other, n in counts.items() if other[:-1] == name[:-1]) for name in counts}
    return [detail for detail in error.errors() if counts[kind(detail)] == least[kind(detail)]]


def _is_kind(part: int | str) -> bool:
    """Whether a part of an error's path is pydantic's name of a kind of range, not a key."""
    return isinstance(part, str) and ("Between" in part or "Choices" in part)


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Keys that are allowed at a path of nested models."""
    for part in path:
        field = model.model_fields.get(part)
        kinds = [] if field is None else _models(field.annotation)
        if not kinds:
            return []
        if len(kinds) > 1:
            return sorted({key for kind in kinds for key in kind.model_fields})
        model = kinds[0]
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in _models(part)]
