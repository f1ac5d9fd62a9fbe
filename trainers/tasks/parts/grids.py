"""Base classes of tasks on MiniGrid's grids: observations, splits of layouts, tasks and sessions.

It knows no level and no expert: those are the families' own.
"""

import contextlib
import io
import signal
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np

from space.errors import StudyFileError, TaskError
from space.records import Sense, Split, SuiteRecord
from trainers.tasks.base import Session
from trainers.tasks.control import Choices, ControlSession
from trainers.tasks.parts.observed import whole_numbers
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
NUM_ACTIONS = 7
NUM_TURNS, NUM_MOVES = 2, 3  # left and right come first, then forward
NUM_HEADINGS = 4
VIEW = 7
NUM_THINGS, NUM_COLOURS, NUM_STATES = 11, 6, 3
EMPTY, DOOR = 1, 4  # indices of kinds of objects
CELL_SIZE = NUM_THINGS + NUM_COLOURS + NUM_STATES
GRID_SIZE = VIEW * VIEW * CELL_SIZE
TRAIN_SHARE, SELECT_SHARE = 0.5, 0.25  # of the layouts; larger shares of train cost more resets
SHORT = 64  # timesteps; where an episode may last longer, fewer of them score a trial

Environment = Any  # a MiniGridEnv; minigrid is imported only when one is opened


@dataclass(frozen=True)
class GridLevel:
    """One level of a family.

    Attributes:
        name: of the task.
        environment: its id in gymnasium.
        limit: timesteps, about 2.5 times the 95th percentile of the expert's.
        train: demonstrations.
        variant: whether it differs from another level only by size, map or count.
        memorisable: whether nearly all that can be seen is in the demonstrations.
        slips: probability that the demonstrating expert slips; 0 where it would not recover.
        treacherous: whether a step may end the episode without success: slips are turns then.
        constants: the actions of which the best constant policy is one.
    """

    name: str
    environment: str
    limit: int
    train: int
    variant: bool = False
    memorisable: bool = False
    slips: float = 0.12
    treacherous: bool = False
    constants: tuple[int, ...] = (LEFT, FORWARD)


class GridSession(ControlSession):
    """One episode; its value is 1 when the mission is accomplished in time."""

    def __init__(
        self, vocabulary: Vocabulary, tokenizer: Tokenizer, env: Environment, seen: dict[str, Any], limit: int
    ) -> None:
        self.actions = Choices(vocabulary, NUM_ACTIONS)
        super().__init__(vocabulary, self.actions.spec, limit, tokenizer.encode(seen["mission"]))
        self.env = env
        self._seen_now = seen
        self._taken: int | None = None
        self._advice: int | None = None
        self._given_up = False

    @abstractmethod
    def advise(self, taken: int | None) -> int:
        """The expert's action now, asked at most once a timestep; `taken` is the last one, None at first."""

    def give_up(self) -> int:
        """The expert has no plan: it waits once, and the episode ends with the value so far."""
        self._given_up = True
        return DONE

    def look(self) -> Chunk:
        """The cells in view of the agent, and its heading."""
        return sequence.observation(
            self.vocabulary,
            patches={"grid": grid_patch(self._seen_now["image"])},
            ids=self.vocabulary.discrete_ids(np.array([self._seen_now["direction"]])),
        )

    def expert(self) -> np.ndarray:
        """The expert's action, ids (1,)."""
        if self._advice is None:
            self._advice = self.advise(self._taken)
        return self.actions.encode(self._advice)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """One of the seven actions."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Take one of the seven actions; return True when the mission has ended."""
        self._taken, self._advice = self.actions.decode(tokens), None
        self._seen_now, reward, terminated, truncated, _ = self.env.step(self._taken)
        self.value = float(float(reward) > 0)
        return bool(terminated or truncated or self._given_up)


