"""Reach a point with a robot's hand: six floats in, four out; the expert is Meta-World's scripted policy.

One simulated arm serves a whole process: a session keeps its state as numbers, and borrows the arm for an
action.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no stubs)

from functools import cache

import mujoco
import numpy as np
from metaworld.envs.sawyer_reach_v3 import SawyerReachEnvV3

from space.catalog import Sense, Split
from trainers.tasks.control import Box, ControlSession
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence, values
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

ACTION_REPEAT = 5  # environment steps that an action lasts
LIMIT = 20  # actions; the expert needs up to 15
GAIN = 5.0  # of the bundled SawyerReachV3Policy
NEAREST_START = 0.15  # metres between object and goal on the table, as the environment draws them
PLACE_SCALE = values.Linear(low=(-0.2, 0.5, 0.0) * 2, high=(0.2, 0.95, 0.4) * 2)
STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Arm:
    """The simulated arm of reach-v3; it steps as `SawyerXYZEnv.step` does, several steps at a time."""

    def __init__(self) -> None:
        self.env = SawyerReachEnvV3()
        self.env._set_task_called = True
        self.env._last_rand_vec = np.r_[0.0, 0.65, 0.02, 0.0, 0.85, 0.2]
        self.env.reset()
        self._start = self._save()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Random places of the object and of the goal, (6,), drawn as the environment draws them."""
        space = self.env._random_reset_space
        assert space is not None
        while True:
            places = rng.uniform(space.low, space.high)
            if np.linalg.norm(places[:2] - places[3:5]) >= NEAREST_START:
                return places

    def begin(self, thing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hand at its start, object at `thing` (3,): the arm's state and the hand's place (3,)."""
        self._load(self._start)
        self.env._set_obj_xyz(thing)
        return self._save(), self.env.get_endeff_pos().copy()

    def move(
        self, state: np.ndarray, action: np.ndarray, goal: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Do an action for some steps: state, place of the hand (3,), whether it came near the goal.

        It ends early where the fingers are within the environment's target radius of the goal.
        """
        self._load(state)
        model, data = self.env.model, self.env.data
        near = False
        for _ in range(ACTION_REPEAT):
            self.env.set_xyz_action(action[:3])
            data.ctrl[:] = action[3], -action[3]
            mujoco.mj_step(model, data, nstep=self.env.frame_skip)
            mujoco.mj_kinematics(model, data)
            near = bool(np.linalg.norm(self.env.tcp_center - goal) <= self.env.TARGET_RADIUS)
            if near:
                break
        return self._save(), self.env.get_endeff_pos().copy(), near

    def _save(self) -> np.ndarray:
        state = np.empty(mujoco.mj_stateSize(self.env.model, STATE))
        mujoco.mj_getState(self.env.model, self.env.data, state, STATE)
        return state

    def _load(self, state: np.ndarray) -> None:
        mujoco.mj_setState(self.env.model, self.env.data, state, STATE)


class ReachSession(ControlSession):
    """One episode; its value is 1 when the hand reaches the goal in time, and then it ends."""

    def __init__(self, vocabulary: Vocabulary, rng: np.random.Generator) -> None:
        self.actions = Box(vocabulary, 4)
        super().__init__(vocabulary, self.actions.spec, LIMIT)
        places = _arm().draw(rng)
        self.goal = places[3:]
        self._state, self.hand = _arm().begin(places[:3])

    def look(self) -> Chunk:
        """Where the goal is and where the hand is."""
        places = sequence.flatten({"goal": self.goal, "hand": self.hand})
        bins = values.encode(places, self.vocabulary.bins, PLACE_SCALE)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.continuous_ids(bins))

    def expert(self) -> np.ndarray:
        """Move towards the goal, the slower the nearer; the gripper rests."""
        return self.actions.encode(np.append(np.clip(GAIN * (self.goal - self.hand), -1, 1), 0))

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Any move."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Move; True when the goal is reached."""
        action = self.actions.decode(tokens)
        self._state, self.hand, near = _arm().move(self._state, action, self.goal)
        self.value = float(near)
        return near


class Reach(SessionTask):
    """Meta-World reach-v3 with its goal in sight, five steps an action; each episode has its own goal."""

    name = "metaworld-reach"
    family = "metaworld"
    domain = "continuous"
    modality: Sense = "continuous"
    metric = "success"
    unit = "rate"
    expert_name = "SawyerReachV3Policy"
    eval_episodes = 48
    num_train_episodes = 1600
    noise = Noise(rate=0.1, longest=2)
    packages = ("metaworld", "mujoco", "numpy")

    def session(self, split: Split, index: int) -> ReachSession:
        """Draw a goal."""
        return ReachSession(self.vocabulary, self.rng(split, index))

    def constants(self) -> list[np.ndarray]:
        """Standing still, and either end of each axis."""
        return Box(self.vocabulary, 4).constants()


@cache
def _arm() -> Arm:
    return Arm()
