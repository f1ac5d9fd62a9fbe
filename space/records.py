"""Records of tasks and suites, and the base class of all records: plain data, read from JSON.

This module does not know where records are stored or how a task is played.
"""

from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from space.errors import TaskError, WeakExpert

Split = Literal["train", "select", "report"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""In this order: files of data sets hold places in it."""
HELD_OUT: tuple[Split, ...] = ("select", "report")
FRAMES_PER_SECOND = 100
"""Frames of log-mel of a sound at length."""

Sense = Literal["text", "image", "audio", "discrete", "continuous"]


class Frozen(BaseModel):
    """Base class of records: immutable; unknown keys and infinite numbers are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Reference(Frozen):
    """A score that was measured once, with what is needed to reproduce the measurement."""

    mean: float
    stderr: float = Field(ge=0)
    n: int = Field(ge=1)
    seed: int
    policy: str
    versions: dict[str, str]


class Baseline(Frozen):
    """The score of another policy on the first `n` of the same episodes."""

    mean: float
    stderr: float = Field(ge=0)
    n: int = Field(ge=1)


class References(Frozen):
    """The scores that are 0 and 1 on one split, measured by the evaluator that scores candidates.

    Attributes:
        floor: the best policy that ignores its observations.
        expert: the demonstrator, or a better specialist.
        baselines: all policies that ignore their observations, and nearest-neighbour retrieval of an expert
            example ("retrieval").
    """

    floor: Reference
    expert: Reference
    baselines: dict[str, Baseline] = Field(default_factory=dict)


class TaskRecord(Frozen):
    """The facts about a task that are known without importing it."""

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
            TaskError: the expert is not above the floor by two standard errors.
        """
        floor, expert = self.checked(split)
        return (value - floor.mean) / (expert.mean - floor.mean)

    def checked(self, split: Split) -> tuple[Reference, Reference]:
        """Floor and expert of a split.

        Raises:
            TaskError: the split was not measured.
            WeakExpert: the expert is not two standard errors above the floor.
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
            raise WeakExpert(
                f"task '{self.name}': an expert must exceed its floor by two standard errors; on the {split}"
                f" episodes expert {expert.mean:g} against floor {floor.mean:g}, standard error {noise:g}"
            )
        return floor, expert


class ImageSetting(Frozen):
    """How a study sees the images of data sets of its user.

    Attributes:
        side: pixels of the square that is seen of an image.
        patch: pixels of the side of one patch; it divides `side`.
        flip: whether every other training image is mirrored.
    """

    side: int = Field(default=224, ge=8, le=1024)
    patch: int = Field(default=16, ge=4, le=128)
    flip: bool = True

    @model_validator(mode="after")
    def _has_whole_patches(self) -> Self:
        if self.side % self.patch:
            raise ValueError(f"side is a multiple of patch, got side {self.side} and patch {self.patch}")
        return self

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return (self.side // self.patch) ** 2


class SoundSetting(Frozen):
    """How a study hears the sounds of data sets of its user.

    Attributes:
        seconds: that are heard of a sound at most.
        patch: frames of one patch; there are 100 in a second.
    """

    seconds: float = Field(default=10.0, ge=0.1, le=600.0)
    patch: int = Field(default=8, ge=1, le=100)

    @property
    def frames(self) -> int:
        """Frames of the longest sound."""
        return round(self.seconds * FRAMES_PER_SECOND)

    @property
    def patches(self) -> int:
        """Patches of the longest sound."""
        return -(-self.frames // self.patch)


class SuiteRecord(Frozen):
    """A set of tasks, and the sequence settings that all candidates share.

    Attributes:
        context: tokens in a training window.
        batch_tokens: tokens in a training batch.
        accumulate: parts of a batch that a device processes one after another, adding up their gradients.
        checkpoint_activations: whether only the inputs of layers are kept for the backward pass, which
            computes the layers again.
        devices: that a candidate is trained on, for which memory is counted.
        sharded: whether each of them holds a share of the weights only.
        text_vocab: SentencePiece pieces.
        tokenizer: the SentencePiece model: the name of one that ships, or the SHA-256 of a study's own.
        bins: bins of a continuous value.
        discrete: largest discrete value plus one.
        prompt_share: share of the training windows that begin with a demonstration of their task.
        prompted: whether evaluation episodes begin with a demonstration, too.
        encoders: patch encoder -> size of one flattened patch.
        patch_share: task -> encoder -> share of the task's tokens that are patches of that encoder.
        episodes: task -> held-out episodes that score a trial.
        tokens: task -> training tokens that its expert episodes have.
        lengths: task -> tokens of an expert episode, the mean of the first 50.
        records: task -> its record, from the catalog. They are stored with a study, so that its scores keep
            their meaning when the catalog changes.
        weights: task -> weight in the score, of sum 1, where the study gives some; tasks that are left out
            weigh nothing. Empty: every domain weighs the same, and so does every task of a domain.
        image: how images of the user's data sets are seen; None shows their thumbnails.
        sound: how sounds of the user's data sets are heard; None has their loudest second.
    """

    name: str
    tasks: tuple[str, ...] = Field(min_length=1)
    context: int = Field(ge=8)
    batch_tokens: int = Field(ge=8)
    accumulate: int = Field(default=1, ge=1)
    checkpoint_activations: bool = False
    devices: int = Field(default=1, ge=1)
    sharded: bool = False
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
    weights: dict[str, float] = Field(default_factory=dict)
    image: ImageSetting | None = None
    sound: SoundSetting | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, default: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data = default(self)
        since = {
            "weights": {},
            "accumulate": 1,
            "image": None,
            "sound": None,
            "checkpoint_activations": False,
            "devices": 1,
            "sharded": False,
        }
        for name, absent in since.items():  # hashes of stored suites stay as they were
            if data.get(name) == absent:
                del data[name]
        return data

    @property
    def vocab_size(self) -> int:
        """Number of token ids: text, bins, discrete values, separator, one placeholder per patch encoder."""
        return self.text_vocab + self.bins + self.discrete + 1 + len(self.encoders)

    def patch_mean(self, encoder: str) -> float:
        """Patches of an encoder per input token under the uniform mixture."""
        return sum(self.patch_share.get(t, {}).get(encoder, 0.0) for t in self.tasks) / len(self.tasks)
