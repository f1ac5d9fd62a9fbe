"""The tokenizers that suites share: frozen files, since the meaning of every weight hangs on them.

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
        NotFoundError: no tokenizer bears that name.
        TaskError: it has another number of pieces than the suite says.
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
        NotFoundError: no tokenizer bears that name.
    """
    path = MODELS / f"{name}.model"
    if not path.is_file():
        known = [model.stem for model in MODELS.glob("*.model")]
        raise NotFoundError(f"no tokenizer is called '{name}'{nearest(name, known)}")
    return path.read_bytes()


@cache
def _tokenizer(name: str) -> Tokenizer:
    return Tokenizer(tokenizer_model(name))
