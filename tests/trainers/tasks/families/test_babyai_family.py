"""BabyAI's levels, what is seen of them, and a bot that knows when it is lost."""

import numpy as np
import pytest

from space.errors import TaskError
from trainers.tasks.families import babyai
from trainers.tasks.parts.grids import grid_patch, layout, layout_split, make_environment, time_limit
from trainers.tasks.policies import ExpertPolicy


@pytest.fixture
def open_task(quick, tokenizer):
    return lambda name: babyai.TASKS[name](quick, tokenizer)


def test_levels_are_named_and_registered_once():
    assert (
        len({level.environment for level in babyai.LEVELS}) == len(babyai.LEVELS) == len(babyai.TASKS) == 88
    )
    assert sum(not level.variant for level in babyai.LEVELS) == 39


@pytest.mark.parametrize(
    "name",
    ["babyai-goto-redball-grey", "babyai-open-two-doors", "babyai-put-next-local", "babyai-unlock-pickup"],
)
def test_the_bot_accomplishes_its_missions(name, open_task):
    assert open_task(name).score(ExpertPolicy(), "select", 6).tolist() == [1.0] * 6


def test_a_lost_bot_ends_its_episode_without_success(monkeypatch, open_task):
    monkeypatch.setattr(babyai, "MOST_SEARCHES", 0)
    session = open_task("babyai-goto").session("select", 0)
    session.observe()
    assert session.act(session.expert())
    assert session.value == 0.0


def test_a_policy_that_asks_no_expert_plays_on(monkeypatch, open_task):
    monkeypatch.setattr(babyai, "MOST_SEARCHES", 0)
    session = open_task("babyai-goto").session("select", 0)
    assert not session.act(session.actions.encode(0))


def test_demonstrations_accomplish_their_missions_in_spite_of_slips(quick, tokenizer):
    task = babyai.TASKS["babyai-goto-local"](quick, tokenizer, 40)
    lengths = [int((chunk.tokens == task.vocabulary.separator).sum()) for chunk in task.demonstrations()]
    assert np.mean(np.array(lengths) < task.level.limit) >= 0.95


def test_a_layout_is_shown_by_one_split_only():
    env = make_environment("BabyAI-GoToRedBallGrey-v0")
    shown: dict[str, list[bytes]] = {"train": [], "select": [], "report": []}
    for seed in range(400):
        env.reset(seed=seed)
        shown[layout_split(env)].append(layout(env))
    shares = [len(layouts) / 400 for layouts in shown.values()]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.07)
    assert sum(len(set(layouts)) for layouts in shown.values()) == len(set().union(*map(set, shown.values())))


def test_the_mission_stands_before_the_first_timestep(open_task, tokenizer):
    session = open_task("babyai-goto-redball-grey").session("train", 0)
    mission = tokenizer.encode("go to the red ball")
    assert session.observe().tokens[: len(mission)].tolist() == list(mission)
    session.act(session.actions.encode(0))
    assert len(session.observe()) == 3  # the view, the direction, the separator


def test_a_grid_is_one_patch_of_ones():
    cells = np.zeros((7, 7, 3), dtype=np.uint8)
    cells[2, 3] = 6, 0, 0  # a red ball
    cells[4, 4] = 4, 5, 1  # a grey door, closed
    patch = grid_patch(cells).reshape(7, 7, -1) * np.sqrt(7)
    assert patch.sum(-1)[2, 3] == pytest.approx(2)
    assert patch.sum(-1)[4, 4] == pytest.approx(3)
    assert patch.sum() == pytest.approx(49 + 1 + 2)


def test_an_expert_that_hangs_is_interrupted():
    def hang():
        with time_limit(0.05, "a loop"):
            while True:
                pass

    with pytest.raises(TaskError, match=r"within 0\.05 s, a loop did not"):
        hang()
