import numpy as np
import pytest

from space.errors import TaskError
from space.scores import Scorecard


def test_a_score_is_the_mean_over_domains_of_the_mean_over_tasks(suite):
    card = Scorecard.of(suite, {"walk": [0, 1, 0, 1], "run": [110, 110], "read": [3.5]})
    assert card.tasks["walk"].fraction == 0.5
    assert card.tasks["run"].fraction == 1.0
    assert card.tasks["read"].fraction == 0.5  # bits per byte: lower is better
    assert card.domains == {"control": 0.75, "text": 0.5}
    assert card.score == 0.625
    assert card.above(0.5) == 1
    assert (card.memorisable_score, card.generalising_score) == (1.0, 0.5)


def test_the_objective_clips_and_the_stored_fraction_does_not(suite):
    card = Scorecard.of(suite, {"walk": [3.0], "run": [-990.0], "read": [2.0]})
    assert card.tasks["walk"].fraction == 3.0
    assert card.tasks["run"].fraction == -10.0
    assert card.domains["control"] == 0.0


def test_a_score_at_the_floor_is_not_lifted_by_its_noise(suite):
    rng = np.random.default_rng(0)
    scores = [
        Scorecard.of(
            suite,
            {"walk": rng.normal(0, 0.5, 4), "run": rng.normal(10, 50, 4), "read": rng.normal(5, 1.5, 4)},
        ).score
        for _ in range(400)
    ]
    assert abs(np.mean(scores)) < 0.03


def test_the_standard_error_is_that_of_the_weighted_mean(suite):
    card = Scorecard.of(suite, {"walk": [0, 1, 0, 1], "run": [110, 110], "read": [3.5]})
    assert card.stderr == pytest.approx(np.std([0, 1, 0, 1], ddof=1) / 2 / 4)


@pytest.mark.parametrize("values", [{}, {"walk": []}, {"walk": [float("nan")]}, {"walk": [float("inf")]}])
def test_missing_and_unfinite_values_are_refused(suite, values):
    with pytest.raises(TaskError, match="'walk' needs finite values"):
        Scorecard.of(suite, {"run": [1], "read": [1]} | values)


def test_a_task_whose_expert_does_not_clear_its_floor_is_refused(suite):
    record = suite.records["walk"]
    references = record.references["select"]
    low = references.expert.model_copy(update={"mean": 0.02})
    broken = record.model_copy(
        update={"references": {"select": references.model_copy(update={"expert": low})}}
    )
    with pytest.raises(TaskError, match="two standard errors"):
        broken.fraction(0.5, "select")
    with pytest.raises(TaskError, match="no references on the report episodes"):
        broken.fraction(0.5, "report")


def test_a_scorecard_travels_as_json(suite):
    card = Scorecard.of(suite, {"walk": [1, 0], "run": [50, 60], "read": [3.0, 4.0]})
    assert Scorecard.model_validate_json(card.model_dump_json()) == card
