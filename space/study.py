"""The study file: read, checked, and explained in one line where it is wrong."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, JsonValue, ValidationError, field_validator, model_validator

from space.catalog import load_catalog, local_catalog
from space.contract import Budget
from space.errors import NotFoundError, StudyFileError, nearest
from space.knobs import Real, Whole
from space.ranges import Limits, SearchSpace
from space.records import Frozen, SuiteRecord
from space.seams import ENGINES, SAMPLERS, checked_name

SCHEMA_VERSION = 1
DEFAULT_SUITE = "quick"
MOST_TOKENS = 10**15  # at a rung
MOST_CANDIDATES = 10**9
MOST_WORKERS = 4096  # on one machine
LONGEST_MINUTES = 1e7  # 19 years: clocks of operating systems end later
LONGEST_CONTEXT = 2**24
LARGEST_SEED = 2**31 - 1  # databases hold it in 32 bits with a sign


class Rungs(Frozen):
    """The geometric ladder of token budgets that candidates climb.

    Attributes:
        tokens: trunk tokens at each rung, rising.
        eta: of `eta` candidates at a rung, one is promoted.
        decay: tokens of the decay branch as a share of its rung.
        episodes: share of each task's evaluation episodes at each rung, the first ones, so that those of a
            lower rung are among those of a higher one; all of them everywhere where it is not given.
    """

    tokens: tuple[Annotated[Whole, Field(ge=1, le=MOST_TOKENS)], ...] = Field(min_length=1)
    eta: Real = Field(default=3, gt=1, le=1e6)
    decay: Real = Field(default=0.2, ge=0, le=1)
    episodes: tuple[Real, ...] = ()

    @field_validator("tokens")
    @classmethod
    def _rise(cls, tokens: tuple[int, ...]) -> tuple[int, ...]:
        if any(b <= a for a, b in pairwise(tokens)):
            raise ValueError(f"token budgets rise from rung to rung, got {list(tokens)}")
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

    def trial_tokens(self, rung: int) -> int:
        """Tokens that the trial at a rung trains on: its part of the trunk, and the decay branch."""
        budget = self.budget(rung)
        return budget.tokens - budget.start_tokens + budget.decay_tokens

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
    """How candidates are proposed.

    Attributes:
        sampler: a name in `space.seams.SAMPLERS`, or the path of a class: a sampler of the user's or any of
            Optuna's. Paths are kept as `package.module:Class`.
        sampler_args: arguments of its class.
        seed: seed of the sampler and of the trials.
    """

    sampler: str = "stratified"
    sampler_args: dict[str, JsonValue] = Field(default_factory=dict)
    seed: Whole = Field(default=0, ge=0)

    @field_validator("sampler")
    @classmethod
    def _is_a_sampler(cls, sampler: str) -> str:
        return checked_name("sampler", sampler, SAMPLERS)


class Stop(Frozen):
    """When a study ends: at the first of these that is reached."""

    candidates: Annotated[Whole, Field(ge=1, le=MOST_CANDIDATES)] | None = None
    training_flops: Annotated[Real, Field(gt=0)] | None = None
    wall_minutes: Annotated[Real, Field(gt=0, le=LONGEST_MINUTES)] | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.candidates is None and self.training_flops is None and self.wall_minutes is None:
            raise ValueError("a study ends: give candidates, training_flops or wall_minutes")
        return self


class StudyConfig(Frozen):
    """All that a study is: stored as JSON with it, so that every worker reads the same.

    Attributes:
        stall_minutes: longest time that a running trial may go without progress; its worker then exits.
        engine: a name in `space.seams.ENGINES`, or `package.module:Class`.
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
    engine: str = "local"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trials_per_gpu: Whole = Field(default=1, ge=1, le=MOST_WORKERS)
    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = "32-true"
    batch_tokens: Annotated[Whole, Field(ge=8, le=MOST_TOKENS)] | None = None
    context: Annotated[Whole, Field(ge=8, le=LONGEST_CONTEXT)] | None = None
    checkpoint_seconds: Real = Field(default=30, gt=0, le=60 * LONGEST_MINUTES)
    stall_minutes: Real = Field(default=30, gt=0, le=LONGEST_MINUTES)
    keep: Literal["all", "front"] = "all"
    logger: str = "none"
    trainer: str | None = None

    @field_validator("engine")
    @classmethod
    def _is_an_engine(cls, engine: str) -> str:
        return checked_name("engine", engine, ENGINES)

    @field_validator("workers", mode="before")
    @classmethod
    def _a_number_of_workers(cls, workers: Any) -> Any:
        if workers == "auto":
            return workers
        if isinstance(workers, bool | str) or not isinstance(workers, int | float) or not workers >= 1:
            raise ValueError(f"workers is 'auto' or at least 1, got {workers!r}")
        if workers > MOST_WORKERS or workers != int(workers):
            raise ValueError(
                f"workers is 'auto' or a whole number of at most {MOST_WORKERS}, got {workers!r}"
            )
        return int(workers)

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
        if self.search.seed > LARGEST_SEED:  # stored ones above it are still read
            raise StudyFileError(f"search.seed: at most {LARGEST_SEED}, got {self.search.seed}")
        if suite.batch_tokens < suite.context:
            raise StudyFileError(
                f"batch_tokens: a batch holds at least one context of {suite.context} tokens,"
                f" got {suite.batch_tokens}"
            )
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
    first = min(error.errors(), key=lambda e: (e["type"] != "extra_forbidden", -len(e["loc"])))
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
    return f"{where}: {rule[:1].lower()}{rule[1:]}, got {value!r}"


def _is_kind(part: int | str) -> bool:
    """Whether a part of an error's path is the form of a knob, not a key."""
    return part in ("Between", "Choices")


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
