"""Train a tokenizer that ships: `python -m trainers.tasks.train_tokenizer generalist-1024`.

It is trained on Python's documentation and on the text of tasks, so the result depends on the version of
Python. Suites that ship name its file; a study's own tokenizer is trained by `own_tokenizer`.
"""

import sys
from collections import Counter
from collections.abc import Iterator

from space.catalog import load_catalog
from trainers.tasks.answers import AnswerTask
from trainers.tasks.families import text
from trainers.tasks.registry import shipped_tasks
from trainers.tasks.sessions import SessionTask
from trainers.tasks.tokenizer import MODELS, suite_tokenizer
from trainers.tokens.text import Tokenizer, train_tokenizer

SAMPLED = 60  # episodes of a task
RARE = 4  # a rarer word of the tasks gets no piece of its own


def train(size: int) -> Tokenizer:
    """Train on Python's documentation and the text of tasks; frequent words of tasks become whole pieces."""
    said = list(_task_lines())
    counts = Counter(word for line in said for word in line.split() if word.isalpha() and len(word) > 1)
    words = [f"▁{word}" for word, count in sorted(counts.items()) if count >= RARE]
    digits = [f"▁{digit}" for digit in range(10)]
    lines = (line for document in text.texts("train") for line in document.split("\n") if line)
    return train_tokenizer([*lines, *said], size, [*digits, *words])


def _task_lines() -> Iterator[str]:
    """Instructions, questions and answers of some training episodes of every task that ships."""
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
