"""A data set is added, or its text is tokenised, by a process that kills itself when some of it is done.

Run as a script by the kill tests. It prints what was done in the end, and writes into a file how much was
converted or tokenised anew.
"""

import json
import os
import signal
import sys
from pathlib import Path

from space.catalog import load_catalog
from trainers.tasks import journal
from trainers.tasks.cache import cache_path, stated_digest
from trainers.tasks.datasets import kept, pair_writer, text_task
from trainers.tasks.datasets.content import LeftOut
from trainers.tasks.datasets.folders import Told
from trainers.tasks.datasets.library import add_dataset
from trainers.tasks.datasets.text_task import AddedText
from trainers.tasks.registry import load_task

what, name, source, last, log = sys.argv[1:]
told, done = [], {"anew": 0}


def note(anew: int) -> None:
    done["anew"] += anew
    Path(log).write_text(json.dumps(done))


def die(count: int, total: int, unit: str = "") -> None:
    told.append(count)
    done.setdefault("first", count)
    note(0)
    if int(last) and len(told) == int(last):
        os.kill(os.getpid(), signal.SIGKILL)


read, medium, encoded = kept._read, pair_writer.read_medium, text_task._encoded


def counted_read(items):
    note(len(items))
    return read(items)


def counted_medium(*arguments):
    note(1)
    return medium(*arguments)


def counted_spans(chosen, spans, tokenizer):
    note(len(spans))
    return encoded(chosen, spans, tokenizer)


kept._read, pair_writer.read_medium, text_task._encoded = counted_read, counted_medium, counted_spans
journal.FLUSHED = 0.0  # a kill loses no whole item
kept.ALONE = 0  # all cores convert
text_task.SPAN = 20_000
if what == "add":
    print(add_dataset(name, Path(source), die, left_out=LeftOut(0.1), told=Told(side=64)).manifest.sha256)
else:
    task = load_task(name, load_catalog().suite("quick"))
    assert isinstance(task, AddedText)
    task.tokenise(die)
    print(stated_digest(cache_path(name, task.cache_key())))
