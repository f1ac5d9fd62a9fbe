"""Generated data: made once, checked on read, made again when damaged, found under what it depends on."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from space import machine
from space.catalog import load_catalog
from space.errors import MachineError
from trainers.tasks import cache
from trainers.tasks.cache import ENVIRONMENT, cached_arrays, cached_episodes, is_intact
from trainers.tasks.prepare import prepare
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

VOCABULARY = Vocabulary(text=4, bins=2, discrete=4, encoders=("image",))
ROOT = Path(__file__).resolve().parents[3]
WORKERS = """
import sys, numpy as np
from trainers.tasks.cache import cached_arrays
print("ready", flush=True)
sys.stdin.readline()
for n in range(20):
    found = cached_arrays("numbers", {"n": n}, lambda: {"x": np.arange(1000) + n})["x"]
    assert found[0] == n and found.sum() == 499500 + 1000 * n
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


@pytest.fixture
def made():
    return []


@pytest.fixture
def read(made):
    def make():
        made.append(1)
        return {"x": np.arange(1000)}

    return lambda **key: cached_arrays("numbers", {"a": 1} | key, make)["x"]


def test_it_is_made_once(folder, read, made):
    assert np.array_equal(read(), read())
    assert len(made) == 1
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]


def test_others_may_read_it_where_the_umask_lets_them(folder, read):
    before = os.umask(0o022)
    try:
        read()
    finally:
        os.umask(before)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


def test_another_key_is_another_file(folder, read, made):
    read()
    read(a=2)
    assert len(made) == len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["flip", "header", "cut", "empty"])
def test_what_is_damaged_is_made_again(folder, read, made, damage):
    read()
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    header = b"\xff" * 8 + bytes(content[8:])
    path.write_bytes({"flip": content, "header": header, "cut": content[:100], "empty": b""}[damage])
    assert not is_intact(path)
    assert np.array_equal(read(), np.arange(1000))
    assert len(made) == 2
    assert is_intact(path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk of '.*cache' is full.*PATHFRONT_CACHE"),
        (OSError(errno.EIO, "Input/output error"), "cannot be used: Input/output.*PATHFRONT_CACHE"),
    ],
)
def test_a_failed_write_leaves_nothing_and_is_the_machines_fault(folder, monkeypatch, read, error, words):
    monkeypatch.setattr(cache.os, "fsync", lambda _: (_ for _ in ()).throw(error))
    with pytest.raises(MachineError, match=words):
        read()
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_found_out_before_anything_is_made(
    tmp_path, monkeypatch, read, made
):
    for place in ("/dev/null/cache", str(tmp_path / "file")):
        (tmp_path / "file").write_text("a file, not a folder")
        monkeypatch.setenv(ENVIRONMENT, place)
        with pytest.raises(MachineError, match=f"'{place}', which cannot be used.*PATHFRONT_CACHE"):
            read()
    assert made == []


def test_data_preparation_looks_at_the_folder_first(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "/dev/null/cache")
    suite = load_catalog().suite("quick")
    heard = []
    with pytest.raises(MachineError, match="'/dev/null/cache', which cannot be used"):
        prepare(suite, 1, lambda *what: heard.append(what))
    assert heard == []


@pytest.mark.slow
def test_a_prepared_cache_need_not_be_written(folder, monkeypatch):
    suite = load_catalog().suite("quick").model_copy(update={"tasks": ("taxi",)})
    prepare(suite, 1, lambda *_: None)

    def read_only(**_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", read_only)
    prepare(suite, 1, lambda *_: None)
    for path in folder.glob("taxi-[!f]*"):
        path.unlink()
    with pytest.raises(MachineError, match="PATHFRONT_CACHE"):
        prepare(suite, 1, lambda *_: None)


def test_a_folder_that_is_deleted_meanwhile_is_made_again(folder, read, made):
    kept = read()
    shutil.rmtree(folder)
    assert kept.sum() == np.arange(1000).sum()  # mapped, so still there
    assert np.array_equal(read(), np.arange(1000))
    assert len(made) == 2


def test_processes_that_make_the_same_data_at_once_all_get_them(folder):
    folder.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKERS],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        _, told = worker.communicate()
        assert worker.returncode == 0, told
    assert len(list(folder.iterdir())) == 20


def test_chunks_come_back_as_they_were(folder):
    pixels = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    seen = sequence.observation(VOCABULARY, patches={"image": pixels}, ids=[6])
    chunks = [Chunk.concat([seen, sequence.action([7], np.array([4]))]), sequence.text([1, 2], scored=True)]
    for back in (cached_episodes("chunks", {}, lambda: chunks), cached_episodes("chunks", {}, list)):
        for a, b in zip(chunks, back, strict=True):
            for name in ("tokens", "local", "scored", "starts"):
                assert np.array_equal(getattr(a, name), getattr(b, name))
                assert getattr(a, name).dtype == getattr(b, name).dtype
            assert a.placeholders == b.placeholders
        assert back[0].patches["image"] == pytest.approx(pixels, abs=2e-3)
        assert back[0].patches["image"].dtype == np.float32
        assert not back[1].patches
