"""Atari games from their memory: a few of 128 bytes in, one of the game's actions out.

The emulator (ale-py, GPL-2.0) is an extra, so these tasks ship without references and are named by path, as
your own tasks are: `trainers.tasks.families.ale:Breakout`. The experts are rules over the same bytes.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from gymnasium import Env

from space.errors import NotFoundError
from space.records import SPLITS, Split, SuiteRecord
from trainers.tasks.parts.gymnasium_control import ControlLevel, GymnasiumSession, GymnasiumTask
from trainers.tasks.sessions import Noise
from trainers.tokens import values
from trainers.tokens.text import Tokenizer

try:
    import ale_py  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:
    raise NotFoundError("Atari's tasks need ale-py: pip install 'pathfront[ale]'") from None

OPENING, HELD = (2, 9), 8  # random actions that an episode starts with, in threes; frames that each lasts

# Addresses of the games' variables: Anand 2019, https://arxiv.org/abs/1906.08226, appendix
PADDLE_X, BALL_X, BALL_Y = 72, 99, 101
PONG_BALL_X, RIVAL_Y, OWN_Y, PONG_BALL_Y = 49, 50, 51, 54
CHICKEN_Y, CARS = 14, tuple(range(108, 118))

SPEED = np.array((1 / 5, 1 / 4, 1 / 3, 1 / 2, 1, -1, -1 / 2, -1 / 3, -1 / 4, -1 / 5))  # of cars, a frame
ROAD = 160  # after which a car comes back
LANE = 16  # from one lane to the next
AHEAD = np.arange(1, 13)[:, None]  # frames that a chicken looks ahead
MOVES = {1: 1, 0: 0, 2: -1}  # up, wait, down: the best first


class Game(Env):
    """A game with sticky actions (Machado 2018, https://arxiv.org/abs/1709.06009), after some random ones.

    Args:
        rom: the game's.
        place: 0, 1 or 2; games of different places never start after as many frames.
    """

    def __init__(self, rom: str, place: int = 0) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # else it greets
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0.25)
        self.rom, self.place, self.gained = rom, place, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        """Play at random for a while; the bytes then, (128,) uint8."""
        assert seed is not None, "an episode has a seed"
        super().reset(seed=seed)
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(ale_py.roms.get_rom_path(self.rom))  # which is what makes the seed count
        self.ale.reset_game()
        self.choices = self.ale.getMinimalActionSet()
        opening = 3 * self.np_random.integers(*OPENING) + self.place
        for choice in self.np_random.integers(len(self.choices), size=opening):
            for _ in range(HELD):
                self.step(choice)
        return self.ale.getRAM(), {}

    def step(self, action: int) -> tuple:
        """Play a frame."""
        self.gained = self.ale.act(self.choices[action])
        return self.ale.getRAM(), self.gained, self.ale.game_over(), False, {}


def points(env: Game, over: bool) -> float:
    """The reward of a frame."""
    return env.gained


def under_the_ball(ram: np.ndarray) -> int:
    """Serve, or keep the paddle below the ball (Breakout)."""
    if ram[BALL_Y] == 0:
        return 1
    return toward(int(ram[BALL_X]) - int(ram[PADDLE_X]) - 10, 8)


def beside_the_ball(ram: np.ndarray) -> int:
    """Keep the paddle as high as the ball (Pong, where right is up)."""
    return toward(int(ram[OWN_Y]) - int(ram[PONG_BALL_Y]) + 4, 6)


def toward(distance: int, near: int) -> int:
    """Right, left, or wait when near."""
    return 2 if distance > near else 3 if distance < -near else 0


def between_the_cars(ram: np.ndarray) -> int:
    """Go up, else wait, else go down: the first that no car will hit (Freeway)."""
    cars = (ram[list(CARS)] + SPEED * AHEAD) % ROAD  # (frames, lanes)
    across = (cars >= 40) & (cars <= 53)
    for choice, speed in MOVES.items():
        height = ram[CHICKEN_Y] + speed * AHEAD - LANE * np.arange(len(SPEED))
        if not (across & (height >= 14) & (height <= 25)).any():
            return choice
    return 1


def game(
    name: str,
    fields: tuple[int, ...],
    choices: int,
    repeat: int,
    expert: Callable[[np.ndarray], int],
    unit: str,
) -> ControlLevel:
    """A game as a level; its expert has the name of its function."""
    return ControlLevel(
        name=name,
        family="atari",
        make=partial(Game, name),
        scale=values.Linear(0, 255),
        choices=choices,
        limit=200,
        repeat=repeat,
        expert=expert,
        gain=points,
        expert_name=expert.__name__.replace("_", " "),
        metric="score",
        unit=unit,
        noise=Noise(rate=0.05, longest=2),
        fields=fields,
        packages=("ale-py", "gymnasium", "numpy"),
    )


class Atari(GymnasiumTask):
    """A game for a limited time; subclasses name the game."""

    level: ControlLevel
    reference_episodes = 100

    def __init__(self, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None) -> None:
        super().__init__(self.level, suite, tokenizer, train_episodes)

    def session(self, split: Split, index: int) -> GymnasiumSession:
        """Start in a state that no other split starts in."""
        level = replace(self.level, make=partial(Game, self.level.name, SPLITS.index(split)))
        return GymnasiumSession(self.vocabulary, level, self.seed(split, index), self.instruction)


class Breakout(Atari):
    """Bricks by a ball: five balls, half a minute."""

    level = game("breakout", (BALL_X, BALL_Y, PADDLE_X), 4, 8, under_the_ball, "points")


class Pong(Atari):
    """Table tennis against the game: points won less points lost."""

    level = game("pong", (PONG_BALL_X, PONG_BALL_Y, OWN_Y, RIVAL_Y), 6, 4, beside_the_ball, "points")


class Freeway(Atari):
    """A chicken across ten lanes, again and again."""

    level = game("freeway", (CHICKEN_Y, *CARS), 3, 8, between_the_cars, "crossings")
