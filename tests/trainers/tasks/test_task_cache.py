"""Generated data: made once, checked on read, made again when damaged, found under what it depends on."""

import numpy as np
import pytest

from trainers.tasks import cache
from trainers.tasks.cache import ENVIRONMENT, cached_arrays, cached_episodes, is_intact
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

VOCABULARY = Vocabulary(text=4, bins=2, discrete=4, encoders=("image",))


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


def test_a_failed_write_leaves_nothing(folder, monkeypatch, read):
    monkeypatch.setattr(cache.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        read()
    assert list(folder.iterdir()) == []


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
