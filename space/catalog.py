"""The names, senses and frozen references of all tasks and suites: data, not code.

The data stands in `catalog.json` beside this file and comes from `python -m trainers.tasks.measure`.
Nothing here knows how a task is played.
"""

from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from space.errors import NotFoundError, TaskError, nearest

Split = Literal["train", "select", "report"]
Sense = Literal["text", "image", "audio", "discrete", "continuous"]


class Frozen(BaseModel):
    """A value: immutable, and refusing keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Reference(Frozen):
    """A score measured once and frozen, with what is needed to measure it again."""

    mean: float
    stderr: float = Field(ge=0)
    n: int = Field(ge=1)
    seed: int
    policy: str
    versions: dict[str, str]


class References(Frozen):
    """What 0 and 1 mean on one split: the floor and the expert, by the evaluator that scores candidates."""

    floor: Reference
    expert: Reference


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
                f" measure them: python -m trainers.tasks.measure --task {self.name}"
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
        encoders: patch encoder -> size of one flattened patch.
        patch_share: task -> encoder -> share of the task's tokens that are patches of that encoder.
        episodes: task -> held-out episodes that score a trial.
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
    encoders: dict[str, int]
    patch_share: dict[str, dict[str, float]]
    episodes: dict[str, int]
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

    def subset(self, suite: str, tasks: tuple[str, ...]) -> SuiteRecord:
        """A suite of some tasks, with the sequence settings of a suite that ships.

        Raises:
            NotFoundError: a task or the suite does not exist.
        """
        records = {task: self.task(task) for task in tasks}
        whole = self.suite(suite)
        missing = [task for task in tasks if task not in whole.tasks]
        if missing:
            raise NotFoundError(
                f"suite '{suite}' has no task '{missing[0]}'{nearest(missing[0], whole.tasks)}"
            )
        return whole.model_copy(
            update={"name": f"{suite}[{','.join(tasks)}]", "tasks": tasks, "records": records}
        )


@cache
def load_catalog() -> Catalog:
    """Read the catalog that ships with the package."""
    return Catalog.model_validate_json((files("space") / "catalog.json").read_text(encoding="utf-8"))
