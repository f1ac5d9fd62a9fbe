"""The simulated arm of Meta-World: one environment serves all sessions of a task in a process.

A session keeps its episode as numbers and borrows the environment for an action. It steps as
`SawyerXYZEnv.step` does, but computes no reward.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no stubs)

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

import numpy as np


class ScriptedPolicy(Protocol):
    """A policy that comes with Meta-World."""

    def get_action(self, obs: np.ndarray) -> np.ndarray:
        """The environment's floats, (39,) -> the action, (4,), not clipped."""
        ...


@dataclass
class Episode:
    """The state of an episode between two actions.

    Attributes:
        drawn: what is random about it, the places that the environment drew.
        attributes: the environment's own, as its reset left them.
        bodies: places of the model's bodies, which a reset moves, (bodies, 3).
        sites: places of its sites, (sites, 3).
        physics: the simulation's state.
        sight: what the environment observes with its goal in sight, (39,); how things are turned, which no
            scripted policy reads, is left out as zeros.
    """

    drawn: np.ndarray
    attributes: dict[str, Any]
    bodies: np.ndarray
    sites: np.ndarray
    physics: np.ndarray
    sight: np.ndarray


class Sawyer:
    """One of Meta-World's environments with a visible goal.

    Args:
        name: Meta-World's, without the version.
    """

    def __init__(self, name: str) -> None:
        import mujoco
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        self._mujoco = mujoco
        self._parts = mujoco.mjtState.mjSTATE_INTEGRATION
        self.env = ALL_V3_ENVIRONMENTS[f"{name}-v3"]()
        self.env._set_task_called = True
        self.env.seeded_rand_vec = True
        # All that is scored is success: it hangs on places and touch, so what else is costly is left out.
        self.env._gripper_caging_reward = _no_reward
        self.env._get_quat_objects = partial(np.zeros, len(self.env._get_quat_objects()))
        self.env.touching_object = self._touches
        self._pads = [self.env.data.geom(f"{side}pad_geom").id for side in ("left", "right")]
        self._fresh = self._save(np.empty(0))

    def begin(self, rng: np.random.Generator, aside: float = 0.0) -> Episode:
        """Start an episode as the environment's `reset` does.

        Args:
            rng: where the random places come from.
            aside: metres at most that the hand starts to the left or right of where the environment has it.
        """
        env = self.env
        self._load(self._fresh)
        if aside:
            env.hand_init_pos = env.hand_init_pos + np.array([rng.uniform(-aside, aside), 0.0, 0.0])
        env.np_random = rng
        env._freeze_rand_vec = False
        env.reset_model()  # draws until the places are far enough from each other
        env._freeze_rand_vec = True
        self._mujoco.mj_resetData(env.model, env.data)
        env.reset_model()  # its `reset` does it twice: what the first moved shows in how the second begins
        self._mujoco.mj_kinematics(env.model, env.data)  # what was moved after the last step shows at once
        drawn = env._last_rand_vec
        assert drawn is not None, "a reset draws"
        return self._save(drawn)

    def move(self, episode: Episode, action: np.ndarray, steps: int) -> bool:
        """Hold an action, (4,) in [-1, 1], for some steps; True, and at an end, once the task is solved."""
        env = self.env
        self._load(episode)
        solved = False
        for _ in range(steps):
            env.set_xyz_action(action[:3])
            env.data.ctrl[:] = action[3], -action[3]
            self._mujoco.mj_step(env.model, env.data, nstep=env.frame_skip)
            self._mujoco.mj_forward(env.model, env.data)
            solved = bool(env.evaluate_state(self._sight(), action)[1]["success"])
            if solved:
                break
        episode.physics, episode.sight = self._physics(), self._sight()
        return solved

    def _touches(self, thing: int) -> bool:
        """Whether both pads of the gripper press on a geometry."""
        data = self.env.data
        first, second = data.contact.geom1, data.contact.geom2
        on_thing = (first == thing) | (second == thing)
        for pad in self._pads:
            pressed = on_thing & ((first == pad) | (second == pad))
            if not data.efc_force[data.contact.efc_address[pressed]].sum() > 0:
                return False
        return True

    def _sight(self) -> np.ndarray:
        now = self.env._get_curr_obs_combined_no_goal()
        return np.concatenate([now, now, self.env._get_pos_goal()])  # nothing reads the moment before

    def _physics(self) -> np.ndarray:
        model, data = self.env.model, self.env.data
        state = np.empty(self._mujoco.mj_stateSize(model, self._parts))
        self._mujoco.mj_getState(model, data, state, self._parts)
        return state

    def _save(self, drawn: np.ndarray) -> Episode:
        return Episode(
            drawn=drawn,
            attributes=self.env.__dict__.copy(),  # a reset rebinds attributes and changes none in place
            bodies=self.env.model.body_pos.copy(),
            sites=self.env.model.site_pos.copy(),
            physics=self._physics(),
            sight=self._sight() if len(drawn) else np.empty(0),
        )

    def _load(self, episode: Episode) -> None:
        self.env.__dict__.update(episode.attributes)
        self.env.model.body_pos[:] = episode.bodies
        self.env.model.site_pos[:] = episode.sites
        self._mujoco.mj_setState(self.env.model, self.env.data, episode.physics, self._parts)


@cache
def sawyer(name: str) -> Sawyer:
    """The arm of a task, made once in a process because that takes seconds."""
    return Sawyer(name)


@cache
def scripted_policy(name: str) -> ScriptedPolicy:
    """Meta-World's own policy for a task; it has no state."""
    from metaworld.policies import ENV_POLICY_MAP

    return ENV_POLICY_MAP[f"{name}-v3"]()


def _no_reward(*_: object, **__: object) -> float:
    return 0.0
