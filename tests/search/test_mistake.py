"""A mistake in a trainer as its author meets it: named, mended, tried again; then all of it is deleted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PATHFRONT = Path(sys.executable).with_name("pathfront")

STUDY = """
study: mine
suite: [wine]
rungs: {tokens: [20_000, 40_000], eta: 2}
stop: {candidates: 1}
workers: 1
trainer: own:train
"""

TRAINER = """
from pathlib import Path
from space.scores import Scorecard, Spent

def train(candidate, suite, budget, resume, report):
    if not Path("mended").exists():
        raise RuntimeError(f"no such layer at {id(report)}")
    report.checkpoint(lambda path: path.write_bytes(b"weights"), budget.tokens, "decayed")
    floor, expert = suite.records["wine"].checked("select")
    values = {"wine": [floor.mean + 0.5 * (expert.mean - floor.mean)] * 2}
    return Scorecard.of(suite, values, spent=Spent(tokens=budget.tokens, training_flops=1e9, wall_seconds=1))
"""


@pytest.mark.slow
def test_a_mistake_in_a_trainer_is_named_mended_tried_again_and_the_study_deleted(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(STUDY)
    (tmp_path / "own.py").write_text(TRAINER)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def user(*arguments):
        done = subprocess.run(
            [PATHFRONT, *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    code, out, err = user("launch", "mine.yaml")
    assert (code, out) == (1, "")
    assert "RuntimeError: no such layer at " in err.splitlines()[-1]
    for command in (("status", "mine"), ("trials", "mine", "--state", "failed"), ("show", "mine", "0")):
        assert "RuntimeError: no such layer at " in user(*command)[1] or command[0] == "show"
    (tmp_path / "mended").touch()
    code, out, err = user("retry", "mine")
    assert code == 0, err
    assert "resume with: pathfront launch SPEC" in out
    code, out, err = user("launch", "mine.yaml")
    assert code == 0, err
    assert "1 worker" in user("launch", "mine.yaml", "--dry-run")[1]
    code, out, err = user("trials", "mine", "--json")
    assert {row["state"] for row in json.loads(out)} == {"done"}
    code, out, err = user("delete", "mine", "--yes")
    assert code == 0, err
    assert not list(tmp_path.rglob("*.safetensors"))
    assert user("status", "mine")[0] == 3
