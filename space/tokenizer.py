"""The tokenizer of a study (`tokenizer:` in a study file): pieces to be learnt, or a model file of one's own.

    tokenizer: {vocab: 32000}      # SentencePiece learns them from the training texts of the study's tasks
    tokenizer: {file: my.model}    # a SentencePiece model

This module does not read model files; `trainers.tasks.tokenizer` does.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from space.knobs import Whole
from space.records import Frozen, SuiteRecord

FEWEST_PIECES = 280  # 256 bytes, controls, digits, and some characters
MOST_PIECES = 2**20
UNTRAINED = "untrained"  # name of a tokenizer that a launch will train


class TokenizerConfig(Frozen):
    """A study's own tokenizer.

    Attributes:
        vocab: number of pieces. For a file, a launch fills it in.
        file: name of a model file; None if the model is trained on the texts of the study's tasks.
        sha256: of the model, filled in by a launch; None before it is trained.
    """

    vocab: Annotated[Whole, Field(ge=FEWEST_PIECES, le=MOST_PIECES)] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_no_file_by_default(cls, data: Any) -> Any:
        """Count a file that is left out as given, so that a study keeps that its model is trained."""
        return {"file": None, **data} if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.vocab is None and self.file is None:
            raise ValueError("vocab, a number of pieces, or file, a SentencePiece model; got neither")
        if self.file is not None and (self.vocab is None or self.sha256 is None):
            raise ValueError("file is read when a study is launched or priced, and was not")
        return self

    def of(self, suite: SuiteRecord) -> SuiteRecord:
        """A suite with this tokenizer."""
        return suite.model_copy(update={"text_vocab": self.vocab, "tokenizer": self.sha256 or UNTRAINED})


def is_own(name: str) -> bool:
    """Whether the name of a suite's tokenizer is the SHA-256 of a model, and not one that ships."""
    return re.fullmatch("[0-9a-f]{64}", name) is not None


def with_placed_file(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A study file's content whose `tokenizer.file` is relative to the file's folder no more."""
    given = data.get("tokenizer")
    if not isinstance(given, Mapping) or not isinstance(given.get("file"), str):
        return dict(data)
    return {**data, "tokenizer": {**given, "file": str(folder / given["file"])}}
