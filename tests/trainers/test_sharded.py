"""Weights, gradients and optimizer state divided among devices: the same training as on one device."""

import pytest
import torch
from test_group import CLOSE, STEP, children, kill_others, losses, suite
from torch.distributed import HashStore
from toys import Recorder

from space.candidate import Architecture, CandidateConfig
from space.contract import Budget
from space.errors import Interrupted, PathfrontError
from space.mixture import TaskMixture
from trainers.group import Member
from trainers.train import fit_candidate

assert suite  # a fixture
ARCH = Architecture(depth=2, width=32, experts=4, top_k=2, expert_ratio=1, head_dim=8, kv_groups=2)
SLOW = pytest.mark.slow
STEPS = 8
EARLY = 4  # steps, after which Muon makes more of the last bits


def budget(devices, **other):
    given = {"device": "cpu", **other}
    return Budget(tokens=(STEPS - 2) * STEP, decay_tokens=2 * STEP, devices=devices, **given)


def fitted(candidate, suite, report, devices, resume=None, **other):
    return fit_candidate(candidate, suite, budget(devices, **other), resume, report)


def candidate_of(optimizer="adamw", **arch):
    mixture = TaskMixture(weights={"digits": 0.3, "python-docs": 0.7})
    arch = ARCH.model_copy(update=arch)
    return CandidateConfig(architecture=arch, mixture=mixture, learning_rate=3e-3, optimizer=optimizer)


def recorder(tmp_path, name, **other):
    (tmp_path / name).mkdir()
    return Recorder(tmp_path / name, **other)


def alone(candidate, suite, report, resume=None, strategy="fsdp", **other):
    """A training by one device that is a group of its own, which divides its weights into one share."""
    spend = budget(1, strategy=strategy, **other)
    return fit_candidate(candidate, suite, spend, resume, report, member=Member(0, 1, HashStore()))


def assert_close(report, expected, optimizer="adamw"):
    """Losses are those of another training, of which there may be more."""
    theirs = losses(expected)
    ours = losses(report)
    assert ours
    early = {tokens: loss for tokens, loss in ours.items() if optimizer == "adamw" or tokens <= EARLY * STEP}
    assert early == pytest.approx({tokens: theirs[tokens] for tokens in early}, abs=CLOSE)
    assert ours == pytest.approx({tokens: theirs[tokens] for tokens in ours}, abs=2e-3)


def loaded(path):
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.mark.parametrize(
    ("optimizer", "arch", "other"),
    [
        pytest.param("adamw", {}, {}, marks=SLOW),
        pytest.param("muon", {"router": "sigmoid"}, {"accumulate": 2}, marks=SLOW),
        pytest.param("muon", {"experts": 3}, {"checkpoint_activations": True}, marks=SLOW),
        pytest.param("adamw", {"shared_experts": 1, "dense_layers": 1}, {"accumulate": 2}, marks=SLOW),
    ],
)
def test_two_devices_with_a_share_each_train_as_one_does(suite, tmp_path, optimizer, arch, other):
    candidate = candidate_of(optimizer, **arch)
    one, two = recorder(tmp_path, "one"), recorder(tmp_path, "two")
    of = suite.model_copy(update=other)
    # experts are balanced over each part of a batch, and a part of two devices has other sequences
    whole = fitted(candidate, of, one, 2 if "accumulate" in other else 1)
    shared = fitted(candidate, of, two, 2, strategy="fsdp")
    assert losses(two).keys() == losses(one).keys()
    assert_close(two, one, optimizer)
    assert two.saved == one.saved
    works = [{**vars(done.work), "seconds": 0} for done in (whole, shared)]
    assert works[0] == works[1]
    ours, theirs = (dict(done.decoder.named_parameters()) for done in (shared, whole))
    assert {name: p.shape for name, p in ours.items()} == {name: p.shape for name, p in theirs.items()}
    assert not torch.distributed.is_initialized()


@SLOW
def test_three_devices_have_shares_of_different_size(suite, tmp_path):
    """Neither the width nor the number of experts is a multiple of 3."""
    of = suite.model_copy(update={"batch_tokens": 6 * 128})
    one, three = recorder(tmp_path, "one"), recorder(tmp_path, "three")
    for optimizer in ("adamw", "muon"):
        fitted(candidate_of(optimizer), of, one, 1)
        fitted(candidate_of(optimizer), of, three, 3, strategy="fsdp")
        early = list(losses(one).values())[:EARLY]
        assert list(losses(three).values())[:EARLY] == pytest.approx(early, abs=CLOSE)


@pytest.mark.parametrize(
    ("optimizer", "before", "after"),
    [
        ("muon", ("fsdp", 2), ("ddp", 1)),
        pytest.param("adamw", ("fsdp", 2), ("ddp", 1), marks=SLOW),
        pytest.param("muon", ("ddp", 1), ("fsdp", 2), marks=SLOW),
        pytest.param("adamw", ("ddp", 1), ("fsdp", 2), marks=SLOW),
        pytest.param("adamw", ("ddp", 2), ("fsdp", 2), marks=SLOW),
        pytest.param("adamw", ("fsdp", 2), ("ddp", 2), marks=SLOW),
    ],
)
def test_a_checkpoint_resumes_with_another_strategy(suite, tmp_path, optimizer, before, after):
    candidate = candidate_of(optimizer)
    whole, first = recorder(tmp_path, "whole"), recorder(tmp_path, "first", stop_at=3)
    rest = recorder(tmp_path, "rest")
    fitted(candidate, suite, whole, 1)
    with pytest.raises(Interrupted):
        fitted(candidate, suite, first, before[1], strategy=before[0])
    ((kind, tokens),) = first.saved
    assert kind == "trunk"
    fitted(candidate, suite, rest, after[1], first.path(kind, tokens), strategy=after[0])
    assert min(losses(rest)) == tokens + STEP
    assert_close(first, whole, optimizer)
    assert_close(rest, whole, optimizer)


