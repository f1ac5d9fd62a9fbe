"""A clone of demonstrations: random trees from what was observed to what was done, as a policy that plays.

It sees the present observation and the episode's text, not the history. What trees say does not depend on
which observations are asked for together, so an episode does not depend on those beside it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np

from trainers.tasks.base import Session
from trainers.tasks.datasets.demonstrations import Demonstrations, demonstrations_of
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.spaces import Rows, encode
from trainers.tasks.policies import ActingPolicy
from trainers.tokens.sequence import Chunk

TREES = 32
MOST_FITTED = 20_000  # steps that the trees learn from
LARGEST = np.float32(1e30)
WORDS = 32  # counts of an instruction's words, by their hashes


class Trees:
    """Random trees from what was observed to what was done.

    Args:
        features: what was observed, (steps, features) float32.
        done: what was done, (steps, size).
        whole: whether that is whole numbers.
    """

    def __init__(self, features: np.ndarray, done: np.ndarray, whole: bool) -> None:
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        self._whole = whole
        kind: Any = ExtraTreesClassifier if whole else ExtraTreesRegressor
        self._forest = kind(TREES, random_state=0).fit(features, done[:, 0] if done.shape[1] == 1 else done)
        classes: Any = getattr(self._forest, "classes_", None)
        self._classes: list[Any] = classes if isinstance(classes, list) else [classes]

    def actions(self, seen: Sequence[Rows]) -> np.ndarray:
        """What most trees would do, or their mean."""
        rows = np.concatenate([_row(one) for one in seen])
        # the trees themselves: a forest checks its input for longer than they take
        found = np.mean([tree.tree_.predict(rows) for tree in self._forest.estimators_], axis=0)
        found = found[:, None] if found.ndim == 2 else found  # (count, size, classes), or one number of each
        if not self._whole:
            return found.reshape(len(rows), -1)
        return np.stack([names[found[:, i].argmax(-1)] for i, names in enumerate(self._classes)], axis=1)


class ClonePolicy(ActingPolicy):
    """Does what the clone would do, in all sessions at once.

    Args:
        clone: fitted to the task's demonstrations.
    """

    def __init__(self, clone: Trees) -> None:
        self.clone = clone

    def choose(self, session: Session) -> np.ndarray:
        """The clone's action in one session."""
        return self.act([0], [], [session])[0]

    def act(
        self, live: Sequence[int], observations: Sequence[Chunk], sessions: Sequence[Any]
    ) -> list[np.ndarray]:
        """The clone's action in each session."""
        done = self.clone.actions([session.seen for session in sessions])
        return [encode(session.actions, action) for session, action in zip(sessions, done, strict=True)]


@lru_cache(maxsize=4)
def clone_of(dataset: Dataset) -> Trees:
    """The clone of a data set's demonstrations, fitted once."""
    shown = demonstrations_of(dataset)
    chosen = np.linspace(0, shown.steps - 1, min(shown.steps, MOST_FITTED)).astype(int)
    return Trees(_features(shown, chosen), np.asarray(shown.actions[chosen]), shown.about.actions.whole)


def _features(shown: Demonstrations, chosen: np.ndarray) -> np.ndarray:
    episodes = np.searchsorted(shown.arrays["ends"], chosen, side="right")
    words = {int(i): _words(shown.mission(int(i))) for i in np.unique(episodes)}
    text = np.stack([words[int(i)] for i in episodes])
    return _together(np.asarray(shown.numbers[chosen]), np.asarray(shown.pixels[chosen]), text)


def _row(seen: Rows) -> np.ndarray:
    return _together(seen.numbers, seen.pixels, _words(seen.text)[None])


def _together(numbers: np.ndarray, pixels: np.ndarray, words: np.ndarray) -> np.ndarray:
    """What the trees see, (count, features) float32; trees take no infinite numbers."""
    finite = np.clip(numbers, -LARGEST, LARGEST)
    return np.concatenate([finite, pixels.astype(np.float32), words], axis=1)


def _words(text: str) -> np.ndarray:
    counts = np.zeros(WORDS, np.float32)
    for word in text.split():
        counts[crc32(word.encode()) % WORDS] += 1
    return counts
