"""The recipe of an exported candidate: `config.yaml`, everything that full training needs.

An export is a folder with `config.yaml` (the recipe), `model.safetensors` (decayed weights),
`tokenizer.model` (SentencePiece), `references.json` (floors and experts) and `README.md` (the card);
`export --format hf` adds `hf/`, the same network for transformers. No file is a pickle. A grown candidate has
no weights until it is trained.
"""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from space.candidate import CandidateConfig
from space.errors import CheckpointError, NotFoundError
from space.files import write_atomically
from space.parsing import parse, read_yaml
from space.records import Frozen, SuiteRecord

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.model"
REFERENCES_FILE = "references.json"
CARD_FILE = "README.md"
HF_FOLDER = "hf"


def new_folder(name: str) -> str:
    """The first of `name`, `name-2`, `name-3` ... that does not exist, to suggest as an output folder."""
    tried, number = name, 1
    while Path(tried).exists():
        number += 1
        tried = f"{name}-{number}"
    return tried


class Origin(Frozen):
    """The trial that a recipe was exported from."""

    study: str
    trial: int
    rung: int
    tokens: int
    score: float
    score_stderr: float


class Parent(Frozen):
    """The model that a shrunk model was pruned from, and the length of the distillation.

    Attributes:
        weights_sha256: SHA-256 of the parent's weights.
        tokens: input tokens that the parent was trained on.
        expert_width: hidden channels of each of the parent's experts.
        distil_tokens: input tokens that the child was retrained on.
    """

    weights_sha256: str
    tokens: int
    expert_width: int
    distil_tokens: int


class Predicted(Frozen):
    """A predicted score on the select episodes, with its 90% interval."""

    tokens: int
    training_flops: float
    score: float
    low: float
    high: float


class Growth(Frozen):
    """How much a grown candidate is larger than the searched one, and its predicted scores.

    Attributes:
        from_flops: FLOPs per token of the searched candidate.
        flops: FLOPs per token of the grown candidate.
        predicted: scores at several numbers of input tokens, by increasing tokens; empty if the study is too
            small for a prediction.
        unknown: why there is no prediction; None if there is one.
        reach: most input tokens at which a score can be predicted from the study's rungs; None if there is no
            prediction.
    """

    from_flops: float
    flops: float
    predicted: tuple[Predicted, ...] = ()
    unknown: str | None = None
    reach: int | None = None

    @property
    def factor(self) -> float:
        """FLOPs per token of the grown candidate over those of the searched one."""
        return self.flops / self.from_flops

    def at(self, tokens: int) -> Predicted | None:
        """The prediction at a number of tokens, interpolated in log tokens; None outside their range."""
        for point in self.predicted:
            if point.tokens == tokens:
                return point
        for before, after in pairwise(self.predicted):
            if before.tokens < tokens < after.tokens:
                share = math.log(tokens / before.tokens) / math.log(after.tokens / before.tokens)
                score, low, high = (
                    (1 - share) * getattr(before, name) + share * getattr(after, name)
                    for name in ("score", "low", "high")
                )
                flops = after.training_flops * tokens / after.tokens
                return Predicted(tokens=tokens, training_flops=flops, score=score, low=low, high=high)
        return None


class Recipe(Frozen):
    """A candidate, its suite, and how it is trained.

    Attributes:
        candidate: architecture, mixture and learning rate.
        suite: tasks, sequence settings and frozen references.
        decay: tokens of the decay branch as a share of the training run.
        seed: seed of the weights and of the order of the data.
        precision: Lightning's name of the precision.
        origin: the trial that was exported.
        parent: the model that this one was shrunk from; None if it was not shrunk.
        grown: how the candidate was grown; None if it was not grown.
        weights_sha256: SHA-256 of `model.safetensors`; None if there are no weights yet.
    """

    schema_version: Literal[1] = 1
    candidate: CandidateConfig
    suite: SuiteRecord
    decay: float = Field(default=0.2, ge=0, le=1)
    seed: int = 0
    precision: str = "32-true"
    origin: Origin
    parent: Parent | None = None
    grown: Growth | None = None
    weights_sha256: str | None

    @property
    def tokens(self) -> int:
        """Input tokens that the weights in the export were trained on."""
        if self.parent is None:
            return self.origin.tokens
        return self.parent.tokens + self.parent.distil_tokens

    @property
    def tokens_to_train(self) -> int:
        """Default input tokens of a full training: the furthest prediction, else ten times the trial's."""
        if self.grown is not None and self.grown.predicted:
            return self.grown.predicted[-1].tokens
        return 10 * self.origin.tokens

    def write(self, folder: Path) -> None:
        """Write `config.yaml` into a folder."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(folder / CONFIG_FILE, text)

    def write_references(self, folder: Path) -> None:
        """Write `references.json` into a folder: the record of each task, for other tools."""
        records = {name: record.model_dump(mode="json") for name, record in self.suite.records.items()}
        write_atomically(folder / REFERENCES_FILE, json.dumps(records, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Recipe":
        """Read an export's `config.yaml`.

        Raises:
            NotFoundError: the folder or its `config.yaml` does not exist.
            CheckpointError: the file is damaged.
        """
        path = folder / CONFIG_FILE
        if not path.is_file():
            raise NotFoundError(
                f"an export holds {CONFIG_FILE}, and '{folder}' has none;"
                " make one with `pathfront export STUDY -o DIR`"
            )

        def refused(why: str) -> CheckpointError:
            return CheckpointError(f"{path}: {why}")

        return parse(cls, read_yaml(path, refused), refused)
