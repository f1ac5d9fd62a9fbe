"""Descriptions of candidates: one place from which tables, pages and cards read."""

from space.candidate import Architecture, CandidateConfig
from space.description import Description, describe
from space.mixture import TaskMixture


def candidate(**knobs):
    architecture = Architecture(depth=3, width=96, **knobs)
    mixture = TaskMixture(weights={"a": 0.5, "b": 0.5})
    return CandidateConfig(architecture=architecture, mixture=mixture, learning_rate=0.003)


def test_a_description_names_every_knob_and_survives_json():
    made = describe(candidate(experts=16, top_k=2))
    assert made.label == "3 x 96, 16 experts, top-2"
    assert made.sparse
    assert set(Architecture.model_fields) < set(made.knobs)
    assert Description.model_validate_json(made.model_dump_json()) == made


def test_a_dense_candidate_is_called_dense():
    made = describe(candidate())
    assert made.label == "3 x 96, dense"
    assert not made.sparse


def test_a_description_that_is_older_than_a_knob_has_its_default():
    made = describe(candidate())
    old = made.model_dump() | {"knobs": {name: made.knobs[name] for name in made.knobs if name != "window"}}
    assert Description.model_validate(old).knobs == made.knobs
