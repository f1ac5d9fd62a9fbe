"""Priors in a study file: what they may say, and each mistake in one line that names the key."""

import pytest
from factories import suite

from space.errors import StudyFileError
from space.knowledge import Prior, check_priors
from space.parsing import parse
from space.ranges import SearchSpace
from space.study import StudyConfig

TASK = suite().tasks[0]
SPACE = SearchSpace.model_validate({"optimizer": {"choices": ["adamw", "muon"]}})


def study(priors):
    data = {"study": "mine", "rungs": {"tokens": [20_000]}, "stop": {"candidates": 4}, "priors": priors}
    return parse(StudyConfig, data, StudyFileError)


def priors_of(priors):
    return study(priors).priors


@pytest.mark.parametrize(
    "priors",
    [
        {"depth": 2},
        {"depth": {"value": 4, "strength": 3}},
        {"optimizer": "muon"},
        {"experts": {"weights": {1: 0.2, 8: 0.8}}},
        {"expert_ratio": {"weights": {0.5: 1, "2": 1}}},
        {"learning_rate": 3e-3, f"mixture.{TASK}": {"value": 0.3}},
    ],
)
def test_a_prior_is_read_and_stored(priors):
    found = priors_of(priors)
    check_priors(found, SPACE, suite())
    config = study(priors)
    assert StudyConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("priors", "line"),
    [
        ({"dept": 2}, r"priors\.dept: a prior is for a knob or mixture\.TASK; did you mean 'depth'"),
        (
            {"head_dim": 16},
            r"priors\.head_dim: a prior is for a knob that varies, and the space fixes it at 16",
        ),
        ({"depth": 9}, r"priors\.depth: the space holds 1 to 4, got 9"),
        ({"width": 65}, r"priors\.width: the space holds 48, 64, 96, 128, got 65"),
        ({"depth": {"weights": {"1": 1}}}, r"priors\.depth: weights are for a list of choices"),
        ({"experts": {"weights": {3: 1}}}, r"priors\.experts: weights are for 1, 2, 4, 8, 16, got '3'"),
        ({"mixture.nothing": 0.5}, r"priors\.mixture\.nothing: no task of suite"),
        ({f"mixture.{TASK}": 1.5}, rf"priors\.mixture\.{TASK}: the share of one of"),
        ({f"mixture.{TASK}": {"weights": {"a": 1}}}, rf"priors\.mixture\.{TASK}: the prior of a share has"),
        ({"depth": {"value": 2, "strength": 0}}, r"priors\.depth\.strength: .*greater than 0"),
        (
            {"depth": {"value": 2, "strenght": 1}},
            r"priors\.depth\.strenght: unknown key; did you mean 'strength'",
        ),
        ({"depth": {"strength": 1}}, r"priors\.depth: a prior has either a value or weights"),
        (
            {"experts": {"weights": {1: 0}}},
            r"priors\.experts\.weights: weights are at least 0 with one above",
        ),
    ],
)
def test_a_mistake_is_one_line(priors, line):
    with pytest.raises(StudyFileError, match=f"^{line}") as refused:
        check_priors(priors_of(priors), SPACE, suite())
    assert "\n" not in str(refused.value)


def test_a_fixed_mixture_has_no_priors():
    space = SearchSpace.model_validate({"mixture": {"fixed": True}})
    with pytest.raises(StudyFileError, match="the study fixes its mixture"):
        check_priors({f"mixture.{TASK}": Prior(value=0.3)}, space, suite())
