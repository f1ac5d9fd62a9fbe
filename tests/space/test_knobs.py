"""A knob is declared once: what derives from the declaration, and that no other place names it."""

import pytest
import yaml
from new_knobs import Sunk
from pydantic import ValidationError

from space.candidate import Architecture, CandidateConfig
from space.description import describe
from space.knob_index import KNOBS, allowed, checked, is_of_architecture, kind, unhandled
from space.knobs import Between, Choices, in_words, only
from space.mixture import TaskMixture
from space.ranges import Limits, MixtureSpace, SearchSpace
from space.reference import knob_reference, space_reference
from space.study import StudyConfig


def test_every_field_of_an_architecture_is_a_declared_knob():
    assert set(Architecture.model_fields) < set(KNOBS)
    others = set(KNOBS) - set(Architecture.model_fields)
    assert others == set(CandidateConfig.model_fields) - {"architecture", "mixture"}
    assert [name for name in KNOBS if is_of_architecture(name)] == list(Architecture.model_fields)


def test_the_space_has_a_field_for_each_knob_with_the_declared_default():
    assert list(SearchSpace.model_fields) == [*KNOBS, "mixture"]
    space = SearchSpace()
    assert {name: getattr(space, name) for name in KNOBS} == {
        name: checked(name, knob.search) for name, knob in KNOBS.items()
    }


@pytest.mark.parametrize("name", KNOBS)
def test_the_allowed_values_of_the_reference_are_those_that_a_study_takes(name):
    if kind(name) in ("flag", "word"):
        for word in yaml.safe_load(f"[{allowed(name).replace(' or ', ', ')}]"):
            assert checked(name, only(word)) == only(word)
        return
    bounds = allowed(name).replace("above ", "").replace(", at most", " to").split(" to ")
    low, high = (float(bound) for bound in bounds)
    assert checked(name, only(high))
    beyond = [high + 1, low - 1] if allowed(name)[0].isdigit() else [high + 1, low]
    for value in beyond:
        with pytest.raises(ValueError, match="each value is"):
            checked(name, only(int(value) if kind(name) == "whole" else value))


def test_the_reference_names_every_key_with_its_default():
    keys = {key.path: key for key in space_reference()}
    assert [key.path for key in knob_reference()] == [f"space.{name}" for name in KNOBS]
    assert set(keys) == {f"space.{name}" for name in KNOBS} | {
        *(f"space.mixture.{name}" for name in MixtureSpace.model_fields),
        *(f"limits.{name}" for name in Limits.model_fields),
    }
    assert all(key.meaning and key.type and key.allowed for key in keys.values())
    study: dict = {"space": {"mixture": {}}, "limits": {}}
    for path, key in keys.items():
        *parents, last = path.split(".")
        section = study["space"]["mixture"] if "mixture" in parents else study[parents[0]]
        section[last] = yaml.load(key.default.replace("none", "null"), yaml.SafeLoader)
    rungs = {"study": "mine", "rungs": {"tokens": [20_000]}, "stop": {"candidates": 1}}
    assert StudyConfig.model_validate({**rungs, **study}) == StudyConfig.model_validate(rungs)


def test_a_new_knob_is_described_without_an_edit_elsewhere():
    assert in_words(Sunk(depth=1, width=32))["Attention"] == [
        "2 heads of 16",
        "2 for keys and values",
        "QK-norm",
    ]
    lines = in_words(Sunk(depth=1, width=32, sinks=2, tilt=0.5))
    assert lines["Attention"][-1] == "2 sinks"
    assert lines["Tilt"] == ["0.5"]
    assert Sunk(depth=1, width=32, sinks=2).features == "dense, 2 sinks"
    assert Sunk(depth=1, width=32, experts=4).features == "4 experts, top-1"


def test_fields_that_code_does_not_know_are_found_unless_they_have_no_effect():
    known = Architecture.model_fields
    assert unhandled(Architecture(depth=1, width=32, experts=4), known) == {}
    assert unhandled(Sunk(depth=1, width=32, tilt=2), known) == {"tilt": 2.0}
    assert unhandled(Sunk(depth=1, width=32, sinks=3), known) == {"sinks": 3, "tilt": 1.0}  # no plain value
    assert unhandled(Architecture(depth=1, width=32, kv_groups=2), set(known) - {"router", "kv_groups"}) == {
        "kv_groups": 2
    }


def test_a_study_is_held_to_a_smaller_ratio_than_a_stored_candidate():
    with pytest.raises(ValidationError, match="each value is at most 16, got 17"):
        SearchSpace.model_validate({"expert_ratio": 17})
    assert Architecture(depth=1, width=32, expert_ratio=17).expert_width == 544


def test_a_description_derives_from_the_declarations():
    arch = Architecture(depth=3, width=96, experts=8, top_k=2, expert_ratio=1, kv_groups=2, router="sigmoid")
    mixture = TaskMixture.uniform(["a", "b"])
    made = describe(CandidateConfig(architecture=arch, mixture=mixture, learning_rate=3e-3, optimizer="muon"))
    assert made.facts == {
        "Depth, width": "3, 96",
        "Experts": "8 experts, top-2, sigmoid router",
        "Expert width": "96 (1 times the width)",
        "Attention": "6 heads of 16, 3 for keys and values, QK-norm",
        "Learning rate": "0.003",
        "Optimizer": "muon",
    }
    assert list(made.knobs) == list(KNOBS)
    assert made.knobs["optimizer"] == "muon"


def test_ranges_and_lists_are_the_two_ways_to_write_values():
    space = SearchSpace.model_validate({"depth": {"low": 2, "high": 3}, "width": {"choices": [64]}})
    assert space.depth == Between(low=2, high=3)
    assert space.width == Choices(choices=(64,))
