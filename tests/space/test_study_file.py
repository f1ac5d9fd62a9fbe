import pytest
import yaml

from space.errors import NotFoundError, StudyFileError
from space.study import Rungs, StudyConfig, read_study, shipped_studies

GOOD = {
    "study": "mine",
    "suite": "quick",
    "space": {"depth": {"low": 1, "high": 2}, "experts": {"choices": [1, 4]}, "top_k": {"choices": [1, 2]}},
    "rungs": {"tokens": [20_000, 40_000], "eta": 2},
    "stop": {"candidates": 4},
}


@pytest.fixture
def write(tmp_path):
    def write(change: dict) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(GOOD | change))
        return str(path)

    return write


def test_a_study_file_becomes_a_config_that_travels_as_json(write):
    config = read_study(write({}))
    assert config.space.depth.values() == [1, 2]
    assert StudyConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_every_study_that_ships_is_valid_and_says_what_it_costs(name):
    assert read_study(name).study == name
    header = shipped_studies()[name].read_text().split("study:")[0]
    for word in (f"pathfront launch {name}", "cost", "score"):
        assert word in header.lower()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spaec": {}}, "spaec: unknown key; did you mean 'space'?"),
        ({"space": {"widht": 64}}, "space.widht: unknown key; did you mean 'width'?"),
        ({"space": {"depth": {"low": 4, "hihg": 5}}}, "space.depth.hihg: unknown key; did you mean 'high'?"),
        ({"space": {"depth": {"low": 4, "high": 2}}}, "space.depth: low is at most high, got low 4, high 2"),
        (
            {"space": {"experts": {"choices": [1, 2]}, "top_k": 4}},
            "space: top_k: at least one value is at most the largest number of experts, got top_k 4",
        ),
        ({"suite": ["cartpol"]}, "suite: no task is called 'cartpol'; did you mean 'cartpole'?"),
        ({"suite": "quikc"}, "suite: no suite is called 'quikc'; did you mean 'quick'?"),
        ({"rungs": {"tokens": [4, 2]}}, "rungs.tokens: token budgets rise from rung to rung, got [4, 2]"),
        ({"rungs": {"tokens": [10]}}, "rungs.tokens: the first rung holds at least one batch"),
        (
            {"rungs": {"tokens": [9000], "episodes": [0]}},
            "rungs.episodes: shares of the episodes lie in (0, 1]",
        ),
        (
            {"rungs": {"tokens": [9000, 90000], "episodes": [1]}},
            "rungs: episodes: one share for each of the 2 rungs, got 1",
        ),
        (
            {"space": {"router": {"choices": ["softmax", "sigmod"]}}},
            "space.router: one of softmax, sigmoid, got 'sigmod'; did you mean 'sigmoid'?",
        ),
        ({"space": {"optimizer": {"low": 1, "high": 2}}}, "space.optimizer: one of adamw, muon, got a range"),
        ({"space": {"depth": "deep"}}, "space.depth: numbers, got 'deep'"),
        ({"stop": {}}, "stop: a study ends: give candidates, training_flops or wall_minutes"),
        ({"search": {"sampler": "nsga"}}, "did you mean 'nsga2'?"),
        ({"limits": {"flops_per_token": 10}}, "limits: at least one architecture of the space is"),
        ({"space": {"mixture": {"prior": {"visoin": 1}}}}, "space.mixture.prior.visoin: neither a task nor"),
        ({"space": {"mixture": {"floor": 0.5}}}, "space.mixture.floor: the floors of 8 tasks sum to less"),
        ({"suite": []}, "suite: a suite, or a list of at least one task, got an empty one"),
        ({"suite": ["digits", "digits"]}, "suite: each task is named once, got ['digits', 'digits']"),
        ({"suite": [5]}, "suite.0: "),
        ({"space": {"width": {"choices": []}}}, "space.width.choices: a list of at least one value, got []"),
        ({"space": {"mixture": {"prior": "foo"}}}, "space.mixture.prior: "),
        ({"rungs": {"tokens": 5}}, "rungs.tokens: a list, got 5"),
        ({"search": {"sampler": "tpe", "sampler_args": {"a": float("nan")}}}, "search.sampler_args.a: "),
        ({"workers": 0}, "workers: workers is 'auto' or a whole number of at least 1, got 0"),
        ({"study": "a/b"}, "study: "),
        ({"space": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, "a log range starts above 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_key_rule_value_and_nearest_name(write, change, message):
    with pytest.raises(StudyFileError) as error:
        read_study(write(change))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "just words", "study: x\nstudy: y\n", "\xff\xfe"])
def test_what_is_no_study_file_is_said_in_one_line(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StudyFileError) as error:
        read_study(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_study_file_names_the_nearest_that_ships():
    with pytest.raises(NotFoundError, match=r"no study file 'quikc'; did you mean 'quick'\?"):
        read_study("quikc")


def test_numbers_may_be_written_as_engineers_write_them(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "study: 'inf'\nrungs: {tokens: [2e4, 40_000]}\nstop: {candidates: 3}\nlimits: {total_params: 1e8}\n"
    )
    config = read_study(str(path))
    assert (config.study, config.rungs.tokens, config.limits.total_params) == ("inf", (20_000, 40_000), 1e8)


def test_a_budget_starts_where_the_rung_below_ended():
    budget = Rungs(tokens=(100, 300), decay=0.2).budget(1, seed=3)
    assert (budget.start_tokens, budget.tokens, budget.decay_tokens, budget.seed) == (100, 300, 60, 3)


def test_lower_rungs_may_be_scored_on_fewer_episodes():
    rungs = Rungs(tokens=(100, 300), episodes=(0.25, 1))
    assert [rungs.budget(rung).episodes for rung in (0, 1)] == [0.25, 1]
    assert Rungs(tokens=(100,)).budget(0).episodes == 1
