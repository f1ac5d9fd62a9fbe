"""The tokenizer that all candidates of a suite share: trained on the training texts of the shipped tasks."""

from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from space.catalog import SuiteRecord
from trainers.tasks import babyai, dial, digits, documents, shapes
from trainers.tasks.cache import cached_arrays
from trainers.tasks.versions import versions_of
from trainers.tokens.text import Tokenizer, train_tokenizer

MISSION_REPEATS = 200


def suite_tokenizer(suite: SuiteRecord) -> Tokenizer:
    """The tokenizer of a suite, trained once and then read from the disk."""
    return _tokenizer(suite.text_vocab)


@cache
def _tokenizer(size: int) -> Tokenizer:
    sources = [Path(module.__file__ or "").read_bytes() for module in (documents, shapes, babyai)]
    key = {
        "size": size,
        "code": sha256(b"".join(sources)).hexdigest(),
        "versions": versions_of(["sentencepiece"]),
    }
    model = cached_arrays("tokenizer", key, lambda: {"model": _train(size)})["model"]
    return Tokenizer(model.tobytes())


def _train(size: int) -> np.ndarray:
    words = dict.fromkeys(f"▁{word}" for word in (*digits.WORDS, *dial.WORDS, *shapes.WORDS))
    texts = [*documents.texts("train"), *babyai.MISSIONS * MISSION_REPEATS]
    lines = (line for text in texts for line in text.split("\n") if line)
    model = train_tokenizer(lines, size, words).model
    return np.frombuffer(model, dtype=np.uint8)
