"""Descriptions that the upgrade to version 3 of the tables stores equal those of new candidates."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from old_studies import VERSIONS, unpack
from sqlalchemy import NullPool, create_engine, select

from search.database import tables
from search.database.migrations.versions import version_3
from search.database.storage import upgrade
from space.candidate import Architecture, CandidateConfig
from space.description import Description, describe
from space.mixture import TaskMixture

ARCHITECTURES = st.fixed_dictionaries(  # 24 heads of 16
    {
        "depth": st.integers(1, 6),
        "width": st.just(384),
        "experts": st.sampled_from([1, 8, 64]),
        "top_k": st.just(1),
        "expert_ratio": st.sampled_from([0.01, 0.5, 1.0, 2.03]),
        "shared_experts": st.integers(0, 1),
        "dense_layers": st.integers(0, 1),
        "router": st.sampled_from(["softmax", "sigmoid"]),
        "kv_groups": st.sampled_from([1, 2, 8]),
        "qk_norm": st.booleans(),
    }
)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_upgrade_describes_the_candidates_of_an_old_study_as_today(version, tmp_path):
    url = unpack(version, tmp_path)
    upgrade(url, say=lambda text: None)
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        found = connection.execute(select(tables.candidates)).all()
    engine.dispose()
    assert len(found) == 3
    for row in found:
        assert_same(row.description, CandidateConfig.model_validate(row.config))


@settings(max_examples=200, deadline=None)
@given(knobs=ARCHITECTURES, optimizer=st.sampled_from(["adamw", "muon"]), rate=st.floats(1e-6, 1.0))
def test_the_upgrade_describes_any_candidate_as_today(knobs, optimizer, rate):
    mixture = TaskMixture(weights={"digits": 1.0})
    architecture = Architecture.model_validate(knobs)
    candidate = CandidateConfig(
        architecture=architecture, mixture=mixture, learning_rate=rate, optimizer=optimizer
    )
    assert_same(version_3.description(candidate.model_dump(mode="json")), candidate)


def test_candidates_from_before_router_and_optimizer_were_knobs_are_described():
    architecture = Architecture(depth=3, width=96, experts=8, top_k=2, dense_layers=1)
    mixture = TaskMixture(weights={"digits": 1.0})
    candidate = CandidateConfig(architecture=architecture, mixture=mixture, learning_rate=1e-3)
    config = candidate.model_dump(mode="json")
    del config["architecture"]["router"], config["optimizer"]
    assert_same(version_3.description(config), candidate)


def assert_same(filled, candidate):
    """Check what the revision stored; knobs that were declared later are at their defaults."""
    today, made = describe(candidate), Description.model_validate(filled)
    assert (made.label, made.sparse) == (today.label, today.sparse)
    assert made.knobs.items() <= today.knobs.items()
    fields = Architecture.model_fields | CandidateConfig.model_fields
    for later in today.knobs.keys() - made.knobs.keys():
        assert today.knobs[later] == fields[later].default
    assert made.facts.items() <= today.facts.items()
