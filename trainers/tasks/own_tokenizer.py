"""Train a study's own tokenizer on the training texts of its tasks, the same model for the same texts.

Texts are the documents of text tasks, and of other tasks the words of some training episodes: instructions,
questions and answers. Held-out texts are never read.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from space.errors import StudyFileError
from space.records import SuiteRecord
from trainers.tasks.answers import AnswerTask
from trainers.tasks.base import Task
from trainers.tasks.families.text import TextTask
from trainers.tasks.registry import blamed, load_task
from trainers.tasks.sessions import SessionTask
from trainers.tasks.tokenizer import suite_tokenizer
from trainers.tokens.text import Tokenizer, train_tokenizer, well_formed

MOST_TEXT = 20_000_000  # characters of all documents: 32,000 pieces take some 20 s
EPISODES = 60  # of a task whose words are read
LONGEST_LINE = 16_000  # characters, which are at most 64 kB
WHOLE = ("<", *(f"\u2581{digit}" for digit in range(10)))
"""Always one piece. With "<" in no longer piece, no text looks like the name of a byte to `tokenizers`."""

Progress = Callable[[str, int, int], object]


def train_own(suite: SuiteRecord, size: int, progress: Progress) -> bytes:
    """Train a tokenizer on the training texts of a suite's tasks.

    Args:
        suite: the tasks, with a tokenizer that ships, which reads their words.
        size: number of pieces.
        progress: called with what was done, the number of steps done, and their total.

    Returns:
        The SentencePiece model.

    Raises:
        StudyFileError: the tasks have no text, or too little or too varied text for that many pieces.
        PathfrontError: a task cannot be opened, or its data cannot be read.
    """
    known, steps = suite_tokenizer(suite), len(suite.tasks) + 1
    tasks = {name: load_task(name, suite, known) for name in suite.tasks}
    share = MOST_TEXT // max(1, sum(isinstance(task, TextTask) for task in tasks.values()))
    lines: list[str] = []
    for count, (name, task) in enumerate(tasks.items(), start=1):
        with blamed(name):
            lines += _lines(_documents(task, share) if isinstance(task, TextTask) else _words(task, known))
        progress(name, count, steps)
    length = sum(map(len, lines))
    progress(f"training {size:,} pieces on {length:,} characters", len(tasks), steps)
    if not length:
        raise StudyFileError(f"tokenizer.vocab: pieces are learnt from text, and suite {suite.name} has none")
    try:
        model = train_tokenizer(lines, size, WHOLE).model
    except ValueError as error:
        raise StudyFileError(f"tokenizer.vocab: {error}") from None
    progress(f"{size:,} pieces of {length:,} characters", steps, steps)
    return model


def _documents(task: TextTask, most: int) -> Iterator[str]:
    """Training documents in random order, until there are enough characters."""
    documents = task.texts("train")
    for i in np.random.default_rng(0).permutation(len(documents)):
        if most <= 0:
            return
        document = documents[int(i)]
        yield document[:most]
        most -= len(document)


def _words(task: Task, known: Tokenizer) -> Iterator[str]:
    """The words of some training episodes."""
    if not isinstance(task, SessionTask):
        for chunk in task.episodes()[:EPISODES]:
            yield known.decode(chunk.tokens)
        return
    for index in range(min(EPISODES, task.train_episodes)):
        yield known.decode(task.session("train", index).observe().tokens)
        if isinstance(task, AnswerTask):
            yield task.answer("train", index)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in well_formed(text).split("\n"):
            yield from (line[i : i + LONGEST_LINE] for i in range(0, len(line), LONGEST_LINE))
