"""Fingerprints of data: equal where the data are, whatever the machine; another where they are not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trainers.tasks import fingerprint
from trainers.tasks.cache import ENVIRONMENT
from trainers.tasks.code import fingerprints
from trainers.tasks.datasets import library as datasets
from trainers.tasks.datasets.library import add_dataset
from trainers.tasks.families import text
from trainers.tasks.families.text import TextTask
from trainers.tasks.fingerprint import data_fingerprints
from trainers.tasks.prepare import prepare
from trainers.tasks.registry import load_task

ROOT = Path(__file__).resolve().parents[3]
TASKS = ("taxi", "symbols-parity", "cartpole")
ASK = """
import json, sys
from space.catalog import load_catalog
from trainers.tasks.fingerprint import data_fingerprints
suite = load_catalog().suite("quick").model_copy(update={"tasks": tuple(sys.argv[1:])})
print(json.dumps(data_fingerprints(suite)))
"""


@pytest.fixture
def suite(quick):
    return lambda *tasks: quick.model_copy(update={"tasks": tasks})


@pytest.fixture
def documents(monkeypatch, tmp_path):
    """Replaces the text that is read from the running Python, and what is remembered of it and its code."""
    of_code = (fingerprints._of_class, fingerprints.object_fingerprint)

    def forget():
        for remembered in (text._documents, text.texts, text.excerpts, *of_code):
            remembered.cache_clear()

    def read(topics: dict[str, str], cache: str) -> None:
        monkeypatch.setenv(ENVIRONMENT, str(tmp_path / cache))
        monkeypatch.setattr(text, "_topics", lambda: iter(topics.items()))
        monkeypatch.setattr(text, "_docstrings", lambda: iter(()))
        forget()

    yield read
    forget()


def topics(changed: int | None = None) -> dict[str, str]:
    rng = np.random.default_rng(0)
    return {
        f"topics/{i}": " ".join(rng.choice(["if", "for", "while", "def"], 400)) + " end" * (i == changed)
        for i in range(60)
    }


@pytest.mark.slow
def test_they_are_the_same_in_another_process_with_another_cache(suite, cache, tmp_path):
    prepare(suite(*TASKS), 2, lambda *_: None)
    here = data_fingerprints(suite(*TASKS))
    assert list(here) == list(TASKS)
    assert len(set(here.values())) == 3
    assert all(len(found) == 16 and int(found, 16) >= 0 for found in here.values())
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "7",
        ENVIRONMENT: str(tmp_path / "c"),
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, *reversed(TASKS)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == here


@pytest.mark.slow
def test_they_are_computed_once_and_again_when_damaged(suite, monkeypatch, tmp_path):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    computed = []
    digest = fingerprint._digest
    monkeypatch.setattr(fingerprint, "_digest", lambda task: computed.append(task.name) or digest(task))
    prepare(suite("symbols-parity"), 1, lambda *_: None)
    first = data_fingerprints(suite("symbols-parity"))
    assert data_fingerprints(suite("symbols-parity")) == first
    assert computed == []  # preparing computed it, in a process of its own
    (kept,) = tmp_path.glob("*fingerprint*")
    kept.write_bytes(kept.read_bytes()[:-3])
    assert data_fingerprints(suite("symbols-parity")) == first
    assert computed == ["symbols-parity"]


@pytest.mark.parametrize("changed", range(0, 60, 7))
def test_python_docs_of_another_python_differ_in_any_split(suite, documents, changed):
    documents(topics(), "one")
    one = data_fingerprints(suite("python-docs"))
    documents(topics(), "two")
    assert data_fingerprints(suite("python-docs")) == one
    documents(topics(changed), "three")
    assert data_fingerprints(suite("python-docs")) != one


def test_data_that_are_made_anew_and_differ_are_not_taken_for_the_former_ones(suite, documents, tmp_path):
    documents(topics(), "one")
    one = data_fingerprints(suite("python-docs"))
    for path in (tmp_path / "one").iterdir():
        if "fingerprint" not in path.name:
            path.unlink()
    documents(topics(changed=3), "one")
    assert data_fingerprints(suite("python-docs")) != one


def test_a_data_set_that_was_replaced_differs(suite, monkeypatch, tmp_path):
    monkeypatch.setenv(datasets.ENVIRONMENT, str(tmp_path / "data"))
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in ("novel.txt", "in/again.txt"):
        (tmp_path / name).write_text(
            "\n\n".join(" ".join(rng.choice(["a", "bc", "d"], 300)) for _ in range(40))
        )
        rng = np.random.default_rng(0)
    add_dataset("novel", tmp_path / "novel.txt", lambda *_: None)
    before = data_fingerprints(suite("novel"))["novel"]
    add_dataset("the-same", tmp_path / "novel.txt", lambda *_: None)
    assert data_fingerprints(suite("the-same"))["the-same"] == before
    path = tmp_path / "novel.txt"
    path.write_text(path.read_text().replace("bc", "cb", 1))
    add_dataset("novel", path, lambda *_: None, replace=True)
    assert data_fingerprints(suite("novel"))["novel"] != before


class PlainTask:
    """A task of the protocol alone, without what shipped tasks share."""

    def __init__(self, episodes):
        self.kept = episodes

    def episodes(self):
        return self.kept


def test_a_task_of_the_protocol_alone_has_one_too(quick):
    shown = list(load_task("taxi", quick).episodes()[:5])
    one = fingerprint.fingerprint(PlainTask(shown))  # pyright: ignore[reportArgumentType]
    assert fingerprint.fingerprint(PlainTask(shown[:])) == one  # pyright: ignore[reportArgumentType]
    assert fingerprint.fingerprint(PlainTask(shown[:4])) != one  # pyright: ignore[reportArgumentType]


def test_the_last_bits_of_arithmetic_do_not_matter(quick):
    task = load_task("digits", quick)
    assert not isinstance(task, TextTask)
    chunk = task.episodes()[0]
    nudged = {name: np.nextafter(patches, np.float32(9)) for name, patches in chunk.patches.items()}
    other = type(chunk)(**{**vars(chunk), "patches": nudged})
    assert list(fingerprint._chunk(other)) == list(fingerprint._chunk(chunk))
    moved = {name: patches + np.float32(0.05) for name, patches in chunk.patches.items()}
    assert list(fingerprint._chunk(type(chunk)(**{**vars(chunk), "patches": moved}))) != list(
        fingerprint._chunk(chunk)
    )
