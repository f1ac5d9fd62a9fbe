"""Atari is an extra: named by path, refused in one line without its emulator, and no part of what ships."""

import subprocess
import sys

import numpy as np
import pytest

from space.errors import NotFoundError
from trainers.tasks import contract
from trainers.tasks.policies import ConstantPolicy
from trainers.tasks.registry import load_task, shipped_tasks, task_factory

MODULE = "trainers.tasks.families.ale"
GAMES = ("Breakout", "Pong", "Freeway")


@pytest.fixture
def open_game(quick, tokenizer):
    pytest.importorskip("ale_py")
    return lambda name: load_task(f"{MODULE}:{name}", quick, tokenizer, 4)


def test_without_the_emulator_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(NotFoundError) as error:
        task_factory(f"{MODULE}:Breakout")
    assert str(error.value) == "Atari's tasks need ale-py: pip install 'pathfront[ale]'"


def test_no_game_is_among_the_tasks_that_ship():
    assert not {name.lower() for name in GAMES} & shipped_tasks().keys()


@pytest.mark.parametrize(("name", "least"), [("Breakout", 6), ("Pong", -2), ("Freeway", 5)])
def test_each_rule_clears_every_constant_action(name, least, open_game):
    task = open_game(name)
    expert = task.score(task.expert_policy()[1], "select", 5)
    constants = [task.score(ConstantPolicy(ids), "select", 5).mean() for ids in task.constants()]
    assert expert.mean() >= max(least, max(constants) + 1)


@pytest.mark.parametrize("name", GAMES)
def test_an_episode_is_the_same_each_time_and_of_one_split(name, open_game):
    contract.check_disjoint(open_game(name), 12)
    contract.check_chunks(open_game(name), open_game(name).vocabulary, open_game(name).suite.context)
    states = []
    for session in (open_game(name).session("select", 3) for _ in range(2)):
        for _ in range(40):
            session.observe()
            session.act(session.expert())
        states.append(session.state)
    assert np.array_equal(*states)


def test_actions_stick_and_sessions_do_not_share_a_game(open_game):
    task = open_game("Breakout")
    one, other = task.session("train", 0), task.session("train", 1)
    before = other.env.ale.getRAM()
    one.observe()
    one.act(one.actions.encode(2))
    assert np.array_equal(other.env.ale.getRAM(), before)
    assert one.env.ale.getFloat("repeat_action_probability") == 0.25


def test_the_emulator_says_nothing_and_loads_where_warnings_are_errors():
    pytest.importorskip("ale_py")
    code = f"from {MODULE} import Game; Game('pong').reset(seed=0)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, timeout=60, capture_output=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")
