"""Numbers of a study file that nothing could be run with: each is one line that begins with its key."""

import copy
import math
from functools import reduce

import pytest
import yaml

from space.errors import StudyFileError
from space.study import StudyConfig, read_study

GOOD = {
    "study": "mine",
    "suite": "quick",
    "space": {
        "depth": {"low": 1, "high": 2},
        "width": {"choices": [48, 64]},
        "experts": {"choices": [1, 4]},
        "top_k": {"low": 1, "high": 2},
        "expert_ratio": {"low": 1, "high": 4},
        "shared_experts": 0,
        "dense_layers": 0,
        "head_dim": 16,
        "kv_groups": 1,
        "qk_norm": True,
        "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
        "mixture": {"prior": {"digits": 1.0, "text": 2.0}, "floor": 0.02, "spread": 1.0},
    },
    "limits": {"flops_per_token": 1e7, "active_params": 1e7, "total_params": 1e8, "training_bytes": 1e10},
    "rungs": {"tokens": [20_000, 40_000], "eta": 2, "decay": 0.2, "episodes": [0.5, 1]},
    "search": {"seed": 0},
    "stop": {"candidates": 4, "training_flops": 1e12, "wall_minutes": 10},
    "workers": 2,
    "trials_per_gpu": 1,
    "devices_per_trial": 1,
    "loaders": 1,
    "batch_tokens": 1024,
    "accumulate": 1,
    "context": 128,
    "checkpoint_seconds": 30,
    "stall_minutes": 30,
}
MAY_BE_0 = {
    "space.shared_experts",
    "space.dense_layers",
    "space.mixture.prior.digits",
    "space.mixture.prior.text",
    "space.mixture.floor",
    "rungs.decay",
    "search.seed",
    "loaders",
}
MAY_BE_LARGE = {"stop.training_flops", *(f"limits.{name}" for name in GOOD["limits"])}
MAY_BE_NOTHING = {*(f"limits.{name}" for name in GOOD["limits"]), *(f"stop.{name}" for name in GOOD["stop"])}
MAY_BE_NOTHING |= {"batch_tokens", "context"}
WORDS = {"study", "suite", "space.qk_norm", "space.learning_rate.log"}


def numbers(data, path=()):
    """Dotted paths of all numbers of a study file."""
    if isinstance(data, dict):
        return [found for key, value in data.items() for found in numbers(value, (*path, str(key)))]
    if isinstance(data, list):
        return [found for index, value in enumerate(data) for found in numbers(value, (*path, str(index)))]
    name = ".".join(path)
    return [] if name in WORDS else [name]


KEYS = numbers(GOOD)
BAD = [math.inf, -math.inf, math.nan, -1, 0, 1e30, True, "many", "12", None, [], {}]


def changed(key, value):
    data = copy.deepcopy(GOOD)
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    reduce(lambda part, name: part[name], parents, data)[last] = value
    return data


def allowed(key, value):
    return (
        (type(value) is int and value == 0 and key in MAY_BE_0)
        or (value == 1e30 and key in MAY_BE_LARGE)
        or (value is None and key in MAY_BE_NOTHING)
    )


@pytest.fixture
def read(tmp_path):
    def read(data):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(data))
        return read_study(str(path))

    return read


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_no_key_takes_a_number_that_is_none_infinite_or_absurd(read, value):
    assert len(KEYS) > 35
    for key in KEYS:
        if allowed(key, value):
            assert read(changed(key, value)).study == "mine"
            continue
        with pytest.raises(StudyFileError) as error:
            print(key, value, read(changed(key, value)))
        line = str(error.value).removeprefix("mine.yaml: ")
        named = line.partition(":")[0]
        assert key.startswith(named) or named.startswith(key), (key, value, line)
        assert named.count(".") >= min(1, key.count(".")), (key, value, line)
        assert "\n" not in line
        assert ", got " in line or line.endswith(".low: this key is needed"), line


@pytest.mark.parametrize("knob", ["depth", "width", "experts", "expert_ratio", "head_dim", "learning_rate"])
@pytest.mark.parametrize("value", BAD, ids=repr)
def test_a_list_and_a_plain_value_of_a_knob_are_held_to_the_same_rule(read, knob, value):
    for written in (value, {"choices": [value]}):
        with pytest.raises(StudyFileError, match=f"^mine.yaml: space.{knob}"):
            print(written, read(changed(f"space.{knob}", written)))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"space": {"width": {"low": 48.5, "high": 96}}}, "space.width: whole numbers, got 48.5"),
        ({"space": {"shared_experts": 2}}, "space.shared_experts: each value is less than or equal to 1"),
        ({"space": {"learning_rate": {"low": -0.01, "high": 0.01}}}, "space.learning_rate: each value is g"),
        ({"space": {"expert_ratio": 17}}, "space.expert_ratio: each value is at most 16, got 17"),
        ({"space": {"qk_norm": 2}}, "space.qk_norm: true or false, got 2"),
        ({"space": {"qk_norm": {"low": 0, "high": 1}}}, "space.qk_norm: one of true, false, got a range"),
        ({"space": {"head_dim": 15}}, "space: at least one combination of its knobs can be built, got none"),
        (
            {"space": {"mixture": {"prior": {"digits": 0}}}},
            "space.mixture.prior: at least one weight is above",
        ),
        ({"space": {"mixture": {"prior": {"digits": -1}}}}, "space.mixture.prior.digits: input should be gr"),
        ({"space": {"mixture": 3}}, "space.mixture: a mapping of keys to values, got 3"),
        ({"search": {"seed": 2**31}}, "search.seed: at most 2147483647, got 2147483648"),
        ({"batch_tokens": 64}, "batch_tokens: a batch holds at least one context of 128 tokens, got 64"),
        ({"workers": 1.5}, "workers: workers is 'auto' or a whole number of at most 4096, got 1.5"),
        ({"stop": {"candidates": 2.5}}, "stop.candidates: input should be a valid integer"),
    ],
)
def test_the_line_names_key_rule_and_value(read, change, line):
    data = {key: value for key, value in GOOD.items() if key in ("study", "suite", "rungs", "stop")}
    with pytest.raises(StudyFileError) as error:
        read(data | change)
    assert str(error.value).startswith(f"mine.yaml: {line}"), str(error.value)


def test_numbers_keep_the_type_of_their_knob_however_they_are_written(read):
    data = changed("space.width", {"low": 48.0, "high": 128.0})
    space = read(data).space
    assert [space.width.low, space.width.high, space.width.whole] == [48, 128, True]
    assert not space.expert_ratio.whole
    assert type(space.expert_ratio.low) is float
    assert StudyConfig.model_validate_json(read(data).model_dump_json()) == read(data)
