"""Counted memory of each device; `tests/trainers/test_memory.py` measures it."""

import pytest

from space.candidate import Architecture
from space.cost import price
from space.errors import StudyFileError
from space.study import StudyConfig

ARCH = Architecture(depth=6, width=64, experts=8, top_k=2, head_dim=16)


def counted(suite, **changes):
    return price(ARCH, suite.model_copy(update=changes))


def test_devices_that_hold_all_weights_share_the_activations_only(suite):
    large = suite.model_copy(update={"batch_tokens": 2**18})
    whole, two = counted(large), counted(large, devices=2)
    weights = 4 * whole.total_params
    fixed = 4 * weights  # with moments and gradients, of which several devices have a copy
    assert two.training_bytes == pytest.approx((whole.training_bytes - fixed) / 2 + fixed + weights, rel=0.02)


def test_devices_that_hold_shares_divide_the_weights(suite):
    params = price(ARCH, suite).total_params
    least = [counted(suite, devices=n, sharded=n > 1, batch_tokens=n * suite.context) for n in (1, 2, 4, 8)]
    held = [cost.training_bytes for cost in least]
    layer = 4 * params / ARCH.depth
    for number, size in zip((2, 4, 8), held[1:], strict=True):
        states = 4 * 4 * params / number
        assert states < size < states + 5 * layer
    assert held == sorted(held, reverse=True)


def test_layers_that_are_computed_again_keep_their_inputs(suite):
    large = suite.model_copy(update={"batch_tokens": 2**16})
    usual, again = counted(large), counted(large, checkpoint_activations=True)
    states = 4 * 4 * usual.total_params
    assert states < again.training_bytes < states + 0.4 * (usual.training_bytes - states)
    assert again.flops_per_token == usual.flops_per_token


def test_a_study_counts_for_its_devices():
    given = {
        "study": "many",
        "rungs": {"tokens": [100_000]},
        "stop": {"candidates": 1},
        "devices_per_trial": 4,
        "strategy": "fsdp",
        "checkpoint_activations": True,
    }
    suite = StudyConfig.model_validate(given).check()
    assert (suite.devices, suite.sharded, suite.checkpoint_activations) == (4, True, True)
    alone = StudyConfig.model_validate({**given, "devices_per_trial": 1}).check()
    assert (alone.devices, alone.sharded) == (1, False)
    assert not {"devices", "sharded"} & alone.model_dump().keys()
    least = price(ARCH, suite).training_bytes
    tight = {**given, "space": {"depth": 6, "width": 64}, "limits": {"training_bytes": least // 100}}
    with pytest.raises(StudyFileError, match="training_bytes"):
        StudyConfig.model_validate(tight).check()
