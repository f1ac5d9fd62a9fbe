"""Fresh seeds, and the key `stop.confirm`."""

import pytest

from space.confirm import Confirm, fresh_seeds
from space.errors import StudyFileError
from space.study import LARGEST_SEED, Stop, parse


@pytest.mark.parametrize("seed", [0, 5, 999, 1_000, LARGEST_SEED - 1_000, LARGEST_SEED])
def test_fresh_seeds_are_new_and_grow_at_their_end(seed):
    found = fresh_seeds(seed, 7, LARGEST_SEED)
    assert len({*found, seed, seed + 1}) == 9
    assert all(0 <= fresh <= LARGEST_SEED for fresh in found)
    assert fresh_seeds(seed, 3, LARGEST_SEED) == found[:3]


def test_studies_with_neighbouring_seeds_share_none():
    seeds = [fresh for seed in range(20) for fresh in fresh_seeds(seed, 8, LARGEST_SEED)]
    assert len(set(seeds)) == len(seeds)


def test_few_seeds_there_are_can_all_be_used():
    assert sorted(fresh_seeds(3, 999, 1_000)) == [n for n in range(1_001) if n not in (3, 4)]


@pytest.mark.parametrize(
    ("confirm", "why"),
    [
        ({"top": 0}, "stop.confirm.top: input should be greater than or equal to 1, got 0"),
        ({"seeds": 0}, "stop.confirm.seeds: input should be greater than or equal to 1, got 0"),
        ({"seed": 2}, "stop.confirm.seed: unknown key; did you mean 'seeds'?"),
        ({"uniform": "maybe"}, "stop.confirm.uniform: "),
    ],
)
def test_a_wrong_key_is_one_line(confirm, why):
    with pytest.raises(StudyFileError) as caught:
        parse(_Study, {"stop": {"candidates": 4, "confirm": confirm}}, StudyFileError)
    assert str(caught.value).startswith(why)


def test_confirm_alone_ends_no_study():
    with pytest.raises(StudyFileError, match="a study ends"):
        parse(Stop, {"confirm": {"top": 2}}, StudyFileError)


def test_defaults():
    found = parse(Stop, {"candidates": 4, "confirm": {}}, StudyFileError)
    assert found.confirm == Confirm(top=3, seeds=2, uniform=True)
    assert parse(Stop, {"candidates": 4}, StudyFileError).confirm is None


class _Study(Confirm):
    """A model with the section `stop`."""

    stop: Stop