class GridTask(SessionTask):
    """A level of a family of grids; splits share no layout.

    Args:
        level: the level.
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many expert episodes to make; None for the level's own number.
    """

    domain = "discrete"
    modality: Sense = "discrete"
    metric = "success"
    unit = "rate"
    packages = ("gymnasium", "minigrid", "numpy")

    def __init__(
        self, level: GridLevel, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.level = level
        self.name = level.name
        self.variant = level.variant
        self.memorisable = level.memorisable
        self.noise = Noise(level.slips, longest=3)
        self.eval_episodes = 64 if level.limit <= SHORT else 32
        self.reference_episodes = 200 if level.limit <= SHORT else 100  # those with long episodes floor at 0
        super().__init__(suite, tokenizer, train_episodes or level.train)

    @abstractmethod
    def open(self, env: Environment, seen: dict[str, Any]) -> GridSession:
        """Begin an episode in an environment that has just been reset."""

    def prepare(self, env: Environment, seen: dict[str, Any]) -> dict[str, Any]:
        """Change a new layout and return its observation; by default, change nothing."""
        return seen

    def session(self, split: Split, index: int) -> GridSession:
        """Enter a layout of the split."""
        return self.open(*self._draw(split, index))

    def identity(self, split: Split, index: int) -> bytes:
        """The layout in which the episode starts."""
        return layout(self._draw(split, index)[0])

    def slip(self, session: Session, rng: np.random.Generator) -> np.ndarray:
        """Turn or walk: a wrong opening, pick-up or drop may be irreversible."""
        moves = NUM_TURNS if self.level.treacherous else NUM_MOVES
        return Choices(self.vocabulary, NUM_ACTIONS).encode(int(rng.integers(moves)))

    def tokens_of(self, observation: Any) -> Chunk:
        """MiniGrid's observation: the cells in view, (7, 7, 3), and the heading."""
        _require_view(self.name, observation)
        image = np.asarray(observation["image"])
        things = (NUM_THINGS, NUM_COLOURS, NUM_STATES)
        seen = [whole_numbers(self.name, image[..., i], (VIEW, VIEW), most) for i, most in enumerate(things)]
        heading = whole_numbers(self.name, observation["direction"], (), NUM_HEADINGS)
        return sequence.observation(
            self.vocabulary,
            patches={"grid": grid_patch(np.stack(seen, axis=-1))},
            ids=self.vocabulary.discrete_ids(np.array([heading])),
        )

    def mission_of(self, observation: Any) -> np.ndarray:
        """The mission."""
        _require_view(self.name, observation)
        return self.tokenizer.encode(str(observation["mission"]))

    def constants(self) -> list[np.ndarray]:
        """Actions that may accomplish something if they are repeated."""
        choices = Choices(self.vocabulary, NUM_ACTIONS)
        return [choices.encode(action) for action in self.level.constants]

    def _draw(self, split: Split, index: int) -> tuple[Environment, dict[str, Any]]:
        rng = self.rng(split, index)
        env = make_environment(self.level.environment)
        while True:
            with contextlib.redirect_stdout(io.StringIO()):  # some print every layout that they reject
                seen, _ = env.reset(seed=int(rng.integers(2**31)))
            seen = self.prepare(env, seen)
            if layout_split(env) == split:
                return env, seen


def _require_view(task: str, observation: Any) -> None:
    parts = {"image", "direction", "mission"}
    whole = isinstance(observation, Mapping) and parts <= observation.keys()
    shape = np.shape(observation["image"]) if whole else None
    if shape != (VIEW, VIEW, 3):
        got = type(observation).__name__ if shape is None else f"an image of shape {shape}"
        raise StudyFileError(
            f"task '{task}' observes a mapping with image (7, 7, 3), direction and mission, got {got}"
        )


def make_environment(name: str) -> Environment:
    """A new environment without wrappers, by its id in gymnasium."""
    make, settings = _maker(name)
    return make(**settings)


@cache
def _maker(name: str) -> tuple[Any, dict[str, Any]]:
    import gymnasium
    import minigrid  # noqa: F401 - registers its environments with gymnasium
    from gymnasium.envs.registration import load_env_creator

    spec = gymnasium.spec(name)
    assert isinstance(spec.entry_point, str), f"{name} is registered by its path"
    return load_env_creator(spec.entry_point), dict(spec.kwargs)


@cache
def _one_hot() -> np.ndarray:
    """Kind, colour and state of a cell -> its part of a patch, (11, 6, 3, CELL_SIZE) float32."""
    table = np.zeros((NUM_THINGS, NUM_COLOURS, NUM_STATES, CELL_SIZE), dtype=np.float32)
    thing, colour, state = np.indices(table.shape[:3])
    things, colours, states = np.split(table, [NUM_THINGS, NUM_THINGS + NUM_COLOURS], axis=-1)
    np.put_along_axis(things, thing[..., None], 1, axis=-1)
    np.put_along_axis(colours, colour[..., None], (thing > EMPTY)[..., None].astype(np.float32), axis=-1)
    np.put_along_axis(states, state[..., None], (thing == DOOR)[..., None].astype(np.float32), axis=-1)
    return table / np.float32(np.sqrt(VIEW))


def grid_patch(cells: np.ndarray) -> np.ndarray:
    """A view of (7, 7, 3) objects, colours and states -> one patch (1, GRID_SIZE) float32.

    One-hot, divided by sqrt(7) as an image patch is; nothing that is empty or unseen has a colour, and only a
    door has a state.
    """
    thing, colour, state = np.moveaxis(cells, -1, 0)
    return _one_hot()[thing, colour, state].reshape(1, -1)


def layout_split(env: Environment) -> Split:
    """The split of a layout."""
    share = sha256(layout(env)).digest()[0] / 256
    if share < TRAIN_SHARE:
        return "train"
    return "select" if share < TRAIN_SHARE + SELECT_SHARE else "report"


def layout(env: Environment) -> bytes:
    """All objects of the grid, and place and heading of the agent."""
    agent = (*env.unwrapped.agent_pos, env.unwrapped.agent_dir)
    return env.unwrapped.grid.encode().tobytes() + bytes(int(x) for x in agent)


@contextlib.contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Interrupt the block after a time; this works in the main thread only.

    Raises:
        TaskError: the time is over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TaskError(f"an expert answers within {seconds:g} s, {what} did not")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
