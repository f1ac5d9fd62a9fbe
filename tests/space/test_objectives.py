"""The objectives of a study file: what they may be, how they are stored, and how they weigh the score."""

import json

import pytest

from space.candidate import Architecture
from space.cost import price
from space.errors import StudyFileError
from space.objectives import (
    COSTS,
    DEFAULT,
    KnownCosts,
    Objectives,
    score_title,
    score_words,
    task_weights,
)
from space.parsing import parse
from space.records import SuiteRecord
from space.scores import Scorecard, score_weights
from space.study import StudyConfig

KEYS = {"study": "mine", "rungs": {"tokens": [100_000]}, "stop": {"candidates": 3}}
VALUES = {"walk": [0, 1, 0, 1], "run": [60, 110], "read": [3.5, 4.0]}


def study(**keys) -> StudyConfig:
    return parse(StudyConfig, {**KEYS, **keys}, StudyFileError)


def objectives(*listed) -> Objectives:
    return study(objectives=list(listed)).objectives


@pytest.mark.parametrize(
    ("listed", "score", "costs"),
    [
        (["score", "flops_per_token"], {}, ("flops_per_token",)),
        (["total_params", "score", "training_flops"], {}, ("total_params", "training_flops")),
        ([{"score": {"image": 2, "audio": 1}}, "memory_bytes"], {"image": 2, "audio": 1}, ("memory_bytes",)),
        ([{"score": "digits"}, "active_params"], {"digits": 1}, ("active_params",)),
    ],
)
def test_a_list_is_read_and_stored(listed, score, costs):
    config = study(objectives=listed)
    assert (config.objectives.score, config.objectives.costs) == (score, costs)
    assert config.objectives.names == ("score", *costs)
    assert config.objectives.maximise == (True, *[False] * len(costs))
    stored = json.loads(config.model_dump_json())
    assert parse(StudyConfig, stored, StudyFileError, stored=True) == config


def test_a_study_without_the_key_has_the_score_and_flops():
    config = study()
    assert config.objectives == DEFAULT == objectives("score", "flops_per_token")
    assert config.threshold == 0
    older = {
        key: value for key, value in config.model_dump().items() if key not in ("objectives", "threshold")
    }
    assert parse(StudyConfig, older, StudyFileError, stored=True) == config


@pytest.mark.parametrize(
    ("listed", "line"),
    [
        (["score"], "objectives: objectives are score and one or two costs, got ['score']"),
        (
            ["total_params", "memory_bytes"],
            "score and one or two costs, got ['total_params', 'memory_bytes']",
        ),
        (["score", *list(COSTS)[:3]], "objectives are score and one or two costs, got"),
        (["score", "total_parms"], "got 'total_parms'; did you mean 'total_params'?"),
        (["score", 7], "training_flops, got 7"),
        (["score", "score", "total_params"], "objectives: each objective is named once, got"),
        (
            ["score", {"total_params": 2}],
            "only score has weights, got {'total_params': 2}; write total_params",
        ),
        (
            [{"score": {"image": 1}, "x": 1}, "total_params"],
            "an objective is a name, or score with its weights",
        ),
        ([{"score": {"image": -1}}, "total_params"], "at least 0 with one above it, got {'image': -1}"),
        ([{"score": {"image": 0}}, "total_params"], "at least 0 with one above it, got {'image': 0}"),
        ([{"score": {"image": True}}, "total_params"], "objectives: a finite number, got True"),
        ([{"score": 3}, "total_params"], "objectives: score has a domain, a task, or weights of them, got 3"),
        ("score", "objectives: a list of score and one or two costs, got 'score'"),
        ({"score": 1}, "objectives: a list of score and one or two costs, got {'score': 1}"),
        ({}, "objectives: a list of score and one or two costs, got {}"),
        ([{"score": None}, "total_params"], "score has a domain, a task, or weights of them, got None"),
        ([{"score": {}}, "total_params"], "at least 0 with one above it, got {}"),
        (
            [{"score": {"image": 1e308, "text": 1e308}}, "total_params"],
            "a weight of the score is 0, or from 1e-06 to 1e+06, got image: 1e+308",
        ),
        ([{"score": {"image": 10**400}}, "total_params"], "from 1e-06 to 1e+06, got image: 1"),
        (
            [{"score": {"image": 1, "text": 5e-324}}, "total_params"],
            "from 1e-06 to 1e+06, got text: 5e-324",
        ),
    ],
)
def test_anything_else_is_refused_in_one_line(listed, line):
    with pytest.raises(StudyFileError) as refused:
        study(objectives=listed)
    assert line in str(refused.value)
    assert str(refused.value).startswith("objectives")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "high", float("nan"), True])
def test_a_threshold_is_a_score(threshold):
    with pytest.raises(StudyFileError, match=r"^threshold: "):
        study(threshold=threshold)


