"""Candidates that a person gives: what they hold, how they are read, and each mistake in one line."""

import numpy as np
import pytest
import yaml
from factories import suite
from hypothesis import given, settings
from hypothesis import strategies as st

from space.candidate import CandidateConfig
from space.cost import price
from space.errors import StudyFileError
from space.ranges import Limits, SearchSpace
from space.start import (
    TOLERANCE,
    as_point,
    check_point,
    check_start,
    drawn_around,
    held,
    read_given,
    read_point,
)
from space.study import read_study

SPACE = SearchSpace.model_validate({"depth": {"low": 1, "high": 3}, "mixture": {"spread": 1.0}})
STUDY = {"study": "mine", "rungs": {"tokens": [20_000]}, "stop": {"candidates": 4}}
NO_LIMITS = Limits()


def candidate(rng, space=SPACE):
    while True:
        found = space.candidate(space.sample(suite(), rng), suite())
        if found is not None:
            return found


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_whole_candidate_comes_back(seed):
    wanted = candidate(np.random.default_rng(seed))
    params = held(as_point(wanted), SPACE, suite())
    assert params.keys() == SPACE.parameters(suite()).keys()
    found = SPACE.candidate(params, suite())
    assert found is not None
    assert found.architecture == wanted.architecture
    assert found.learning_rate == pytest.approx(wanted.learning_rate, rel=1e-5)
    for task, share in wanted.mixture.weights.items():
        assert found.mixture.weights[task] == pytest.approx(share, abs=TOLERANCE)


@given(seed=st.integers(0, 10_000), depth=st.integers(1, 3), experts=st.sampled_from([1, 4, 16]))
@settings(max_examples=30, deadline=None)
def test_what_is_given_is_held_and_the_rest_is_drawn_within_the_limits(seed, depth, experts):
    limits = Limits(flops_per_token=4e5)
    params = drawn_around(
        {"depth": depth, "experts": experts}, SPACE, suite(), limits, np.random.default_rng(seed)
    )
    assert params is not None
    found = SPACE.candidate(params, suite())
    assert found is not None
    assert (found.architecture.depth, params["experts"]) == (depth, experts)
    assert limits.broken(price(found.architecture, suite())) is None


def test_a_dense_model_is_found_by_its_network_where_the_space_spells_it_otherwise():
    space = SearchSpace.model_validate({"experts": 4, "top_k": 2, "dense_layers": {"low": 0, "high": 4}})
    params = {"depth": 2, "dense_layers": 2, "width": 64, "expert_ratio": 1, "learning_rate": 1e-3}
    dense = space.candidate(params | dict.fromkeys((f"mixture.{t}" for t in suite().tasks), 0.0), suite())
    assert dense is not None
    assert not dense.architecture.sparse
    assert dense.architecture.experts == 1  # not in the space
    found = held(as_point(dense), space, suite())
    again = space.candidate(found, suite())
    assert again is not None
    assert again.architecture == dense.architecture


def mixture_of(**changes):
    tasks = suite().tasks
    return dict.fromkeys(tasks, 1 / len(tasks)) | {tasks[0]: changes["first"]}


MISTAKES = [
    ({"depht": 2}, r"start\[1\]\.depht: unknown knob; did you mean 'depth'\?"),
    ({"depth": 9}, r"start\[1\]\.depth: the space holds 1 to 3, got 9"),
    ({"depth": 1.5}, r"start\[1\]\.depth: whole numbers, got 1\.5"),
    ({"width": 50}, r"start\[1\]\.width: the space holds 48, 64, 96, 128, got 50"),
    ({"head_dim": 32}, r"start\[1\]\.head_dim: the space fixes it at 16, got 32"),
    ({"router": "best"}, r"start\[1\]\.router: one of softmax, sigmoid, got 'best'"),
    ({"learning_rate": 5.0}, r"start\[1\]\.learning_rate: the space holds 0\.0003 to 0\.01, got 5"),
    (
        {"experts": 1, "top_k": 4},
        r"start\[1\]: no candidate with .* can be built within the limits",
    ),
    (
        {"depth": 3, "width": 128},
        r"start\[1\]: no candidate with .* can be built within the limits",
    ),
    ({"mixture": {"nothing": 1}}, r"start\[1\]\.mixture\.nothing: neither a task nor a domain of suite"),
    (
        {"mixture": {suite().tasks[0]: 1}},
        r"start\[1\]: mixture: every task has a weight|start\[1\]\.mixture: every",
    ),
    ({"mixture": mixture_of(first=-1.0)}, r"start\[1\]\.mixture\.[\w-]+: a weight is at least 0"),
    (
        {"mixture": mixture_of(first=50.0)},
        r"start\[1\]\.mixture\.[\w-]+: the space holds mixtures within its floor",
    ),
    ({"mixture": 3}, r"start\[1\]\.mixture: weights by task or domain, got 3"),
    ({"depth": {"low": 1.0}}, r"start\[1\]\.depth: one value, got"),
]


