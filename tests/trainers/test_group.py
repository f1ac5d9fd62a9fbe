"""Training on several devices: processes on the CPU that take the mean of their gradients."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from toys import Recorder

from space.candidate import Architecture, CandidateConfig
from space.contract import Budget
from space.errors import Interrupted, MachineError, PathfrontError, StudyFileError
from space.mixture import TaskMixture
from space.study import StudyConfig
from trainers import group
from trainers.batch import pack, unpack
from trainers.data import Mixer, MixtureData, Share, load_corpora
from trainers.tasks.prepare import prepare
from trainers.train import fit_candidate, train_candidate

STEP = 512  # tokens
STEPS = 24
CLOSE = 2e-5  # of losses; sums in another order differ in the last bits, and training makes more of it


@pytest.fixture(scope="module")
def suite():
    """Tasks that the other processes find too; the share of one device may hold no picture."""
    config = {
        "study": "shared",
        "suite": ["digits", "python-docs"],
        "rungs": {"tokens": [STEP]},
        "stop": {"candidates": 1},
        "batch_tokens": STEP,
        "context": 128,
    }
    suite = StudyConfig.model_validate(config).suite_record()
    prepare(suite, 1, lambda *_: None)
    return suite


@pytest.fixture
def candidate(suite):
    arch = Architecture(depth=2, width=32, experts=4, top_k=2, expert_ratio=1, head_dim=8, kv_groups=2)
    mixture = TaskMixture(weights={"digits": 0.3, "python-docs": 0.7})
    return CandidateConfig(architecture=arch, mixture=mixture, learning_rate=3e-3)


def budget(devices: int, **other: object) -> Budget:
    return Budget(tokens=(STEPS - 4) * STEP, decay_tokens=4 * STEP, device="cpu", devices=devices, **other)


def fitted(candidate, suite, report, devices, resume=None, **other):
    return fit_candidate(candidate, suite, budget(devices, **other), resume, report)


def losses(report) -> dict[int, float]:
    return {tokens: loss for tokens, loss, _ in report.curve}


def started_by(process: int) -> list[int]:
    """The processes that another one has started and that still run."""
    found = Path(f"/proc/{process}/task").glob("*/children")
    return [int(pid) for path in found for pid in path.read_text().split()]


def children() -> list[int]:
    """The other processes of a group that this one has started and that still run."""
    started = started_by(os.getpid())
    return [pid for pid in started if b"trainers.member" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def kill_others() -> list[int]:
    """Kill the other processes; returns those that these had started."""
    left = []
    for pid in children():
        started = started_by(pid)
        left += started + [process for each in started for process in started_by(each)]
        os.kill(pid, signal.SIGKILL)
    return left


def wait_for_end(processes: list[int]) -> None:
    """Wait until processes are gone."""
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in processes):
        assert time.monotonic() < until, f"still there: {processes}"
        time.sleep(0.05)


@pytest.fixture
def whole(candidate, suite, tmp_path):
    """A training on one device."""
    report = Recorder(tmp_path)
    return report, fitted(candidate, suite, report, 1)


@pytest.mark.parametrize("router", ["softmax", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_two_devices_train_as_one_does(candidate, suite, tmp_path, router):
    arch = candidate.architecture.model_copy(update={"router": router})
    candidate = candidate.model_copy(update={"architecture": arch})
    one, two = (Recorder(tmp_path / str(number)) for number in (1, 2))
    for report in (one, two):
        report.folder.mkdir()
    alone = fitted(candidate, suite, one, 1)
    shared = fitted(candidate, suite, two, 2)
    assert losses(two) == pytest.approx(losses(one), abs=CLOSE)
    for (_, _, theirs), (_, _, ours) in zip(two.curve, one.curve, strict=True):
        assert theirs == pytest.approx(ours, abs=10 * CLOSE)
    assert two.saved == one.saved
    works = [{**vars(of.work), "seconds": 0} for of in (alone, shared)]
    assert works[0] == works[1]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("devices", [(2, 1), pytest.param((1, 2), marks=pytest.mark.slow)])
def test_a_training_resumes_on_another_number_of_devices(candidate, suite, tmp_path, whole, devices):
    before, after = devices
    report = Recorder(tmp_path, stop_at=9)
    with pytest.raises(Interrupted):
        fitted(candidate, suite, report, before)
    ((kind, tokens),) = report.saved
    assert kind == "trunk"
    rest = Recorder(tmp_path)
    done = fitted(candidate, suite, rest, after, resume=report.path(kind, tokens))
    expected = losses(whole[0])
    assert losses(report) == pytest.approx({k: expected[k] for k in losses(report)}, abs=CLOSE)
    assert losses(rest) == pytest.approx({k: v for k, v in expected.items() if k > tokens}, abs=CLOSE)
    assert done.work.tokens == whole[1].work.tokens


@pytest.mark.parametrize(
    ("owner", "moment", "loaders"),
    [
        pytest.param(torch.distributed, "init_process_group", 0, marks=pytest.mark.slow),  # the group forms
        pytest.param(MixtureData, "train_dataloader", 1, marks=pytest.mark.slow),  # loaders start
        (Recorder, "progress", 1),  # the first point of the curve
        pytest.param(Recorder, "progress", 0, marks=pytest.mark.slow),
    ],
)
def test_a_training_ends_if_the_process_of_another_device_is_killed(
    candidate, suite, tmp_path, monkeypatch, owner, moment, loaders
):
    left: list[int] = []
    usual = getattr(owner, moment)

    def kill_before(*given, **named):
        left.extend(kill_others())
        return usual(*given, **named)

    monkeypatch.setattr(owner, moment, kill_before)
    monkeypatch.setattr(group, "FORMING", 5)
    with pytest.raises(PathfrontError, match="device 2 of 2: its process ended with SIGKILL"):
        fitted(candidate, suite, Recorder(tmp_path), 2, loaders=loaders)
    assert not torch.distributed.is_initialized()
    assert not children()
    assert bool(left) == (moment == "progress" and loaders > 0)
    wait_for_end(left)


@pytest.mark.slow
def test_why_another_process_fails_is_said(candidate, suite, tmp_path, monkeypatch):
    """The other one has no such device."""
    monkeypatch.setenv("PATHFRONT_CACHE", "/proc/none")
    with pytest.raises(
        PathfrontError, match=r"device 2 of 2: its process ended with exit code 1: .*/proc/none"
    ):
        fitted(candidate, suite, Recorder(tmp_path), 2)


ORPHAN = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from test_group import Recorder, children, fitted
from space.candidate import CandidateConfig
from space.records import SuiteRecord

class Waiting(Recorder):
    def progress(self, tokens, loss, task_losses):
        print(*children(), flush=True)
        time.sleep(600)

candidate = CandidateConfig.model_validate_json(sys.argv[1])
fitted(candidate, SuiteRecord.model_validate_json(sys.argv[2]), Waiting(Path(sys.argv[3])), 2)
"""