def test_a_weight_of_no_domain_or_task_is_refused():
    with pytest.raises(
        StudyFileError, match=r"^objectives.score: .*'quick', got 'imge'; did you mean 'image'\?$"
    ):
        study(objectives=[{"score": {"imge": 1}}, "total_params"]).check()


def test_domains_and_tasks_are_weighed(suite):
    assert task_weights({"control": 2, "text": 1}, suite) == pytest.approx(
        {"walk": 1 / 3, "run": 1 / 3, "read": 1 / 3}
    )
    assert task_weights({"read": 5}, suite) == {"read": 1.0}
    assert task_weights({"control": 1, "walk": 1}, suite) == {"walk": 0.75, "run": 0.25}
    assert task_weights({"control": 1, "text": 0}, suite) == {"walk": 0.5, "run": 0.5}


def test_a_name_that_is_both_is_the_domain(suite):
    records = {**suite.records, "read": suite.records["read"].model_copy(update={"domain": "walk"})}
    assert task_weights({"walk": 1}, suite.model_copy(update={"records": records})) == {"read": 1.0}


def test_the_score_and_its_error_follow_the_weights(suite):
    plain = Scorecard.of(suite, VALUES)
    weighted = Scorecard.of(
        objectives({"score": {"walk": 3, "text": 1}}, "total_params").weighted(suite), VALUES
    )
    fractions = {name: min(1.0, score.fraction) for name, score in plain.tasks.items()}
    assert weighted.score == pytest.approx(0.75 * fractions["walk"] + 0.25 * fractions["read"])
    errors = (0.75 * plain.tasks["walk"].fraction_stderr, 0.25 * plain.tasks["read"].fraction_stderr)
    assert weighted.stderr == pytest.approx(sum(error**2 for error in errors) ** 0.5)
    assert (weighted.tasks, weighted.domains) == (plain.tasks, plain.domains)
    assert weighted.score != pytest.approx(plain.score)


def test_a_suite_without_weights_is_stored_as_before(suite):
    assert "weights" not in suite.model_dump(mode="json")
    assert "weights" not in json.loads(suite.model_dump_json())
    assert DEFAULT.weighted(suite) is suite
    weighted = objectives({"score": "read"}, "total_params").weighted(suite)
    assert SuiteRecord.model_validate(weighted.model_dump(mode="json")) == weighted
    assert score_weights(weighted) == {"walk": 0.0, "run": 0.0, "read": 1.0}
    assert score_weights(suite) == {"walk": 0.25, "run": 0.25, "read": 0.5}


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ({}, "mean over domains"),
        ({"read": 1}, "task read"),
        ({"control": 3}, "domain control"),
        ({"control": 3, "read": 1}, "weighted mean: domain control 75%, task read 25%"),
        ({"walk": 1, "read": 1}, "weighted mean: task walk 50%, task read 50%"),
    ],
)
def test_weights_are_said_in_words(suite, score, words):
    assert score_words(suite.model_copy(update={"weights": task_weights(score, suite)})) == words


@pytest.mark.parametrize(
    ("score", "title"),
    [
        ({}, "mean fraction of the expert"),
        ({"read": 1}, "fraction of the expert, task read"),
        ({"control": 3}, "fraction of the expert, domain control"),
        ({"control": 3, "read": 1}, "weighted mean fraction of the expert"),
    ],
)
def test_an_axis_says_what_the_score_is_a_fraction_of(suite, score, title):
    assert score_title(suite.model_copy(update={"weights": task_weights(score, suite)})) == title


def test_the_score_of_a_single_task_is_no_mean(suite):
    one = suite.model_copy(update={"tasks": ("read",), "records": {"read": suite.records["read"]}})
    assert score_words(one) == "task read"
    assert score_title(one) == "fraction of the expert, task read"


def test_the_most_unequal_weights_leave_no_task_out(suite):
    weights = task_weights({"walk": 1e6, "read": 1e-6}, suite)
    assert set(weights) == {"walk", "read"}
    assert weights["read"] > 0
    assert sum(weights.values()) == pytest.approx(1)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_cost_is_exact_before_training(suite, optimizer):
    cost = price(Architecture(depth=2, width=64, experts=4, top_k=2), suite)
    config = study(objectives=["score", "memory_bytes", "training_flops"], rungs={"tokens": [1_000, 3_000]})
    known = KnownCosts.of(cost, optimizer, suite.batch_tokens, config.rungs.whole_tokens)
    per_token = 3 * cost.flops_per_token
    if optimizer == "muon":
        per_token += cost.muon_flops_per_step / suite.batch_tokens
    assert known.training_flops == pytest.approx(per_token * 3_600)
    assert known[:4] == (cost.flops_per_token, cost.active_params, cost.total_params, cost.training_bytes)
    assert config.costs(cost, optimizer, suite) == (known.memory_bytes, known.training_flops)
    assert list(COSTS) == list(KnownCosts._fields)
