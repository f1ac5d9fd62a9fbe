"""The tokenizers that suites share. The files are frozen, because all trained weights depend on them.

A suite names a file that ships; nothing is trained at run time. `trainers.tasks.train_tokenizer` makes them.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path

from space.errors import NotFoundError, TaskError, nearest
from space.records import SuiteRecord
from trainers.tokens.text import Tokenizer

MODELS = Path(str(files("trainers.tokens") / "models"))


def suite_tokenizer(suite: SuiteRecord) -> Tokenizer:
    """The tokenizer that a suite names.

    Raises:
        NotFoundError: there is no tokenizer of that name.
        TaskError: its number of pieces differs from the suite's.
    """
    tokenizer = _tokenizer(suite.tokenizer)
    if tokenizer.size != suite.text_vocab:
        raise TaskError(
            f"suite '{suite.name}': text_vocab is the size of its tokenizer '{suite.tokenizer}',"
            f" {tokenizer.size} pieces, got {suite.text_vocab}"
        )
    return tokenizer


def tokenizer_model(name: str) -> bytes:
    """The file of a tokenizer that ships.

    Raises:
        NotFoundError: there is no tokenizer of that name.
    """
    path = MODELS / f"{name}.model"
    if not path.is_file():
        known = [model.stem for model in MODELS.glob("*.model")]
        raise NotFoundError(f"no tokenizer is called '{name}'{nearest(name, known)}")
    return path.read_bytes()


@cache
def _tokenizer(name: str) -> Tokenizer:
    return Tokenizer(tokenizer_model(name))
