"""The recipe of an exported candidate: `config.yaml`, all that full training needs.

An export is a folder: `config.yaml` (this), `model.safetensors` (decayed weights), `tokenizer.model`
(SentencePiece), `references.json` (floors and experts) and `README.md` (the card); where it was asked for,
also `hf/`, the same network for transformers. None of it is unpickled. A candidate that was grown has no
weights until it is trained.
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
from space.records import Frozen, SuiteRecord
from space.study import parse, read_yaml

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.model"
REFERENCES_FILE = "references.json"
CARD_FILE = "README.md"
HF_FOLDER = "hf"


def new_folder(name: str) -> str:
    """A name of a folder that does not exist yet, for a suggestion: `name`, `name-2`, `name-3` ..."""
    tried, number = name, 1
    while Path(tried).exists():
        number += 1
        tried = f"{name}-{number}"
    return tried


class Origin(Frozen):
    """Where a recipe comes from."""

    study: str
    trial: int
    rung: int
    tokens: int
    score: float
    score_stderr: float


class Parent(Frozen):
    """What a shrunk model was pruned from, and how far it learned from it.

    Attributes:
        weights_sha256: the parent's weights.
        tokens: input tokens that the parent was trained on.
        expert_width: hidden channels of each of its experts.
        distil_tokens: input tokens that the child was retrained on.
    """

    weights_sha256: str
    tokens: int
    expert_width: int
    distil_tokens: int


class Predicted(Frozen):
    """A score on the select episodes that nobody has measured yet, with its 90% interval."""

    tokens: int
    training_flops: float
    score: float
    low: float
    high: float


class Growth(Frozen):
    """How a candidate became larger than the one that was searched, and what it should reach.

    Attributes:
        from_flops: FLOPs per token of the candidate that was searched.
        flops: FLOPs per token now.
        predicted: scores at several numbers of input tokens, by rising tokens; empty where the study is
            too small to tell.
        unknown: why nothing is predicted; None where something is.
        reach: input tokens beyond which the study's rungs tell nothing; None where nothing is predicted.
    """

    from_flops: float
    flops: float
    predicted: tuple[Predicted, ...] = ()
    unknown: str | None = None
    reach: int | None = None

    @property
    def factor(self) -> float:
        """FLOPs per token now over those before."""
        return self.flops / self.from_flops

    def at(self, tokens: int) -> Predicted | None:
        """The prediction at a number of tokens, between two others by log tokens; None beyond them."""
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
    """A candidate, its suite and how it is trained.

    Attributes:
        candidate: architecture, mixture and learning rate.
        suite: tasks, sequence settings and frozen references.
        decay: share of a training run that the decay branch takes.
        seed: seed of the weights and of the order of the data.
        precision: Lightning's name of the precision.
        origin: the trial that was exported.
        parent: the model that this one was shrunk from; None for what a trial itself has trained.
        grown: how the candidate outgrew its trial; None where it is the trial's own.
        weights_sha256: of `model.safetensors`; None where there are no weights yet.
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
        """Input tokens behind the weights that an export comes with."""
        if self.parent is None:
            return self.origin.tokens
        return self.parent.tokens + self.parent.distil_tokens

    @property
    def tokens_to_train(self) -> int:
        """Input tokens of a full training where nobody says: ten times as many as the trial had."""
        if self.grown is not None and self.grown.predicted:
            return self.grown.predicted[-1].tokens
        return 10 * self.origin.tokens

    def write(self, folder: Path) -> None:
        """Write `config.yaml` into a folder."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(folder / CONFIG_FILE, text)

    def write_references(self, folder: Path) -> None:
        """Write `references.json` into a folder: what is known of each task, for other people's tools."""
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
