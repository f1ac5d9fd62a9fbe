"""MiniGrid's experts find the shortest way, and know no more than what they have seen."""

from collections import deque

import numpy as np
import pytest
from minigrid.core.world_object import Ball, Goal

from trainers.tasks.families.minigrid import plans as grid_plans
from trainers.tasks.families.minigrid import tasks as minigrid
from trainers.tasks.families.minigrid.search import HEADINGS, Scout, ahead_of
from trainers.tasks.policies import ExpertPolicy


@pytest.fixture
def open_task(quick, tokenizer):
    return lambda name: minigrid.TASKS[name](quick, tokenizer)


def play(session):
    """Let the expert play to the end; the number of its actions."""
    over = False
    while not over:
        session.observe()
        over = session.act(session.expert())
    return session.steps


def shortest(env):
    """Timesteps to the goal over free floor, for one who knows the whole grid."""
    start = (int(env.agent_pos[0]), int(env.agent_pos[1]), int(env.agent_dir))
    distance, waiting = {start: 0}, deque([start])
    while waiting:
        state = waiting.popleft()
        column, row, direction = state
        thing = env.grid.get(column, row)
        if thing is not None and thing.type == "goal":
            return distance[state]
        ahead = ahead_of(state)
        thing = env.grid.get(*ahead)
        after = [(column, row, (direction + turn) % 4) for turn in (-1, 1)]
        if thing is None or thing.type == "goal":
            after.append((*ahead, direction))
        for new in after:
            if new not in distance:
                distance[new] = distance[state] + 1
                waiting.append(new)
    raise AssertionError("the goal can be reached")


BASES = [level.name for level in minigrid.LEVELS if not level.variant]


@pytest.mark.parametrize("name", [*BASES, "minigrid-key-corridor-s3r1", "minigrid-blocked-unlock-pickup"])
def test_each_plan_accomplishes_its_missions(name, open_task):
    assert open_task(name).score(ExpertPolicy(), "report", 6).tolist() == [1.0] * 6


@pytest.mark.parametrize("name", ["minigrid-empty-8x8", "minigrid-dist-shift-1", "minigrid-lava-gap-s5"])
def test_the_way_is_the_shortest_where_all_is_in_sight(name, open_task):
    extra = []
    for index in range(12):
        session = open_task(name).session("select", index)
        session.env.see_through_walls = True
        session._scout.seen[:] = True
        wanted = shortest(session.env)
        extra.append(play(session) - wanted)
    assert extra == [0] * 12


def test_no_plan_knows_a_goal_that_was_never_in_sight(open_task):
    first = []
    for corner in (1, 17):
        session = open_task("minigrid-four-rooms").session("select", 0)
        for place in np.argwhere(session.env.grid.encode()[..., 0] == 8).tolist():
            session.env.grid.set(*place, None)
        session.env.agent_pos, session.env.agent_dir = (9, 3), 0
        session.env.grid.set(9, 3, None)
        session.env.grid.set(corner, 17, Goal())
        session._scout.look()
        assert not session._scout.find("goal")
        first.append(session.expert().tolist())
    assert first[0] == first[1]


def test_memory_is_looked_up_before_an_end_is_chosen(open_task):
    task = open_task("minigrid-memory-s7")
    for index in range(12):
        session = task.session("select", index)
        model = (1, session.env.height // 2 - 1)
        play(session)
        assert session.value == 1.0
        assert session._scout.seen[model]


def test_a_scout_remembers_what_was_in_sight(open_task):
    session = open_task("minigrid-empty-16x16").session("train", 3)
    scout = Scout(session.env)
    seen = np.zeros_like(scout.seen)
    for _ in range(4):
        scout.look()
        assert not (seen & ~scout.seen).any()
        seen = scout.seen.copy()
        column, row, direction = scout.state
        assert scout.seen[column, row]
        assert scout.seen[ahead_of((column, row, direction))]
        session.env.step(0)
    assert 30 < seen.sum() < seen.size


def test_a_closed_door_is_opened_on_the_way(open_task):
    session = open_task("minigrid-multi-room-n2-s4").session("train", 0)
    play(session)
    assert session.value == 1.0
    assert all(thing.is_open for thing in session.env.grid.grid if thing is not None and thing.type == "door")


def test_what_is_put_away_closes_no_passage(open_task):
    session = open_task("minigrid-unlock").session("train", 0)
    env = session.env
    env.grid.grid = [None if thing is None or thing.type == "key" else thing for thing in env.grid.grid]
    env.agent_pos, env.agent_dir = (1, 1), 1
    env.grid.set(2, 3, Ball("red"))
    env.grid.set(2, 4, Ball("blue"))
    scout = Scout(env)
    for _ in HEADINGS:
        scout.look()
        env.step(1)
    assert not grid_plans._parts_nothing(scout, (1, 2))  # would wall off the lower left corner
    assert grid_plans._parts_nothing(scout, (3, 2))


def test_scattered_starts_are_all_over_the_map(open_task):
    starts = {session_start(open_task("minigrid-empty-5x5").session("train", i)) for i in range(60)}
    assert len(starts) > 8


def session_start(session):
    """Where an episode starts."""
    return (*map(int, session.env.agent_pos), int(session.env.agent_dir))


def test_slips_never_walk_where_a_step_can_be_fatal(open_task):
    task = open_task("minigrid-lava-gap-s5")
    session, rng = task.session("train", 0), np.random.default_rng(0)
    assert {session.actions.decode(task.slip(session, rng)) for _ in range(50)} == {0, 1}
