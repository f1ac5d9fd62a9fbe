"""The names, senses and frozen references of all tasks and suites: data, not code.

What ships stands in `catalog.json` beside this file; what a user measures, in `pathfront-tasks.json` in the
working folder (`PATHFRONT_TASKS` moves it). Both come from `pathfront tasks measure`. Nothing here knows how
a task is played.
"""

import os
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from space.errors import NotFoundError, TaskError, nearest
from space.machine import check_writable, folder_error

LOCAL_FILE = "pathfront-tasks.json"
LOCAL_ENVIRONMENT = "PATHFRONT_TASKS"
LOCAL_WHAT = "references of your own tasks"
OWN_SETTINGS = "gato"  # the suite whose sequence settings tasks of users share

Split = Literal["train", "select", "report"]
Sense = Literal["text", "image", "audio", "discrete", "continuous"]


class Frozen(BaseModel):
    """A value: immutable, and refusing infinite numbers and keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Reference(Frozen):
    """A score measured once and frozen, with what is needed to measure it again."""

    mean: float
    stderr: float = Field(ge=0)
    n: int = Field(ge=1)
    seed: int
    policy: str
    versions: dict[str, str]


class Baseline(Frozen):
    """What another policy reaches on the same episodes; `n` of them, the first ones."""

    mean: float
    stderr: float = Field(ge=0)
    n: int = Field(ge=1)


class References(Frozen):
    """What 0 and 1 mean on one split: the floor and the expert, by the evaluator that scores candidates.

    Attributes:
        floor: the best policy that looks at nothing.
        expert: whoever demonstrates, or a better specialist.
        baselines: all policies that look at nothing, and the nearest expert example ("retrieval").
    """

    floor: Reference
    expert: Reference
    baselines: dict[str, Baseline] = Field(default_factory=dict)


class TaskRecord(Frozen):
    """What is known of a task without importing it."""

    name: str
    family: str
    domain: str
    modality: Sense
    metric: str
    unit: str
    variant: bool = False
    memorisable: bool = False
    lower_is_better: bool = False
    references: dict[Split, References]

    def fraction(self, value: float, split: Split) -> float:
        """Scale a raw value so that the floor is 0 and the expert is 1 (Gato's normalisation, unclipped).

        Raises:
            TaskError: the expert does not clear its floor by two standard errors.
        """
        floor, expert = self.checked(split)
        return (value - floor.mean) / (expert.mean - floor.mean)

    def checked(self, split: Split) -> tuple[Reference, Reference]:
        """Floor and expert of a split.

        Raises:
            TaskError: the split was never measured, or the expert does not clear its floor.
        """
        if split not in self.references:
            raise TaskError(
                f"task '{self.name}' has no references on the {split} episodes;"
                f" measure them: pathfront tasks measure {self.name}"
            )
        floor, expert = self.references[split].floor, self.references[split].expert
        gain = (floor.mean - expert.mean) if self.lower_is_better else (expert.mean - floor.mean)
        noise = (floor.stderr**2 + expert.stderr**2) ** 0.5
        if gain <= 2 * noise or gain <= 0:
            raise TaskError(
                f"task '{self.name}': an expert must clear its floor by two standard errors; on the {split}"
                f" episodes expert {expert.mean:g} against floor {floor.mean:g}, standard error {noise:g}"
            )
        return floor, expert


class SuiteRecord(Frozen):
    """A set of tasks and everything about their sequences that every candidate shares.

    Attributes:
        context: tokens in a training window.
        batch_tokens: tokens in a training batch.
        text_vocab: SentencePiece pieces.
        tokenizer: name of the frozen SentencePiece model.
        bins: bins of a continuous value.
        discrete: largest discrete value plus one.
        prompt_share: share of the training windows that begin with a demonstration of their task.
        prompted: whether evaluation begins each episode with a demonstration, too.
        encoders: patch encoder -> size of one flattened patch.
        patch_share: task -> encoder -> share of the task's tokens that are patches of that encoder.
        episodes: task -> held-out episodes that score a trial.
        tokens: task -> training tokens that its expert episodes have.
        lengths: task -> tokens of an expert episode, the mean of the first 50.
        records: task -> what is known of it; filled in from the catalog, and stored with a study, so that a
            study's scores keep their meaning when the catalog moves on.
    """

    name: str
    tasks: tuple[str, ...] = Field(min_length=1)
    context: int = Field(ge=8)
    batch_tokens: int = Field(ge=8)
    text_vocab: int = Field(ge=0)
    tokenizer: str = "python-docs-512"
    bins: int = Field(ge=2)
    discrete: int = Field(ge=2)
    prompt_share: float = Field(default=0.0, ge=0.0, le=1.0)
    prompted: bool = False
    encoders: dict[str, int]
    patch_share: dict[str, dict[str, float]]
    episodes: dict[str, int]
    tokens: dict[str, int] = Field(default_factory=dict)
    lengths: dict[str, float] = Field(default_factory=dict)
    records: dict[str, TaskRecord] = Field(default_factory=dict)

    @property
    def vocab_size(self) -> int:
        """Text, bins, discrete values, the separator and one placeholder for each patch encoder."""
        return self.text_vocab + self.bins + self.discrete + 1 + len(self.encoders)

    def patch_mean(self, encoder: str) -> float:
        """Patches of an encoder per input token under the uniform mixture."""
        return sum(self.patch_share.get(t, {}).get(encoder, 0.0) for t in self.tasks) / len(self.tasks)


class Catalog(Frozen):
    """All tasks and suites that ship."""

    tasks: dict[str, TaskRecord]
    suites: dict[str, SuiteRecord]

    def task(self, name: str) -> TaskRecord:
        """Look a task up.

        Raises:
            NotFoundError: no task bears that name.
        """
        if name not in self.tasks:
            raise NotFoundError(f"no task is called '{name}'{nearest(name, self.tasks)}")
        return self.tasks[name]

    def suite(self, name: str) -> SuiteRecord:
        """Look a suite up.

        Raises:
            NotFoundError: no suite bears that name.
        """
        if name not in self.suites:
            raise NotFoundError(f"no suite is called '{name}'{nearest(name, self.suites)}")
        suite = self.suites[name]
        return suite.model_copy(update={"records": {task: self.task(task) for task in suite.tasks}})

    def of_tasks(self, tasks: tuple[str, ...], own: "Mapping[str, Measured]") -> SuiteRecord:
        """A suite of some tasks, with the sequence settings of the first suite that has them all.

        Args:
            tasks: their names.
            own: tasks of the user, which go with the settings of the largest suite.

        Raises:
            NotFoundError: a task is neither in the catalog nor measured by the user.
        """
        for name in tasks:
            if name not in self.tasks and name not in own:
                raise NotFoundError(_unknown(name, [*self.tasks, *own]))
        mine = {name: own[name] for name in tasks if name not in self.tasks}
        shipped = [name for name in tasks if name not in mine]
        fitting = [s for s in self.suites.values() if not mine and set(shipped) <= set(s.tasks)]
        whole = fitting[0] if fitting else self.suites[OWN_SETTINGS]
        parts = {
            key: {name: getattr(whole, key)[name] for name in shipped if name in getattr(whole, key)}
            for key in ("patch_share", "episodes", "tokens", "lengths")
        }
        for name, task in mine.items():
            parts["patch_share"][name], parts["episodes"][name] = task.patch_share, task.episodes
            parts["tokens"][name], parts["lengths"][name] = task.tokens, task.length
        records = {name: mine[name].record if name in mine else self.task(name) for name in tasks}
        named = f"{whole.name}[{','.join(tasks)}]"
        return whole.model_copy(update={"name": named, "tasks": tasks, "records": records} | parts)


class Measured(Frozen):
    """A task of the user, measured.

    Attributes:
        record: what is known of it.
        patch_share: encoder -> share of its tokens that are patches, under the settings of `OWN_SETTINGS`.
        episodes: held-out episodes that score a trial.
        tokens: training tokens that its expert episodes have.
        length: tokens of an expert episode, the mean of the first 50.
    """

    record: TaskRecord
    patch_share: dict[str, float]
    episodes: int
    tokens: int
    length: float


def local_path() -> Path:
    """The file of the user's own tasks, whether it exists or not."""
    return Path(os.environ.get(LOCAL_ENVIRONMENT) or LOCAL_FILE)


def local_catalog() -> dict[str, Measured]:
    """The user's own tasks by name; none where the file does not exist.

    Raises:
        TaskError: the file is not one that `pathfront tasks measure` wrote.
    """
    path = local_path()
    if not path.is_file():
        return {}
    try:
        return _LOCAL.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise TaskError(
            f"'{path}' holds tasks as `pathfront tasks measure` writes them, and at {where}: {first['msg']}"
        ) from None


def write_local(measured: Measured) -> Path:
    """Put a task among the user's own, in place of an older one of its name; returns the file.

    Raises:
        MachineError: the file cannot be written.
    """
    return _keep_local(local_catalog() | {measured.record.name: measured})


def check_local() -> None:
    """Look whether the user's own tasks can be read and written, before one is measured for minutes.

    Raises:
        TaskError: the file is not one that `pathfront tasks measure` wrote.
        MachineError: its folder cannot be written, or the disk is full.
    """
    local_catalog()
    check_writable(local_path().absolute().parent, LOCAL_WHAT, LOCAL_ENVIRONMENT)


def forget_local(name: str) -> None:
    """Take a task from the user's own, whose references do not hold any more, if it is there.

    Raises:
        MachineError: the file cannot be written.
    """
    known = local_catalog()
    if known.pop(name, None) is not None:
        _keep_local(known)


def _keep_local(tasks: "Mapping[str, Measured]") -> Path:
    path = local_path()
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(_LOCAL.dump_json(dict(sorted(tasks.items())), indent=2) + b"\n")
        os.replace(aside, path)
    except OSError as error:
        raise folder_error(error, path.absolute().parent, LOCAL_WHAT, LOCAL_ENVIRONMENT) from error
    return path


_LOCAL = TypeAdapter(dict[str, Measured])


def _unknown(name: str, known: list[str]) -> str:
    if ":" in name:
        return f"task '{name}' has no references yet; measure them: pathfront tasks measure {name}"
    return f"no task is called '{name}'{nearest(name, known)}"


@cache
def load_catalog() -> Catalog:
    """Read the catalog that ships with the package."""
    return Catalog.model_validate_json((files("space") / "catalog.json").read_text(encoding="utf-8"))
