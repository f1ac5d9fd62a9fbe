"""Checkpoints of a decay branch: taken up by their own trial alone, and gone when it is done."""

import os
import stat
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from toy_trainers import score

from search.database import tables
from search.worker import Worker
from space.candidate import CandidateConfig


@pytest.fixture
def worker(launch, url):
    launch(stop={"candidates": 1}, rungs={"tokens": [3_000, 6_000], "eta": 2})
    one = Worker(url, "toy", "artifacts", "one")
    yield one
    one.ledger.close()


def save(worker, claim, tokens, kind):
    worker.checkpoints.save(claim, lambda path: path.write_text(f"{kind} {tokens}"), tokens, kind)


def test_a_branch_is_taken_up_by_its_own_trial_alone(worker, rows, tmp_path):
    claim = worker.choose()
    save(worker, claim, 3_000, "trunk")
    save(worker, claim, 3_200, "branch")
    save(worker, claim, 3_400, "branch")
    assert {row["tokens"] for row in rows(tables.checkpoints)} == {3_000, 3_400}
    found = worker.checkpoints.latest_trunk(claim, tmp_path)
    assert (found.rung, found.tokens, found.path.read_text()) == (0, 3_400, "branch 3400")
    assert worker.checkpoints.latest_trunk(replace(claim, rung=1), tmp_path).tokens == 3_000
    found.path.write_text("damaged")
    assert worker.checkpoints.latest_trunk(claim, tmp_path).tokens == 3_000


def test_a_branch_is_gone_when_its_trial_is_done(worker, rows, tmp_path):
    claim = worker.choose()
    for kind, tokens in (("trunk", 3_000), ("branch", 3_400), ("decayed", 3_600)):
        save(worker, claim, tokens, kind)
    candidate = CandidateConfig.model_validate(worker.ledger.candidate(claim.candidate).config)
    worker.ledger.finish(claim, score(candidate, worker.suite, worker.config.rungs.budget(0)))
    worker.checkpoints.settle(claim)
    left = {(row["kind"], row["tokens"]) for row in rows(tables.checkpoints)}
    assert left == {("decayed", 3_600), ("trunk", 3_000)}
    names = {path.name.split("-")[0] for path in tmp_path.glob("artifacts/**/rung*/*") if path.is_file()}
    assert names == {"decayed", "trunk"}


def test_weights_have_the_mode_of_the_umask_whatever_wrote_them(worker, tmp_path):
    claim = worker.choose()
    before = os.umask(0o027)
    try:
        worker.checkpoints.save(claim, lambda path: save_file({"a": torch.ones(2)}, path), 3_000, "decayed")
    finally:
        os.umask(before)
    (path,) = tmp_path.glob("artifacts/**/*.safetensors")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
