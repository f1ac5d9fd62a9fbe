"""The tokenizers that suites share: frozen files, since the meaning of every weight hangs on them.

Training one, `python -m trainers.tasks.tokenizer python-docs-512`, depends on the Python that runs it (its
documentation is the text), so a suite names a file that ships and nothing is trained at run time.
"""

import sys
from functools import cache
from importlib.resources import files
from pathlib import Path

from space.catalog import SuiteRecord
from space.errors import NotFoundError, TaskError, nearest
from trainers.tokens.text import Tokenizer, train_tokenizer

MODELS = Path(str(files("trainers.tokens") / "models"))
MISSION_REPEATS = 200


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


def train(size: int) -> Tokenizer:
    """Train on the training texts of the shipped tasks; their answers' words are whole pieces."""
    from trainers.tasks import babyai, dial, digits, documents, shapes

    words = dict.fromkeys(f"▁{word}" for word in (*digits.WORDS, *dial.WORDS, *shapes.WORDS))
    texts = [*documents.texts("train"), *babyai.MISSIONS * MISSION_REPEATS]
    lines = (line for text in texts for line in text.split("\n") if line)
    return train_tokenizer(lines, size, words)


if __name__ == "__main__":
    name = sys.argv[1]
    (MODELS / f"{name}.model").write_bytes(train(int(name.rpartition("-")[2])).model)