@SLOW
def test_a_training_ends_if_the_process_of_another_device_is_killed(suite, tmp_path, monkeypatch):
    usual = Recorder.progress

    def kill_before(*given):
        kill_others()
        return usual(*given)

    monkeypatch.setattr(Recorder, "progress", kill_before)
    with pytest.raises(PathfrontError, match=r"^device 2 of 2: its process ended with SIGKILL"):
        fitted(candidate_of(), suite, Recorder(tmp_path), 2, strategy="fsdp")
    assert not torch.distributed.is_initialized()
    assert not children()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_checkpoint_is_what_one_device_writes(suite, tmp_path, optimizer):
    candidate = candidate_of(optimizer, router="sigmoid")
    plain, divided = recorder(tmp_path, "plain"), recorder(tmp_path, "divided")
    fitted(candidate, suite, plain, 1)
    done = alone(candidate, suite, divided)
    assert losses(divided) == pytest.approx(losses(plain), abs=1e-6)
    assert divided.saved == plain.saved
    kind, tokens = plain.saved[0]
    (ours, theirs) = (loaded(report.path(kind, tokens)) for report in (divided, plain))
    assert ours.keys() == theirs.keys()
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    (ours_state,), (their_state,) = ours["optimizer_states"], theirs["optimizer_states"]
    assert ours_state["param_groups"] == their_state["param_groups"]
    assert ours_state["state"].keys() == their_state["state"].keys()
    for number, values in their_state["state"].items():
        for name, value in values.items():
            torch.testing.assert_close(ours_state["state"][number][name], value, atol=1e-5, rtol=1e-3)
    assert not any(hasattr(parameter, "device_mesh") for parameter in done.decoder.parameters())


def test_a_plain_training_goes_on_in_shares(suite, tmp_path):
    """With layers that are computed again."""
    candidate = candidate_of("muon")
    whole, first = recorder(tmp_path, "whole"), recorder(tmp_path, "first", stop_at=3)
    rest = recorder(tmp_path, "rest")
    fitted(candidate, suite, whole, 1)
    with pytest.raises(Interrupted):
        fitted(candidate, suite, first, 1)
    again = suite.model_copy(update={"checkpoint_activations": True})
    done = alone(candidate, again, rest, first.path(*first.saved[0]))
    assert_close(rest, whole, "muon")
    assert done.work.tokens == STEPS * STEP
    assert done.decoder.device == torch.device("cpu")


@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("bf16-true", marks=SLOW)])
def test_half_precision_is_that_of_whole_weights(suite, tmp_path, precision):
    plain, divided = recorder(tmp_path, "plain"), recorder(tmp_path, "divided")
    fitted(candidate_of(), suite, plain, 1, precision=precision)
    alone(candidate_of(), suite, divided, precision=precision)
    near = 1e-5 if precision == "bf16-mixed" else 1e-2
    assert losses(divided) == pytest.approx(losses(plain), abs=near)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_shares_on_a_gpu_train_as_whole_weights(suite, tmp_path, precision, optimizer):
    found = []
    for strategy in ("ddp", "fsdp"):
        report = recorder(tmp_path, strategy)
        given = {"precision": precision, "strategy": strategy}
        spend = budget(1, device="cuda", **given)
        member = Member(0, 1, HashStore())
        fit_candidate(candidate_of(optimizer), suite, spend, None, report, member=member)
        found.append(list(losses(report).values()))
    assert found[1][:EARLY] == pytest.approx(found[0][:EARLY], abs=1e-4 if precision == "32-true" else 2e-2)
    assert found[1] == pytest.approx(found[0], abs=5e-2)


@pytest.mark.gpu
def test_compiled_layers_in_shares_train_on_a_gpu(suite, tmp_path):
    again = suite.model_copy(update={"checkpoint_activations": True})
    plain, compiled = recorder(tmp_path, "plain"), recorder(tmp_path, "compiled")
    for report, compile in ((plain, False), (compiled, True)):
        given = {"precision": "bf16-mixed", "strategy": "fsdp", "compile": compile}
        spend = budget(1, device="cuda", **given)
        fit_candidate(candidate_of(), again, spend, None, report, member=Member(0, 1, HashStore()))
    assert losses(compiled) == pytest.approx(losses(plain), abs=5e-2)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_with_a_share_each_train_as_one_does(suite, tmp_path):
    one, two = recorder(tmp_path, "one"), recorder(tmp_path, "two")
    for report, devices in ((one, 1), (two, 2)):
        spend = budget(devices, strategy="fsdp", device="cuda")
        fit_candidate(candidate_of(), suite, spend, None, report)
    assert_close(two, one)
