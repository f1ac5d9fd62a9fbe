"""The study file: its keys, and how it is read and checked."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from space.catalog import load_catalog, local_catalog
from space.confirm import Confirm
from space.contract import Budget, Strategy
from space.cost import Cost
from space.errors import NotFoundError, StudyFileError, nearest
from space.images import with_images
from space.knobs import Real, Whole
from space.knowledge import Prior, Warm, check_priors, prior_of
from space.objectives import DEFAULT, KnownCosts, Objectives
from space.parsing import parse, read_yaml
from space.ranges import Limits, SearchSpace
from space.records import Frozen, ImageSetting, SoundSetting, Split, SuiteRecord
from space.shipped import ENGINES, PROMOTIONS, SAMPLERS, checked_name
from space.sounds import with_sounds
from space.start import StartPoint, check_start, read_given
from space.tokenizer import TokenizerConfig, with_placed_file

SCHEMA_VERSION = 1
DEFAULT_SUITE = "quick"
MOST_PARTS = 1024  # of a batch
MOST_TOKENS = 10**15  # at a rung
MOST_CANDIDATES = 10**9
MOST_WORKERS = 4096  # on one machine
MOST_DEVICES, MOST_LOADERS = 64, 64  # of one trial, of one device
LONGEST_MINUTES = 1e7  # 19 years: any system clock can represent it
LONGEST_CONTEXT = 2**24
LARGEST_SEED = 2**31 - 1  # signed 32-bit integer columns hold it


class Rungs(Frozen):
    """The token budgets (rungs) at which candidates are scored and promoted.

    Attributes:
        tokens: trunk tokens at each rung, increasing.
        eta: one of `eta` candidates at a rung is promoted to the next; with promotion by gain more may be.
        decay: tokens of the decay branch as a share of its rung's tokens.
        episodes: share of each task's evaluation episodes that is used at each rung. A rung uses the first
            episodes, so the episodes of a lower rung are a subset of those of a higher one. Empty: all
            episodes at every rung.
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
        """Tokens that the trial at a rung trains on: its part of the trunk and its decay branch."""
        budget = self.budget(rung)
        return budget.tokens - budget.start_tokens + budget.decay_tokens

    def trained_tokens(self, rung: int, split: Split) -> int:
        """Tokens that the trial at a rung trains on; a confirmation ("report") begins at the first token."""
        return self.trial_tokens(rung) if split == "select" else self.with_decay(self.tokens[rung])

    @property
    def whole_tokens(self) -> int:
        """Tokens that a candidate is trained on to the top rung, with its decay branch."""
        return self.with_decay(self.tokens[-1])

    def with_decay(self, tokens: int) -> int:
        """Tokens of a rung together with those of its decay branch."""
        return round(tokens * (1 + self.decay))

    def budget(self, rung: int, **other: Any) -> Budget:
        """The budget of the trial that ends at a rung.

        Args:
            rung: index of the rung.
            other: further fields of the budget.
        """
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
        sampler: a name in `space.shipped.SAMPLERS`, or the path of a class: a sampler of the user's or any of
            Optuna's. Paths are kept as `package.module:Class`.
        sampler_args: arguments of its class.
        seed: seed of the sampler and of the trials.
        promotion: which candidates are promoted to the next rung. "gain" promotes one in `rungs.eta`, in the
            order of the expected gain of the front, and without a limit on candidates others that gain more
            than a new one; "rank" one in `rungs.eta`, by non-dominated rank; "all" every candidate that has
            a score; `package.module:function`, one in `rungs.eta` in the order of that function.
        repeats: share of the candidates that are trained again with another seed, at each of their rungs.
    """

    sampler: str = "pathfront"
    sampler_args: dict[str, JsonValue] = Field(default_factory=dict)
    seed: Whole = Field(default=0, ge=0)
    promotion: str = "gain"
    repeats: Real = Field(default=0, ge=0, le=1)

    @field_validator("sampler")
    @classmethod
    def _is_a_sampler(cls, sampler: str) -> str:
        return checked_name("sampler", sampler, SAMPLERS)

    @field_validator("promotion")
    @classmethod
    def _is_an_order(cls, promotion: str) -> str:
        return checked_name("promotion", promotion, PROMOTIONS, of="function")


class Stop(Frozen):
    """When a study ends: when the first of these limits is reached.

    Attributes:
        candidates: candidates that are proposed.
        training_flops: training FLOPs of all trials.
        wall_minutes: minutes with a live worker since the latest launch.
        confirm: the candidates to train again with fresh seeds before the study ends; None confirms none.
    """

    candidates: Annotated[Whole, Field(ge=1, le=MOST_CANDIDATES)] | None = None
    training_flops: Annotated[Real, Field(gt=0)] | None = None
    wall_minutes: Annotated[Real, Field(gt=0, le=LONGEST_MINUTES)] | None = None
    confirm: Confirm | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.candidates is None and self.training_flops is None and self.wall_minutes is None:
            raise ValueError("a study ends: give candidates, training_flops or wall_minutes")
        return self


class StudyConfig(Frozen):
    """The content of a study file. It is stored as JSON with the study, so that all workers use the same.

    Attributes:
        study: name of the study, unique in its database.
        suite: name of a suite, a list of tasks, or a task's `package.module:Class`.
        workers: trials that run at the same time; "auto" fits the machine.
        devices_per_trial: that train one candidate together, each with its share of every batch.
        strategy: "ddp": each device holds all weights; "fsdp": it holds its share of them, of the gradients
            and of the optimizer's state.
        loaders: processes for each device that assemble batches ahead; 0 leaves it to the training process.
        compile: whether each candidate's layers are compiled before its training.
        batch_tokens: tokens in a training batch; None uses the suite's.
        accumulate: parts of a batch that a device processes one after another.
        checkpoint_activations: whether only the inputs of layers are kept for the backward pass, which
            computes the layers again.
        context: tokens in a training window; None uses the suite's.
        tokenizer: of the text; None uses the suite's.
        image: how images of the user's data sets are seen; None shows their thumbnails.
        checkpoint_seconds: longest time between two checkpoints of a trial.
        stall_minutes: longest time that a running trial may go without progress; its worker then exits.
        engine: a name in `space.shipped.ENGINES`, or `package.module:Class`.
        keep: "all" keeps the weights of every scored trial, "front" only those of candidates on the front.
        logger: "none", "csv", "tensorboard", or the path of a Lightning logger's class.
        trainer: `package.module:function` that replaces `train_candidate`; None uses Pathfront's.
        start: candidates to try first, each with the knobs and the mixture that are given; the rest is drawn.
        priors: knob, or `mixture.TASK` -> where its best values are expected.
        warm: an earlier study whose scores are a prior.
        objectives: the score, and the one or two costs that it is traded off against.
        threshold: candidates that score less are of no interest: not on the front, and no gain of it.
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
    devices_per_trial: Whole = Field(default=1, ge=1, le=MOST_DEVICES)
    loaders: Whole = Field(default=0, ge=0, le=MOST_LOADERS)
    strategy: Strategy = "ddp"
    compile: bool = False
    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = "32-true"
    batch_tokens: Annotated[Whole, Field(ge=8, le=MOST_TOKENS)] | None = None
    accumulate: Whole = Field(default=1, ge=1, le=MOST_PARTS)
    checkpoint_activations: bool = False
    context: Annotated[Whole, Field(ge=8, le=LONGEST_CONTEXT)] | None = None
    tokenizer: TokenizerConfig | None = None
    image: ImageSetting | None = None
    sound: SoundSetting | None = None
    checkpoint_seconds: Real = Field(default=30, gt=0, le=60 * LONGEST_MINUTES)
    stall_minutes: Real = Field(default=30, gt=0, le=LONGEST_MINUTES)
    keep: Literal["all", "front"] = "all"
    logger: str = "none"
    trainer: str | None = None
    start: tuple[StartPoint, ...] = ()
    priors: dict[str, Prior] = Field(default_factory=dict)
    warm: Warm | None = None
    objectives: Objectives = DEFAULT
    threshold: Real = Field(default=0, ge=0, le=1)

    @field_validator("priors", mode="before")
    @classmethod
    def _values_are_priors(cls, priors: Any) -> Any:
        return {key: prior_of(of) for key, of in priors.items()} if isinstance(priors, dict) else priors

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
            raise ValueError(f"workers is 'auto' or a whole number of at least 1, got {workers!r}")
        if workers > MOST_WORKERS or workers != int(workers):
            raise ValueError(
                f"workers is 'auto' or a whole number of at most {MOST_WORKERS}, got {workers!r}"
            )
        return int(workers)

    def suite_record(self) -> SuiteRecord:
        """The tasks and sequence settings that this study names, with the tasks' references.

        Raises:
            StudyFileError: a task or a suite does not exist, or the score weighs a task that is not there.
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
        changes = {
            "batch_tokens": self.batch_tokens,
            "context": self.context,
            "accumulate": self.accumulate,
            "checkpoint_activations": self.checkpoint_activations,
            "devices": self.devices_per_trial,
            "sharded": self.strategy == "fsdp" and self.devices_per_trial > 1,
        }
        changed = {key: value for key, value in changes.items() if value is not None}
        suite = suite.model_copy(update=changed)
        if self.image is not None:
            suite = with_images(suite, self.image)
        if self.sound is not None:
            suite = with_sounds(suite, self.sound, local_catalog())
        return self.objectives.weighted(suite if self.tokenizer is None else self.tokenizer.of(suite))

    def costs(self, cost: Cost, optimizer: str, suite: SuiteRecord) -> tuple[float, ...]:
        """The costs of a candidate that are objectives, in their order.

        Args:
            cost: of its architecture.
            optimizer: that it is trained with.
            suite: the study's.
        """
        known = KnownCosts.of(cost, optimizer, suite.batch_tokens, self.rungs.whole_tokens)
        return self.objectives.of(known)

    def check(self) -> SuiteRecord:
        """Check rules across keys: the suite exists, and prior, limits and rungs fit it.

        The whole space is priced, which takes about a second for a large one. `read_study` calls this.

        Returns:
            The study's suite.

        Raises:
            StudyFileError: a rule is broken.
        """
        if not self.suite:
            raise StudyFileError("suite: a suite, or a list of at least one task, got an empty one")
        if not isinstance(self.suite, str) and len(set(self.suite)) < len(self.suite):
            raise StudyFileError(f"suite: each task is named once, got {list(self.suite)}")
        suite = self.suite_record()
        if self.search.seed > LARGEST_SEED:  # stored studies may have a larger one
            raise StudyFileError(f"search.seed: at most {LARGEST_SEED}, got {self.search.seed}")
        if suite.batch_tokens < suite.context:
            raise StudyFileError(
                f"batch_tokens: a batch holds at least one context of {suite.context} tokens,"
                f" got {suite.batch_tokens}"
            )
        sequences = suite.batch_tokens // suite.context
        for key, parts in (
            ("accumulate", self.accumulate),
            ("devices_per_trial", self.devices_per_trial * self.accumulate),
        ):
            if sequences % parts:
                raise StudyFileError(
                    f"{key}: devices, and the parts of each, share the {sequences} sequences of a batch"
                    f" evenly (batch_tokens over context), got {self.devices_per_trial} devices and"
                    f" {self.accumulate} parts"
                )
        if self.devices_per_trial > 1 and self.trials_per_gpu > 1:
            raise StudyFileError(
                f"trials_per_gpu: 1 where trials have several devices, got {self.trials_per_gpu}"
            )
        self.space.mixture.check(suite, self.rungs.whole_tokens)
        self.space.feasible(suite, self.limits)
        check_priors(self.priors, self.space, suite)
        check_start(self.start, self.space, suite, self.limits, self.rungs.whole_tokens)
        if self.rungs.tokens[0] < suite.batch_tokens:
            raise StudyFileError(
                f"rungs.tokens: the first rung holds at least one batch of {suite.batch_tokens} tokens,"
                f" got {self.rungs.tokens[0]}"
            )
        for task in suite.records.values():
            task.checked("select")
        return suite


def shipped_studies() -> dict[str, Path]:
    """The study files that ship with Pathfront: name -> path."""
    folder = Path(__file__).resolve().parent.parent / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_study(spec: str, resolve: Callable[..., dict[str, Any]] | None = None) -> StudyConfig:
    """Read and check a study file.

    Args:
        spec: a path, or the name of a study file that ships with Pathfront.
        resolve: replaces what the file takes from other studies by plain values; see `search.read.fixed`.

    Raises:
        NotFoundError: there is no such file, or no such trial as it names.
        StudyFileError: it breaks a rule; the message names the key, the rule, the value and the nearest name.
    """
    shipped = shipped_studies()
    path = shipped.get(spec, Path(spec))
    if not path.is_file():
        raise NotFoundError(f"no study file '{spec}'{nearest(spec, shipped)}")

    def refused(why: object) -> StudyFileError:
        return StudyFileError(f"{path.name}: {why}")

    data = read_yaml(path, refused)
    if not isinstance(data, dict):
        raise refused(f"a study file is a mapping of keys, got {type(data).__name__}")
    data = with_placed_file(read_given(data, path.parent, refused), path.parent)
    config = parse(StudyConfig, data if resolve is None else resolve(data, refused), refused)
    try:
        config.check()
    except StudyFileError as error:
        raise refused(error) from None
    return config
