"""Lakes, cliffs, unsure taxis and cards: the experts are optimal, and worlds are those of Gymnasium."""

import numpy as np
import pytest
from gymnasium.envs.toy_text.blackjack import BlackjackEnv
from gymnasium.envs.toy_text.taxi import TaxiEnv

from trainers.tasks.families.toy_text import blackjack, gridworlds
from trainers.tasks.families.toy_text import tasks as toy_text
from trainers.tasks.families.toy_text.blackjack import Deal
from trainers.tasks.registry import load_task

ICE = {level.name: level for level in gridworlds.LEVELS}


def horizon_success(world, policy, start, limit):
    """Exact chance of success within `limit` steps, by carrying the distribution of states along."""
    here, success = np.eye(len(policy))[start], 0.0
    for _ in range(limit):
        ahead = np.zeros_like(here)
        for state in np.flatnonzero(here):
            where = state, policy[state]
            chance = here[state] * world.chance[where]
            success += (chance * world.well[where]).sum()
            np.add.at(ahead, world.after[where], chance * ~world.over[where])
        here = ahead
    return success


@pytest.mark.parametrize(
    ("name", "least"), [("frozen-lake", 0.73), ("frozen-lake-8x8", 0.85), ("cliff-walking-slippery", 0.98)]
)
def test_value_iteration_does_as_well_as_chance_allows(name, least):
    level = ICE[name]
    world = gridworlds.world_of(level)
    start = int(gridworlds.start_states(level)["select"][0])
    reached = horizon_success(world, gridworlds.policy_of(level), start, level.limit)
    value = np.zeros(len(world.chance))  # the best that any policy reaches in that time
    for _ in range(level.limit):
        value = (world.chance * np.where(world.over, world.well, value[world.after])).sum(-1).max(1)
    assert least < reached <= value[start] + 1e-9
    assert reached > value[start] - 0.02


@pytest.mark.parametrize("name", ["frozen-lake-firm", "frozen-lake-firm-8x8", "cliff-walking"])
def test_on_firm_ground_splits_share_all_starts_and_the_expert_never_fails(name, quick, tokenizer):
    level = ICE[name]
    starts = gridworlds.start_states(level)
    everywhere = np.concatenate(list(starts.values()))
    assert sorted(everywhere) == sorted(gridworlds.open_states(gridworlds.world_of(level)))
    task = load_task(name, quick, tokenizer)
    assert task.score(task.expert_policy()[1], "select", len(starts["select"])).all()
    world, policy = gridworlds.world_of(level), gridworlds.policy_of(level)
    assert all(horizon_success(world, policy, int(s), level.limit) == 1 for s in everywhere)


def test_ice_slips_as_the_environment_says(quick, tokenizer):
    world = gridworlds.world_of(ICE["frozen-lake"])
    rng = np.random.default_rng(0)
    landed = [world.step(0, 2, rng)[0] for _ in range(3000)]  # right from the first corner
    assert np.bincount(landed, minlength=5)[[0, 1, 4]] / 3000 == pytest.approx([1 / 3] * 3, abs=0.04)


def test_a_fall_ends_an_episode_on_the_cliff_without_success():
    world = gridworlds.world_of(ICE["cliff-walking"])
    start = 36  # the corner of the last row; the cliff is to its right
    assert world.step(start, 1, np.random.default_rng(0)) == (start, True, False)


def test_a_lake_is_new_in_each_episode_and_stands_in_what_is_seen(quick, tokenizer, vocabulary):
    task = load_task("frozen-lake-maps", quick, tokenizer)
    seen = [task.session("train", i).observe().tokens[:-1] for i in range(40)]
    maps = np.array([vocabulary.discrete_values(tokens) for tokens in seen])
    assert maps.shape == (40, gridworlds.MAP_SIZE**2)
    assert ((maps == gridworlds.PLAYER).sum(1) == 1).all()
    assert (maps[:, -1] == gridworlds.GOAL).all()
    assert len({m.tobytes() for m in maps}) > 35