@pytest.mark.slow
def test_the_others_end_with_the_first(candidate, suite, tmp_path):
    code = ORPHAN.format(path=[path for path in sys.path if path])
    arguments = [candidate.model_dump_json(), suite.model_dump_json(), str(tmp_path)]
    first = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    with first.stdout:
        (other,) = first.stdout.readline().split()
        first.kill()
        first.wait()
    wait_for_end([int(other)])


def test_devices_that_cannot_share_a_batch_evenly_are_refused(candidate, suite, tmp_path):
    with pytest.raises(StudyFileError, match=r"share the 4 sequences of a batch evenly .* got 3 devices"):
        train_candidate(candidate, suite, budget(3), None, Recorder(tmp_path))


def test_more_gpus_than_there_are_are_refused(candidate, suite, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    asked = budget(2).model_copy(update={"device": "cuda"})
    with pytest.raises(MachineError, match="2 devices train together, and torch sees 1 GPUs"):
        train_candidate(candidate, suite, asked, None, Recorder(tmp_path))


def parts(batch):
    return [part for part in batch if isinstance(part, torch.Tensor)]


def test_the_shares_of_devices_make_up_the_batch(candidate, suite):
    mixer = Mixer(load_corpora(suite), candidate.mixture, suite, 0)
    whole, shares = mixer.batch(5), [mixer.batch(5, Share(index, 2)) for index in range(2)]
    for field in ("tokens", "local", "segment", "sequence_task"):
        together = torch.stack([getattr(share, field) for share in shares], dim=1).flatten(0, 1)
        assert torch.equal(together, getattr(whole, field))
    assert sum(share.weights.sum() for share in shares) == pytest.approx(1.0, abs=1e-6)
    assert sum(len(share.targets) for share in shares) == len(whole.targets) == whole.counts.targets
    assert {share.counts for share in map(_hashable, shares)} == {_hashable(whole).counts}
    pictures = [len(of.patches["image"].at) if of.patches else 0 for of in (whole, *shares)]
    assert pictures[0] == sum(pictures[1:]) == whole.counts.patches.get("image", 0)


def _hashable(batch):
    return batch._replace(counts=(*batch.counts[:2], tuple(batch.counts.patches.items())))


@pytest.mark.parametrize("loaders", [2, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_loader_processes_assemble_the_same_batches_in_order(candidate, suite, loaders):
    class At:
        global_step = 7

    mixer = Mixer(load_corpora(suite), candidate.mixture, suite, 0)
    data = MixtureData(mixer, Share(), loaders)
    data.trainer = At()
    for step, batch in zip(range(7, 13), data.train_dataloader(), strict=False):
        ours = mixer.batch(step)
        assert all(torch.equal(a, b) for a, b in zip(parts(batch), parts(ours), strict=True))
        assert batch.counts == ours.counts
        assert torch.equal(batch.patches["image"].pixels, ours.patches["image"].pixels)


def test_a_batch_that_was_packed_is_the_same(candidate, suite):
    mixer = Mixer(load_corpora(suite), candidate.mixture, suite, 0)
    for share in (Share(), Share(1, 4)):
        batch = mixer.batch(3, share)
        moved = unpack(pack(batch))
        assert moved._fields == batch._fields
        for ours, theirs in zip(batch, moved, strict=True):
            if isinstance(ours, torch.Tensor):
                assert theirs.dtype == ours.dtype
                assert torch.equal(theirs, ours)
        assert moved.counts == batch.counts
        assert moved.patches.keys() == batch.patches.keys()
        for name, patches in batch.patches.items():
            assert all(torch.equal(a, b) for a, b in zip(moved.patches[name], patches, strict=True))
