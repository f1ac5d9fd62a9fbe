import pytest
from factories import suite
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from space.candidate import Architecture
from space.cost import price
from space.errors import StudyFileError
from space.growth import TargetSize, grow

SUITE = suite()
KEPT = ("experts", "top_k", "expert_ratio", "shared_experts", "head_dim", "kv_groups", "qk_norm", "router")


@st.composite
def architectures(draw) -> Architecture:
    head_dim, kv_groups = draw(st.sampled_from([8, 16, 24])), draw(st.sampled_from([1, 2]))
    depth, experts = draw(st.integers(1, 8)), draw(st.sampled_from([1, 4, 16]))
    return Architecture(
        depth=depth,
        width=head_dim * kv_groups * draw(st.integers(1, 6)),
        experts=experts,
        top_k=draw(st.sampled_from([1, min(experts, 2)])),
        expert_ratio=draw(st.sampled_from([0.5, 1, 2])),
        shared_experts=draw(st.integers(0, 1)),
        dense_layers=draw(st.integers(0, depth)) if experts > 1 else 0,
        router=draw(st.sampled_from(["softmax", "sigmoid"])),
        head_dim=head_dim,
        kv_groups=kv_groups,
        qk_norm=draw(st.booleans()),
    )


def flops(architecture: Architecture) -> float:
    return price(architecture, SUITE).flops_per_token


@settings(max_examples=40, deadline=None)
@given(architectures(), st.floats(1.2, 50))
def test_what_grows_keeps_all_but_its_size(small, factor):
    target = factor * flops(small)
    try:
        large = grow(small, SUITE, target)
    except StudyFileError:  # whole heads and layers do not come near: the next test is about how rarely
        assume(False)
    assert flops(large) / target == pytest.approx(1, abs=0.1)
    assert large.depth >= small.depth
    assert large.width >= small.width
    assert {name: getattr(large, name) for name in KEPT} == {name: getattr(small, name) for name in KEPT}
    assert small.dense_layers <= large.dense_layers
    assert (
        abs(large.dense_layers / large.depth - small.dense_layers / small.depth) <= 0.5 / large.depth + 1e-9
    )
    assert large.sparse == small.sparse


@pytest.mark.parametrize("factor", [4, 10, 50, 1000])
@pytest.mark.parametrize(("depth", "width"), [(1, 96), (1, 128), (2, 128), (3, 96), (6, 64)])
@pytest.mark.parametrize("experts", [1, 8])
def test_the_shapes_of_a_shipped_study_grow_at_their_own_ratio(depth, width, experts, factor):
    small = Architecture(depth=depth, width=width, experts=experts)
    large = grow(small, SUITE, factor * flops(small))
    assert flops(large) == pytest.approx(factor * flops(small), rel=0.1)
    assert large.width % 16 == 0
    stretch = large.depth / large.width * small.width / small.depth
    assert 0.5 < stretch < 2
    if large.depth >= 5:
        assert stretch == pytest.approx(1, abs=0.25)


def test_ten_times_the_flops_are_about_twice_the_depth_and_twice_the_width():
    small = Architecture(depth=4, width=256, experts=8, top_k=2, dense_layers=1)
    large = grow(small, SUITE, TargetSize(10, relative=True).flops(flops(small)))
    assert (large.depth, large.width, large.dense_layers) == (9, 560, 2)
    assert grow(small, SUITE, TargetSize(10 * flops(small)).flops(flops(small))) == large


@pytest.mark.parametrize("factor", [0.1, 1.0])
def test_growing_is_upwards(factor):
    small = Architecture(depth=2, width=64)
    with pytest.raises(StudyFileError, match="more FLOPs per token than the candidate's own"):
        grow(small, SUITE, factor * flops(small))


def test_a_size_that_whole_heads_cannot_reach_is_refused_with_the_nearest():
    small = Architecture(depth=1, width=256, head_dim=256)
    with pytest.raises(StudyFileError, match="within 10% by whole layers and heads") as raised:
        grow(small, SUITE, 1.4 * flops(small))
    nearest = float(str(raised.value).split("per token is ")[1].split(", with")[0].replace(",", ""))
    large = grow(small, SUITE, nearest)
    assert flops(large) == pytest.approx(nearest, abs=1)
