"""Batches in parts, whose gradients add up."""

import pytest
import torch
from toys import Recorder, budget

from space.candidate import Architecture
from space.cost import price
from space.errors import Interrupted
from trainers.data import Mixer, MixtureData, Share, load_corpora
from trainers.train import fit_candidate

STEP = 192
PARTS = 4

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def dense(candidate):
    arch = Architecture(depth=2, width=32, head_dim=8)
    return candidate.model_copy(update={"architecture": arch})


@pytest.fixture
def in_parts(suite):
    return suite.model_copy(update={"accumulate": PARTS})


def spend(steps=24):
    return budget(steps * STEP, decay_tokens=6 * STEP)


def losses(report):
    return {tokens: loss for tokens, loss, _ in report.curve}


def test_parts_add_up_to_the_batch(candidate, suite, in_parts):
    corpora = load_corpora(suite)
    whole = Mixer(corpora, candidate.mixture, suite, 0).batch(5)
    mixer = Mixer(corpora, candidate.mixture, in_parts, 0)
    parts = [mixer.batch(5, Share(1, 2).part(part, PARTS)) for part in range(PARTS)]
    other = [mixer.batch(5, Share(0, 2).part(part, PARTS)) for part in range(PARTS)]
    assert sum(len(part.tokens) for part in parts + other) == len(whole.tokens)
    assert sum(part.weights.sum() for part in parts + other) == pytest.approx(whole.weights.sum().item())


def test_a_batch_in_parts_trains_as_a_whole_one(dense, suite, in_parts, tmp_path):
    found = {}
    for name, of in (("whole", suite), ("parts", in_parts)):
        (tmp_path / name).mkdir()
        report = Recorder(tmp_path / name)
        found[name] = fit_candidate(dense, of, spend(), None, report), report
    (one, alone), (other, parts) = found.values()
    assert losses(parts) == pytest.approx(losses(alone), abs=2e-5)
    for mine, theirs in zip(other.decoder.parameters(), one.decoder.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-3)
    works = [{**vars(fitted.work), "seconds": 0} for fitted in (one, other)]
    assert works[0] == works[1]


def test_it_resumes_at_a_step(dense, in_parts, tmp_path):
    for name in ("whole", "stopped", "rest"):
        (tmp_path / name).mkdir()
    whole, rest = Recorder(tmp_path / "whole"), Recorder(tmp_path / "rest")
    fit_candidate(dense, in_parts, spend(), None, whole)
    stopped = Recorder(tmp_path / "stopped", stop_at=9)
    with pytest.raises(Interrupted):
        fit_candidate(dense, in_parts, spend(), None, stopped)
    ((kind, tokens),) = stopped.saved
    fit_candidate(dense, in_parts, spend(), stopped.path(kind, tokens), rest)
    expected = losses(whole)
    assert losses(rest) == pytest.approx({k: v for k, v in expected.items() if k > tokens}, abs=1e-6)


@pytest.mark.parametrize("router", ["sigmoid", pytest.param("softmax", marks=pytest.mark.slow)])
def test_experts_are_balanced_over_parts(candidate, in_parts, tmp_path, router):
    arch = candidate.architecture.model_copy(update={"router": router})
    report = Recorder(tmp_path)
    fit_candidate(candidate.model_copy(update={"architecture": arch}), in_parts, spend(60), None, report)
    curve = list(losses(report).values())
    assert curve[-1] < 0.7 * curve[0]


def test_loader_processes_bring_the_parts_in_order(candidate, in_parts):
    class Trainer:
        global_step = 3

    mixer = Mixer(load_corpora(in_parts), candidate.mixture, in_parts, 0)
    data = MixtureData(mixer, Share())
    data.trainer = Trainer()
    brought = iter(data.train_dataloader())
    for place in range(2 * PARTS):
        step, part = divmod(place, PARTS)
        expected = mixer.batch(3 + step, Share().part(part, PARTS))
        batch = next(brought)
        assert torch.equal(batch.tokens, expected.tokens)
        assert (batch.counts == expected.counts) == (part == 0)


def test_memory_is_that_of_a_part_and_of_all_gradients(suite):
    arch = Architecture(depth=4, width=64, head_dim=8)
    large = suite.model_copy(update={"batch_tokens": 2**16})
    needed = [
        price(arch, large.model_copy(update={"accumulate": parts})).training_bytes for parts in (1, 2, 64)
    ]
    fixed = 4 * 4 * price(arch, suite).total_params  # weights, moments and gradients
    assert needed[0] > needed[1] > needed[2] > fixed
    assert needed[1] - fixed == pytest.approx((needed[0] - fixed) / 2, rel=0.1)


def test_a_suite_that_is_trained_whole_is_stored_as_before(suite, in_parts):
    assert "accumulate" not in suite.model_dump()
    assert in_parts.model_dump()["accumulate"] == PARTS