@pytest.mark.parametrize(("point", "line"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_line_with_its_path(point, line):
    limits = Limits(flops_per_token=3e5) if point.get("width") == 128 else NO_LIMITS
    with pytest.raises(StudyFileError, match=f"^{line}") as refused:
        check_start(({} if limits is NO_LIMITS else {"depth": 1}, point), SPACE, suite(), limits)
    assert "\n" not in str(refused.value)


def test_a_candidate_above_a_limit_says_which():
    whole = as_point(candidate(np.random.default_rng(0)))
    with pytest.raises(
        StudyFileError, match=r"^start\[0\]: a candidate is within the limits.*above the limit"
    ):
        check_start((whole,), SPACE, suite(), Limits(total_params=1_000))


def test_a_domain_has_its_weight_divided_among_its_tasks():
    domains = {record.domain for record in suite().records.values()}
    point = {"mixture": dict.fromkeys(domains, 1.0)}
    params = check_point(point, SearchSpace(), suite(), NO_LIMITS, "candidate")
    assert set(params) == {f"mixture.{task}" for task in suite().tasks}


def write(path, start, **changes):
    path.write_text(yaml.safe_dump({**STUDY, **changes, "start": start}))
    return str(path)


class TestFiles:
    @pytest.fixture(autouse=True)
    def toy(self, monkeypatch):
        from space.study import StudyConfig

        monkeypatch.setattr(StudyConfig, "suite_record", lambda self: suite())

    def test_an_exported_configuration_is_read_at_launch(self, tmp_path):
        wanted = candidate(np.random.default_rng(3), SearchSpace())
        (tmp_path / "best").mkdir()
        text = yaml.safe_dump({"schema_version": 1, "candidate": wanted.model_dump(mode="json")})
        (tmp_path / "best/config.yaml").write_text(text)
        config = read_study(write(tmp_path / "mine.yaml", ["best/config.yaml", "best", {"depth": 2}]))
        assert config.start[0] == config.start[1] == as_point(wanted)
        (tmp_path / "best/config.yaml").unlink()
        again = type(config).model_validate(config.model_dump(mode="json"))
        assert again == config  # the stored study needs no file
        assert held(again.start[0], again.space, suite())["depth"] == wanted.architecture.depth

    @pytest.mark.parametrize(
        ("start", "line"),
        [
            (["nowhere/config.yaml"], r"start\[0\]: no file '.*nowhere/config\.yaml'"),
            ([3], r"start\[0\]: a mapping of knobs, or the path of a config\.yaml, got 3"),
            (["damaged.yaml"], r"start\[0\]: .*damaged\.yaml: candidate\."),
            (["list.yaml"], r"start\[0\]: .*list\.yaml: a mapping of knobs"),
            ([{"width": 50}], r"start\[0\]\.width: the space holds"),
            ([{"width": None}], r"start\.0\.width"),
        ],
    )
    def test_a_bad_file_is_one_line(self, tmp_path, start, line):
        (tmp_path / "damaged.yaml").write_text("candidate: {architecture: {depth: 1}}")
        (tmp_path / "list.yaml").write_text("[1, 2]")
        with pytest.raises(StudyFileError, match=f"^mine.yaml: {line}") as refused:
            read_study(write(tmp_path / "mine.yaml", start))
        assert "\n" not in str(refused.value)

    def test_a_file_of_knobs_is_a_candidate(self, tmp_path):
        (tmp_path / "some.yaml").write_text("depth: 2\nmixture: {control: 1, docs: 1}")
        assert read_point(tmp_path / "some.yaml") == {"depth": 2, "mixture": {"control": 1, "docs": 1}}

    def test_nothing_else_of_a_study_file_is_touched(self, tmp_path):
        data = {"study": "a", "start": {"depth": 1}}
        assert read_given(data, tmp_path, StudyFileError) == data


def test_an_export_is_the_same_candidate():
    wanted = candidate(np.random.default_rng(5))
    assert CandidateConfig.model_validate(wanted.model_dump(mode="json")) == wanted
    assert set(as_point(wanted)) > {"depth", "learning_rate", "mixture"}
