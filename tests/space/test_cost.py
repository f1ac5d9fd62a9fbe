import pytest

from space.candidate import Architecture
from space.cost import price
from space.ranges import Limits


def test_flops_are_those_of_the_formula_worked_by_hand(suite):
    arch = Architecture(depth=1, width=32, experts=4, top_k=2, expert_ratio=1, head_dim=16)
    cost = price(arch, suite)
    attention = 2 * 32 * 16 * 6 + 2 * 2 * 16 * 32 + 4 * 32 * 2 * 16
    experts = 2 * 32 * 4 + 6 * 32 * 32 * 2
    assert cost.body_flops_per_token == attention + experts
    assert cost.head_flops_per_token == 2 * 32 * suite.vocab_size
    patch = 2 * 32 * 48 + 2 * 2 * 32 * 64
    assert cost.encoder_flops_per_patch == {"image": patch}
    assert cost.flops_per_token == cost.body_flops_per_token + cost.head_flops_per_token + patch * 0.5 / 3


def test_top_k_sets_the_compute_and_experts_set_the_size(suite):
    few = price(Architecture(depth=2, width=64, experts=4, top_k=2), suite)
    many = price(Architecture(depth=2, width=64, experts=16, top_k=2), suite)
    assert many.total_params > 2 * few.total_params
    router = 2 * 2 * 64 * 12
    assert many.flops_per_token - few.flops_per_token == router
    assert many.active_params - few.active_params == router // 2


def test_training_counts_the_head_only_where_the_loss_looks(suite):
    cost = price(Architecture(depth=1, width=32), suite)
    work = cost.training_flops(tokens=100, scored_tokens=10, patches={"image": 5})
    assert work == 3 * (
        100 * cost.body_flops_per_token
        + 10 * cost.head_flops_per_token
        + 5 * cost.encoder_flops_per_patch["image"]
    )


@pytest.mark.parametrize("name", ["flops_per_token", "active_params", "total_params", "training_bytes"])
def test_a_limit_names_what_breaks_it(suite, name):
    cost = price(Architecture(depth=1, width=32), suite)
    assert Limits(**{name: getattr(cost, name)}).broken(cost) is None
    assert Limits(**{name: getattr(cost, name) - 1}).broken(cost).startswith(f"{name} ")


def test_a_window_saves_cache_and_no_products(suite):
    full = price(Architecture(depth=2, width=64, kv_groups=2), suite)
    short = price(Architecture(depth=2, width=64, kv_groups=2, window=8), suite)
    assert short.cache_bytes_per_sequence == 2 * 4 * 2 * 32 * 8
    assert short.cache_bytes_per_sequence * suite.context == full.cache_bytes_per_sequence * 8
    assert (short.flops_per_token, short.training_bytes) == (full.flops_per_token, full.training_bytes)
