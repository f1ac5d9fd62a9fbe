"""The tokenizers that suites share: frozen files, since the meaning of every weight hangs on them.

Training one, `python -m trainers.tasks.tokenizer generalist-1024`, depends on the Python that runs it (its
documentation is the text), so a suite names a file that ships and nothing is trained at run time.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from space.catalog import SuiteRecord
from space.errors import NotFoundError, TaskError, nearest
from trainers.tokens.text import Tokenizer, train_tokenizer

MODELS = Path(str(files("trainers.tokens") / "models"))
SAMPLED = 60  # episodes of a task
RARE = 4  # a word that tasks say less often is no whole piece


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
    """Train on Python's documentation and on what tasks say and ask; words of the latter are whole pieces."""
    from trainers.tasks.families import text

    told = list(_told())
    counts = Counter(word for line in told for word in line.split() if word.isalpha() and len(word) > 1)
    words = [f"▁{word}" for word, count in sorted(counts.items()) if count >= RARE]
    digits = [f"▁{digit}" for digit in range(10)]
    lines = (line for document in text.texts("train") for line in document.split("\n") if line)
    return train_tokenizer([*lines, *told], size, [*digits, *words])


def _told() -> Iterator[str]:
    """Instructions, questions and answers of some training episodes of every task that ships."""
    from space.catalog import load_catalog
    from trainers.tasks.answers import AnswerTask
    from trainers.tasks.registry import shipped_tasks
    from trainers.tasks.sessions import SessionTask

    suite = load_catalog().suite("quick")
    known = suite_tokenizer(suite)
    for factory in shipped_tasks().values():
        task = factory(suite, known, SAMPLED)
        for index in range(SAMPLED if isinstance(task, SessionTask) else 0):
            assert isinstance(task, SessionTask)
            seen = task.session("train", index).observe()
            yield known.decode(seen.tokens)
            if isinstance(task, AnswerTask):
                yield task.answer("train", index)


if __name__ == "__main__":
    name = sys.argv[1]
    (MODELS / f"{name}.model").write_bytes(train(int(name.rpartition("-")[2])).model)
