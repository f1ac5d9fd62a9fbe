import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from space.candidate import Architecture, CandidateConfig
from space.mixture import TaskMixture

architectures = st.builds(
    Architecture,
    depth=st.integers(1, 8),
    width=st.sampled_from([32, 64, 96]),
    experts=st.sampled_from([4, 8, 16]),
    top_k=st.sampled_from([1, 2, 4]),
    expert_ratio=st.sampled_from([0.5, 1, 2]),
    shared_experts=st.integers(0, 1),
    dense_layers=st.integers(0, 1),
    qk_norm=st.booleans(),
    router=st.sampled_from(["softmax", "sigmoid"]),
)
candidates = st.builds(
    CandidateConfig,
    architecture=architectures,
    mixture=st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(
        lambda w: TaskMixture.of(dict(zip("abc", w, strict=True)))
    ),
    learning_rate=st.floats(1e-5, 1e-1),
    optimizer=st.sampled_from(["adamw", "muon"]),
)


@given(candidates)
def test_json_round_trip_keeps_the_candidate_and_its_id(candidate):
    again = CandidateConfig.model_validate_json(candidate.model_dump_json())
    assert again == candidate
    assert again.id == candidate.id


def test_an_id_is_what_it_was_when_studies_were_stored_with_it():
    candidate = CandidateConfig(
        architecture=Architecture(depth=2, width=64, experts=8, top_k=2),
        mixture=TaskMixture.uniform(["b", "a"]),
        learning_rate=1e-3,
    )
    assert candidate.id == "d03f3ae7dbdc"


def test_an_id_depends_on_every_knob_and_not_on_the_order_of_tasks():
    base = {"architecture": {"depth": 2, "width": 64}, "learning_rate": 1e-3}
    ids = {
        CandidateConfig.model_validate(base | change | {"mixture": {"weights": weights}}).id
        for change in (
            {},
            {"learning_rate": 2e-3},
            {"optimizer": "muon"},
            {"architecture": {"depth": 3, "width": 64}},
        )
        for weights in ({"a": 0.5, "b": 0.5}, {"a": 0.25, "b": 0.75})
    }
    assert len(ids) == 8
    one = CandidateConfig.model_validate(base | {"mixture": {"weights": {"a": 0.25, "b": 0.75}}})
    two = CandidateConfig.model_validate(base | {"mixture": {"weights": {"b": 0.75, "a": 0.25}}})
    assert one.id == two.id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experts": 2, "top_k": 4}, "top_k is at most experts, got 4 of 2"),
        ({"width": 72}, "width is a multiple of an even head_dim, got width 72"),
        ({"kv_groups": 3}, "kv_groups divides the 4 heads, got 3"),
        ({"dense_layers": 3}, "dense_layers is at most depth, got 3 of 2"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_values(change, message):
    with pytest.raises(ValidationError, match=message):
        Architecture.model_validate({"depth": 2, "width": 64} | change)


def test_one_expert_is_dense_and_leading_layers_can_be():
    assert not Architecture(depth=2, width=64).sparse
    mixed = Architecture(depth=2, width=64, experts=4, top_k=2, dense_layers=1)
    assert [mixed.is_sparse_layer(i) for i in range(2)] == [False, True]
    assert mixed.dense_width == 2 * mixed.expert_width


def test_an_architecture_says_how_it_routes():
    assert Architecture(depth=2, width=64).experts_in_words == "dense"
    arch = Architecture(
        depth=2, width=64, experts=4, top_k=2, shared_experts=1, dense_layers=1, router="sigmoid"
    )
    words = "4 experts, top-2, 1 shared, sigmoid router, first 1 of 2 layers dense"
    assert arch.experts_in_words == words


def test_an_architecture_names_its_window():
    assert Architecture(depth=2, width=64, window=8).features == "dense, window of 8"