def test_the_shortest_way_over_a_new_lake_is_found(quick, tokenizer):
    task = load_task("frozen-lake-maps", quick, tokenizer)
    for index in range(20):
        session = task.session("select", index)
        size = gridworlds.MAP_SIZE
        lake = np.where(session.world.fields[session.state] == gridworlds.HOLE, np.inf, 0).reshape(size, size)
        distance = np.full((size, size), np.inf)
        distance[-1, -1] = 0
        for _ in range(size**2):
            near = np.pad(distance, 1, constant_values=np.inf)
            nearest = np.min([near[:-2, 1:-1], near[2:, 1:-1], near[1:-1, :-2], near[1:-1, 2:]], axis=0)
            distance = np.minimum(distance, nearest + 1 + lake)
        wanted, over = distance.ravel()[session.state], False
        while not over:
            session.observe()
            over = session.act(session.expert())
        assert session.value == 1
        assert session.steps == wanted


def test_a_fickle_passenger_changes_the_destination_as_in_the_environment():
    world, _ = toy_text.world_of(toy_text.FICKLE)
    taxi = TaxiEnv(fickle_passenger=True)
    count = len(taxi.P)
    taxi.reset(seed=0)
    rng = np.random.default_rng(0)
    aboard = taxi.encode(2, 2, 4, 1)
    found: dict[str, set[int]] = {"here": set(), "there": set()}
    for _ in range(200):
        taxi.s, taxi.fickle_step = aboard, True
        found["there"].add(taxi.step(1)[0])
        found["here"].add(world.step(aboard + count, 1, rng)[0])
    assert found["here"] == found["there"]
    assert len(found["here"]) == 3
    assert world.step(aboard, 1, rng)[0] == taxi.encode(1, 2, 4, 1)
    waiting = taxi.encode(2, 2, 0, 1) + count
    assert world.step(waiting, 1, rng)[0] == taxi.encode(1, 2, 0, 1) + count


def test_rain_leaves_no_passenger_behind(quick, tokenizer):
    task = load_task("taxi-rainy", quick, tokenizer)
    assert task.score(task.expert_policy()[1], "select", 60).mean() > 0.95


def test_blackjack_is_played_as_the_books_say():
    assert blackjack.optimum() == pytest.approx(-0.0466, abs=1e-3)  # of Sutton and Barto's example 5.1

    def hits(total, shown, usable):
        stick, hit = blackjack.returns(Deal(total, shown, usable))
        return hit > stick

    assert [hits(total, 10, 0) for total in (11, 12, 16, 17)] == [True, True, True, False]
    assert [hits(total, 4, 0) for total in (11, 12, 13)] == [True, False, False]
    assert [hits(total, 9, 1) for total in (17, 18, 19)] == [True, True, False]


def test_what_is_given_away_is_what_the_cards_lose():
    """Always sticking: the mean of the game's own returns is that of the values."""
    deals, chances = blackjack.all_deals()
    assert chances.sum() == pytest.approx(1)
    sticking = float(chances @ [blackjack.returns(deal)[0] for deal in deals])
    env = BlackjackEnv()
    env.reset(seed=0)
    played = []
    for _ in range(4000):
        env.reset()
        played.append(env.step(0)[1])
    assert sticking == pytest.approx(np.mean(played), abs=0.05)


def test_the_dealer_and_the_aces_are_counted_as_in_the_environment():
    assert blackjack.add(blackjack.add((0, 0), 1), 1) == (12, 1)
    assert blackjack.add((15, 1), 10) == (15, 0)
    assert blackjack.add((16, 0), 10) == (26, 0)
    assert blackjack.dealer((16, 0)).sum() == pytest.approx(1)
    assert blackjack.dealer((16, 0))[blackjack.BUST] == pytest.approx(8 / 13)
