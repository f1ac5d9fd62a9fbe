"""What answers pairs without a network: a fitted classifier, and an n-gram of the answers."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from space.records import Split
from trainers.tasks.datasets.labelled import shuffled_places
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.media import KINDS, LEVELS
from trainers.tasks.datasets.pair_rows import PairRows, plain
from trainers.tasks.ngram import NGramPolicy
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import BOS

MOST_FITTED = 8_000  # pairs that a classifier learns in minutes
MOST_ANSWERS = 200  # that it tells apart
WORDS = 256  # hashes of the words of a question
HELD_BACK = 5  # one of so many training pairs chooses the classifier
NEAREST, MACHINE = "nearest pair", "SVC"


class AnswerNGram(NGramPolicy):
    """An n-gram of answers alone: it sees neither the question nor the media.

    Args:
        answers: ids of each, (length,).
        order: tokens in the longest n-gram.
        separator: the id after which the answer begins.
        size: number of ids of text.
    """

    def __init__(self, answers: Sequence[np.ndarray], order: int, separator: int, size: int) -> None:
        history = np.full(order - 1, BOS)  # the first tokens' is as long as that of others
        super().__init__([np.r_[history, ids] for ids in answers], order, size)
        self._start = history if order > 1 else np.array([BOS])
        self._separator = separator

    def nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Negative log-likelihoods of the answer's tokens, 0 for all before, (len - 1,)."""
        ends = [int(np.flatnonzero(chunk.tokens == self._separator)[-1]) for chunk in chunks]
        answers = [chunk.tokens[end + 1 :] for chunk, end in zip(chunks, ends, strict=True)]
        found = super().nats([sequence.text(np.r_[self._start, ids], scored=True) for ids in answers])
        before = len(self._start) - 1
        return [np.r_[np.zeros(end), nats[before:]] for end, nats in zip(ends, found, strict=True)]


@lru_cache(maxsize=8)
def fitted_answers(dataset: Dataset, split: Split, count: int) -> tuple[str, list[str]]:
    """Answers that a classifier gives the first pairs of a split.

    Of two classifiers the one is taken that is right for more training pairs that neither has seen.

    Args:
        dataset: pairs.
        split: which of them.
        count: how many.

    Returns:
        The classifier's name, and an answer for each pair.
    """
    rows = PairRows(dataset.arrays)
    train, asked = shuffled_places(dataset, "train")[:MOST_FITTED], shuffled_places(dataset, split)[:count]
    said = [rows.answers(int(place))[0] for place in train]
    common = {answer for answer, _ in Counter(map(plain, said)).most_common(MOST_ANSWERS)}
    kept = [i for i, answer in enumerate(said) if plain(answer) in common]
    train, answers = train[kept], np.array([said[i] for i in kept], dtype=object)
    seen = _features(dataset, rows, np.concatenate([train, asked]), len(train))
    known, new = seen[: len(train)], seen[len(train) :]
    tried = np.arange(len(train)) % HELD_BACK == 0
    right = {}
    for name in (MACHINE, NEAREST):
        guessed = _answer(name, known[~tried], answers[~tried], known[tried])
        right[name] = sum(plain(a) == plain(b) for a, b in zip(guessed, answers[tried], strict=True))
    name = max(right, key=right.__getitem__)
    return name, _answer(name, known, answers, new)


def _answer(name: str, known: np.ndarray, answers: np.ndarray, asked: np.ndarray) -> list[str]:
    """The answers of a classifier that has learnt some pairs' features."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    labels, targets = np.unique(answers.astype(str), return_inverse=True)
    if len(labels) < 2 or not len(asked):
        return [str(labels[0])] * len(asked)
    classifier: Any = KNeighborsClassifier(1) if name == NEAREST else SVC(C=10)
    return [str(labels[i]) for i in classifier.fit(known, targets).predict(asked)]


def _features(dataset: Dataset, rows: PairRows, places: np.ndarray, known: int) -> np.ndarray:
    """Pixels, log-mel and counts of words in one row for each pair, (pairs, values).

    Each of these parts has the same total variance over the first `known` pairs.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    words: Any = HashingVectorizer(n_features=WORDS, alternate_sign=False, ngram_range=(1, 2))
    questions = [rows.question(int(place)) for place in places]
    parts = [words.transform(questions).toarray()] if any(questions) else []
    for kind in KINDS:
        numbers = dataset.arrays[kind][places]
        if (numbers >= 0).any():
            seen = dataset.arrays[f"{kind}_seen"][np.maximum(numbers, 0)].reshape(len(places), -1) / LEVELS
            parts.append(seen * (numbers >= 0)[:, None])
    scaled = [part / (np.sqrt(part[:known].var(axis=0).sum()) or 1) for part in parts]
    return np.concatenate(scaled, axis=1)
