import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from space.errors import StudyFileError
from space.mixture import TaskMixture

TASKS = ("a", "b", "c", "d")


@given(st.lists(st.floats(-2.5, 2.5), min_size=4, max_size=4), st.floats(0, 0.2))
def test_log_ratios_give_a_point_of_the_simplex_above_the_floor(logits, floor):
    prior = dict.fromkeys(TASKS, 0.25)
    mixture = TaskMixture.from_logits(dict(zip(TASKS, logits, strict=True)), prior, floor)
    weights = np.array(list(mixture.weights.values()))
    assert abs(weights.sum() - 1) < 1e-5
    assert weights.min() >= floor - 1e-6
    assert np.argmax(weights) == np.argmax(logits) or max(logits) - sorted(logits)[-2] < 1e-5


def test_no_log_ratio_gives_the_prior():
    prior = {"a": 0.7, "b": 0.3}
    assert TaskMixture.from_logits({"a": 0.0, "b": 0.0}, prior, 0).weights == pytest.approx(prior)


def test_the_uniform_mixture_gives_each_task_the_same():
    assert set(TaskMixture.uniform(TASKS).weights.values()) == {0.25}


@pytest.mark.parametrize("weights", [{"a": 0.5, "b": 0.6}, {"a": -0.1, "b": 1.1}, {}, {"a": float("nan")}])
def test_points_off_the_simplex_are_refused(weights):
    with pytest.raises(ValidationError):
        TaskMixture(weights=weights)


def test_weights_that_cannot_be_normalised_are_refused():
    with pytest.raises(StudyFileError, match="at least 0"):
        TaskMixture.of({"a": 0.0, "b": 0.0})
