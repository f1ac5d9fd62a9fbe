"""The arm moves as Meta-World moves it, experts solve their tasks, and what is seen lies within limits."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import SawyerReachV3Policy

from trainers.tasks.families.metaworld import tasks as metaworld
from trainers.tasks.families.metaworld.levels import COLUMNS, LEVELS
from trainers.tasks.families.metaworld.sawyer import sawyer, scripted_policy
from trainers.tasks.policies import ConstantPolicy, ExpertPolicy

BY_NAME = {level.name: level for level in LEVELS}


@pytest.fixture
def open_task(quick, tokenizer):
    return lambda name, episodes=None: metaworld.TASKS[f"metaworld-{name}"](quick, tokenizer, episodes)


def test_all_fifty_tasks_are_there_once():
    assert sorted(f"{level.name}-v3" for level in LEVELS) == sorted(ALL_V3_ENVIRONMENTS)
    assert len(metaworld.TASKS) == 50


def test_the_family_is_listed_without_a_simulator():
    code = (
        "import sys; from trainers.tasks.families import metaworld;"
        "print(sorted({'mujoco', 'metaworld', 'gymnasium', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_each_float_that_is_seen_has_limits(level):
    assert len(level.columns) == len(level.low) == len(level.high) <= 10
    assert all(low < high for low, high in zip(level.low, level.high, strict=True))
    things = level.sight.split()
    assert things == sorted(things)


@pytest.mark.parametrize("name", ["reach", "stick-push", "basketball", "box-close"])
def test_the_arm_moves_as_metaworld_steps(name):
    """Success may hang on a grip, a target may be a view into the simulation, a reset may step it."""
    shown = [column for columns in COLUMNS.values() for column in columns]
    arm, level = sawyer(name), BY_NAME[name]
    episode = arm.begin(np.random.default_rng(1))
    env = ALL_V3_ENVIRONMENTS[f"{name}-v3"]()
    env._set_task_called, env._last_rand_vec = True, episode.drawn.copy()
    env.reset()
    solved = False
    for _ in range(level.limit):
        action = _scripted(name, episode.sight) * level.gains
        solved = arm.move(episode, np.clip(action, -1, 1), level.steps)
        success = _step(env, np.clip(action, -1, 1), level.steps)
        there = np.r_[env._get_curr_obs_combined_no_goal(), np.zeros(18), env._get_pos_goal()]
        assert episode.sight[shown] == pytest.approx(there[shown], abs=1e-9)
        assert solved == success
        if solved:
            break
    assert solved


@pytest.mark.parametrize(
    "name", ["bin-picking", "door-open", "drawer-close", "handle-pull-side", "hammer", "pick-place", "sweep"]
)
@pytest.mark.slow
def test_scripted_policies_solve_their_tasks_with_held_actions(name, open_task):
    assert open_task(name).score(ExpertPolicy(), "select", 6).mean() >= 5 / 6


@pytest.mark.parametrize("name", ["assembly", "pick-place", "door-lock"])
def test_demonstrations_solve_their_tasks_in_spite_of_slips(name, open_task):
    task = open_task(name, 12)
    lengths = [int((chunk.tokens == task.vocabulary.separator).sum()) for chunk in task.demonstrations()]
    assert np.mean(np.array(lengths) < task.level.limit) >= 0.8


@pytest.mark.parametrize("name", ["assembly", "peg-insert-side", "window-open"])
def test_what_the_expert_meets_lies_within_the_limits(name, open_task):
    session = open_task(name).session("report", 0)
    level, over, seen = BY_NAME[name], False, []
    while not over:
        session.observe()
        seen.append(session.sight[list(level.columns)])
        over = session.act(session.expert())
    assert (np.min(seen, axis=0) >= level.scale.low).all()
    assert (np.max(seen, axis=0) <= level.scale.high).all()


@pytest.mark.parametrize("name", ["reach", "sweep-into", "door-unlock"])
def test_sessions_do_not_disturb_each_other(name, open_task):
    task, seen = open_task(name), []
    for count in (1, 3):
        sessions = [task.session("select", index) for index in range(count)]
        for _ in range(5):
            for session in sessions:
                session.observe()
                session.act(session.expert())
        seen.append(sessions[0].sight)
    assert np.array_equal(*seen)


def test_a_task_says_its_name_once(open_task, tokenizer):
    session = open_task("button-press-topdown-wall").session("train", 0)
    first = session.observe()
    session.act(session.expert())
    words = tokenizer.encode("button press topdown wall")
    assert first.tokens[: len(words)].tolist() == list(words)
    assert len(first) == len(words) + len(session.observe())


def test_reach_shows_goal_and_hand_alone(open_task):
    session = open_task("reach").session("train", 0)
    assert BY_NAME["reach"].columns == (36, 37, 38, 0, 1, 2)
    assert len(session.observe()) == 7  # no instruction, six floats, a separator


def test_the_reach_expert_is_the_bundled_policy(open_task, vocabulary):
    session = open_task("reach").session("train", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that the environment clips
        wanted = SawyerReachV3Policy().get_action(session.sight)
    said = session.actions.decode(session.expert())
    assert said == pytest.approx(np.clip(wanted, -1, 1), abs=1 / vocabulary.bins + 1e-9)


@pytest.mark.slow
def test_no_single_push_presses_a_handle(open_task):
    task = open_task("handle-press")
    scores = [task.score(ConstantPolicy(action), "train", 16).mean() for action in task.constants()]
    assert max(scores) < 0.4


def test_a_slip_leads_astray_and_keeps_the_grip(open_task):
    task = open_task("pick-place")
    session, rng = task.session("train", 0), np.random.default_rng(0)
    right, wrong = session.expert(), task.slip(session, rng)
    assert right[3] == wrong[3]
    assert not np.array_equal(right[:3], wrong[:3])


def _scripted(name, sight):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that the environment clips
        return scripted_policy(name).get_action(sight.copy()).astype(np.float64)


def _step(env, action, steps):
    return any(env.step(action)[4]["success"] for _ in range(steps))
