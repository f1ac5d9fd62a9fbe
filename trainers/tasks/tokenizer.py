"""Find the tokenizer of a suite: one that ships, by its name, or a study's own, by the SHA-256 of its model.

A study's own model is stored with the study and carried by its exports. What reads one of them keeps a copy
in the cache, where the processes of this machine find it.
"""

from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from space.errors import NotFoundError, TaskError, nearest
from space.files import write_atomically
from space.records import SuiteRecord
from space.tokenizer import is_own
from trainers.tasks.cache import CACHE, cache_folder
from trainers.tokens.pieces import Pieces
from trainers.tokens.text import Tokenizer

MODELS = Path(str(files("trainers.tokens") / "models"))
OWN = "tokenizers"  # folder of the cache
_READ: dict[str, bytes] = {}  # models that this process was given, which are not kept before a launch


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
    """The model file of a tokenizer.

    Args:
        name: of a tokenizer that ships, or the SHA-256 of a model that was kept or read here.

    Raises:
        NotFoundError: there is no tokenizer of that name.
        MachineError: the cache cannot be read.
    """
    if is_own(name):
        return _own_model(name)
    path = MODELS / f"{name}.model"
    if not path.is_file():
        known = [model.stem for model in MODELS.glob("*.model")]
        raise NotFoundError(f"no tokenizer is called '{name}'{nearest(name, known)}")
    return path.read_bytes()


def model_digest(model: bytes) -> str:
    """The name of a study's own tokenizer: the SHA-256 of its model, 64 hexadecimal digits."""
    return sha256(model).hexdigest()


def keep_model(model: bytes) -> str:
    """Keep a study's own tokenizer in the cache, where other processes find it; returns its name.

    Raises:
        MachineError: the cache cannot be written, or its disk is full.
    """
    name = model_digest(model)
    path = _own_path(name)
    with CACHE.errors():
        if path.is_file() and path.read_bytes() == model:
            return name
    CACHE.check_writable()
    with CACHE.errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, model)
    return name


def read_model(path: Path) -> tuple[str, int]:
    """Read a user's model file and check that Pathfront can use it; nothing is written.

    Returns:
        The tokenizer's name, and its number of pieces.

    Raises:
        NotFoundError: there is no such file.
        TaskError: it is no SentencePiece model, or one that does not give back every text.
    """
    if not path.is_file():
        raise NotFoundError(f"no file '{path}'")
    try:
        model = path.read_bytes()
        size = Pieces.of(model).size
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TaskError(
            "a SentencePiece model of type bpe that gives back any text (byte_fallback, normalisation"
            f" identity, no remove_extra_whitespaces), and '{path}' has {reason}"
        ) from None
    return remember_model(model), size


def remember_model(model: bytes) -> str:
    """Find a study's own tokenizer in this process from now on; nothing is written. Returns its name."""
    name = model_digest(model)
    _READ[name] = model
    return name


def _own_model(name: str) -> bytes:
    if name in _READ:
        return _READ[name]
    with CACHE.errors():
        path = _own_path(name)
        model = path.read_bytes() if path.is_file() else b""
    if model_digest(model) != name:
        raise NotFoundError(
            f"no tokenizer {name[:12]} in '{cache_folder()}', where launches, workers and readers of exports"
            " keep it; begin again with the study or the export that it belongs to"
        )
    return model


def _own_path(name: str) -> Path:
    return cache_folder() / OWN / f"{name}.model"


@cache
def _tokenizer(name: str) -> Tokenizer:
    return Tokenizer(tokenizer_model(name))
