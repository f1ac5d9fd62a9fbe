"""Digests of the data that the tasks of a suite have on this machine, to compare machines.

A digest covers content only: all documents of a text, the training episodes of other tasks, and the
observations and answers of held-out episodes. It does not depend on folders, times, versions or the last bits
of floating-point arithmetic, so machines with the same data agree. python-docs differs between Pythons.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

import numpy as np

from space.records import HELD_OUT, SPLITS, SuiteRecord
from trainers.tasks.answers import AnswerTask
from trainers.tasks.base import Task
from trainers.tasks.cache import cache_path, cached_arrays, is_intact, stated_digest
from trainers.tasks.datasets.pair_episodes import PairEpisodes
from trainers.tasks.episodes import DrawnEpisodes, Episodes
from trainers.tasks.families.text import TextTask
from trainers.tasks.registry import load_task
from trainers.tasks.sessions import BaseTask, SessionTask
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import well_formed

SCHEME = 1  # of what enters a digest
LENGTH = 16  # hexadecimal digits
SIMULATED = 64  # training episodes of a simulation; the rest comes from the same rules
LEVELS, SHIFT = (
    61.7,
    0.123,
)  # of a patch's value; odd numbers, so that no exact value is at the border of two levels


def data_fingerprints(suite: SuiteRecord) -> dict[str, str]:
    """Digests of the data of each task of a suite on this machine.

    They are kept beside the cached data, so this takes milliseconds for prepared data. Other data are made
    here, one task after the other.

    Args:
        suite: the tasks and their sequence settings.

    Returns:
        Task -> 16 hexadecimal digits, equal on every machine that has the same data.

    Raises:
        NotFoundError: there is no such task.
        TaskError: a data set is damaged.
        MachineError: the cache cannot be read or written, or its disk is full.
    """
    return {name: fingerprint(load_task(name, suite)) for name in suite.tasks}


def fingerprint(task: Task) -> str:
    """Digest of the data of one task, read from the cache or computed and kept there."""
    if not isinstance(task, BaseTask):
        return _digest(task)
    key = _key(task)
    if key is None:
        task.episodes()
        key = _key(task)
    arrays = cached_arrays(
        _name(task), key or {}, lambda: {"digest": np.frombuffer(_digest(task).encode(), dtype=np.uint8)}
    )
    return arrays["digest"].tobytes().decode()


def is_fingerprinted(task: BaseTask) -> bool:
    """Whether the digest of the task's prepared data is kept already."""
    key = _key(task)
    return key is not None and is_intact(cache_path(_name(task), key))


def _name(task: BaseTask) -> str:
    return f"{task.name}-fingerprint"


def _key(task: BaseTask) -> dict[str, object] | None:
    """What a kept digest depends on; None where the training episodes are not prepared."""
    made = stated_digest(cache_path(task.name, task.cache_key()))
    return None if made is None else task.cache_key() | {"scheme": SCHEME, "made": made}


def _digest(task: Task) -> str:
    digest = sha256()
    for part in _content(task):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:LENGTH]


def _content(task: Task) -> Iterator[bytes]:
    if isinstance(task, TextTask):
        for split in SPLITS:
            yield split.encode()
            yield from (well_formed(document).encode() for document in task.texts(split))
        return
    simulated = isinstance(task, SessionTask) and not isinstance(task, AnswerTask)
    yield from _episodes(task.episodes(), SIMULATED if simulated else None)
    if isinstance(task, SessionTask):
        for split in HELD_OUT:
            for index in range(task.eval_episodes):
                yield from _chunk(task.session(split, index).observe())
                if isinstance(task, AnswerTask):
                    yield task.answer(split, index).encode()


def _episodes(episodes: Sequence[Chunk], most: int | None) -> Iterator[bytes]:
    """All training episodes, or the first ones."""
    if isinstance(episodes, PairEpisodes):
        yield from episodes.content()
        return
    if most is not None or not isinstance(episodes, Episodes):
        for index in range(min(len(episodes), most or len(episodes))):
            yield from _chunk(episodes[index])
        return
    yield from _numbers((episodes.tokens, episodes.scored, episodes.offsets))
    if isinstance(episodes, DrawnEpisodes):
        yield episodes.digest.encode()
    for name, store in sorted(episodes.patches.items()):
        yield name.encode()
        yield store.stored.tobytes()
        yield ",".join(f"{value:.3g}" for value in store.scale).encode()


def _chunk(chunk: Chunk) -> Iterator[bytes]:
    yield from _numbers((chunk.tokens, chunk.scored))
    for name, patches in sorted(chunk.patches.items()):
        yield name.encode()
        yield np.floor(patches.astype(np.float64) * LEVELS + SHIFT).astype("<i4").tobytes()


def _numbers(arrays: Iterable[np.ndarray]) -> Iterator[bytes]:
    return (np.asarray(array).astype("<i8").tobytes() for array in arrays)
