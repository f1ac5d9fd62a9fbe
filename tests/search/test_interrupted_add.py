"""`data add` that a signal ends: one line, what was converted stays, and the same command resumes."""

import os
import signal

import numpy as np
import pytest
from PIL import Image

from search.commands.output import Meter
from trainers.tasks.datasets import kept


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Data sets, references and cached data of a test's own."""
    monkeypatch.setenv("PATHFRONT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PATHFRONT_TASKS", str(tmp_path / "pathfront-tasks.json"))
    monkeypatch.setenv("PATHFRONT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_line_and_the_same_command_resumes(pathfront, tmp_path, monkeypatch, number, code):
    rng = np.random.default_rng(0)
    for i in range(60):
        (label := tmp_path / "in" / ("dark", "light")[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.clip((60, 190)[i % 2] + rng.normal(0, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(label / f"{i}.png")
    anew, read, update = [], kept._read, Meter.update
    monkeypatch.setattr(kept, "_read", lambda items: anew.append(len(items)) or read(items))

    def stopped(self, done, *more):
        update(self, done, *more)
        if done == 25:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "update", stopped)
        found, out, err = pathfront("data", "add", "shades", "in")
    assert (found, out) == (code, "")
    assert err.splitlines()[-1] == (
        "interrupted: stopped; what was converted is kept, and the same command resumes there"
    )
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".shades.begun"]
    found, out, err = pathfront("data", "add", "shades", "in")
    assert (found, anew) == (0, [60, 35]), err
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["shades"]
    (tmp_path / "data" / ".other.begun").mkdir()
    assert pathfront("data", "remove", "other", "--yes")[:2] == (0, "deleted the data set 'other'\n")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["shades"]
