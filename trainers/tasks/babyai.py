"""Walk to what the mission names: a grid and a direction in, actions out; the expert is BabyAI's bot."""

import contextlib
import io
import signal
import threading
from collections.abc import Iterator
from hashlib import sha256

import gymnasium
import minigrid  # noqa: F401 - registers its environments with gymnasium
import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.utils.baby_ai_bot import BabyAIBot

from space.catalog import Sense, Split
from space.errors import TaskError
from trainers.tasks.base import Session
from trainers.tasks.control import Choices, ControlSession
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

MISSIONS = ("go to the red ball",)
ENVIRONMENT = "BabyAI-GoToRedBallGrey-v0"
NUM_ACTIONS = 7
NUM_MOVES = 3  # left, right and forward stand first
LIMIT = 64  # of the environment
VIEW = 7
EMPTY = OBJECT_TO_IDX["empty"]
DOOR = OBJECT_TO_IDX["door"]
CELL_SIZE = len(OBJECT_TO_IDX) + len(COLOR_TO_IDX) + len(STATE_TO_IDX)
GRID_SIZE = VIEW * VIEW * CELL_SIZE
BOT_SECONDS = 5.0


def grid_patch(cells: np.ndarray) -> np.ndarray:
    """A view of (7, 7, 3) objects, colours and states -> one patch (1, GRID_SIZE) float32.

    One-hot, divided by sqrt(7) as an image patch is; nothing that is empty or unseen has a colour, and only a
    door has a state.
    """
    thing, colour, state = np.moveaxis(cells.astype(np.int64), -1, 0)
    parts = [
        np.eye(len(OBJECT_TO_IDX))[thing],
        np.eye(len(COLOR_TO_IDX))[colour] * (thing > EMPTY)[..., None],
        np.eye(len(STATE_TO_IDX))[state] * (thing == DOOR)[..., None],
    ]
    return (np.concatenate(parts, axis=-1) / np.sqrt(VIEW)).reshape(1, -1).astype(np.float32)


class BabyAISession(ControlSession):
    """One episode; its value is 1 when the mission is accomplished in time."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer, env: gymnasium.Env, seen: dict) -> None:
        self.actions = Choices(vocabulary, NUM_ACTIONS)
        super().__init__(vocabulary, self.actions.spec, LIMIT)
        self.env = env
        self._observed = seen
        self._mission = tokenizer.encode(seen["mission"])
        self._bot = BabyAIBot(env)
        self._taken: int | None = None
        self._advice: int | None = None

    def look(self) -> Chunk:
        """At first the mission; then what stands in front of the agent and where it looks."""
        return sequence.observation(
            self.vocabulary,
            prompt=self._mission if self.steps == 0 else (),
            patches={"grid": grid_patch(self._observed["image"])},
            ids=self.vocabulary.discrete_ids(np.array([self._observed["direction"]])),
        )

    def expert(self) -> np.ndarray:
        """What the bot advises, who has been told what was done before."""
        if self._advice is None:
            with time_limit(BOT_SECONDS, f"the bot of {ENVIRONMENT}"):
                advice = self._bot.replan(self._taken)
            assert advice is not None, "the bot always advises something"
            self._advice = int(advice)
        return self.actions.encode(self._advice)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """One of the seven actions."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Turn, walk, pick up, drop, toggle or wait; True when the mission has ended."""
        self._taken, self._advice = self.actions.decode(tokens), None
        self._observed, reward, terminated, truncated, _ = self.env.step(self._taken)
        self.value = float(float(reward) > 0)
        return terminated or truncated


class GoToRedBallGrey(SessionTask):
    """BabyAI-GoToRedBallGrey: a room with a red ball among grey things; no split has a layout of another."""

    name = "babyai-goto-redball-grey"
    family = "babyai"
    domain = "discrete"
    modality: Sense = "discrete"
    metric = "success"
    unit = "rate"
    expert_name = "BabyAIBot"
    eval_episodes = 64
    num_train_episodes = 3000
    noise = Noise(rate=0.12, longest=3)
    packages = ("gymnasium", "minigrid", "numpy")

    def session(self, split: Split, index: int) -> BabyAISession:
        """Enter a room of the split."""
        rng = self.rng(split, index)
        env = gymnasium.make(ENVIRONMENT).unwrapped
        while True:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints every layout that it rejects
                seen, _ = env.reset(seed=int(rng.integers(2**31)))
            if layout_split(env) == split:
                return BabyAISession(self.vocabulary, self.tokenizer, env, seen)

    def identity(self, split: Split, index: int) -> bytes:
        """The room in which the episode starts."""
        return layout(self.session(split, index).env)

    def slip(self, session: Session, rng: np.random.Generator) -> np.ndarray:
        """Turn or walk: the bot gives up where something was opened that it would not have opened."""
        return rng.choice(self.constants()[:NUM_MOVES])

    def constants(self) -> list[np.ndarray]:
        """Each of the seven actions."""
        return Choices(self.vocabulary, NUM_ACTIONS).constants()


def layout_split(env: gymnasium.Env) -> Split:
    """The only split that shows this room: 80% train, 10% select, 10% report."""
    share = sha256(layout(env)).digest()[0] / 256
    return "train" if share < 0.8 else "select" if share < 0.9 else "report"


def layout(env: gymnasium.Env) -> bytes:
    """Everything that stands in a room, and where the agent stands and looks."""
    room = env.unwrapped
    grid = room.grid.encode()  # pyright: ignore[reportAttributeAccessIssue]
    agent = (*room.agent_pos, room.agent_dir)  # pyright: ignore[reportAttributeAccessIssue]
    return grid.tobytes() + bytes(int(x) for x in agent)


@contextlib.contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Interrupt what takes longer; only a process's main thread can be interrupted, others run on.

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
