"""Gymnasium's toy texts: a taxi here, lakes and cliffs in `gridworlds`, cards in `blackjack`.

The taxi fetches a passenger and delivers: its row and column, where the passenger is and where to in, six
actions out; the expert is value iteration.
"""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from gymnasium.envs.toy_text.taxi import TaxiEnv

from space.records import Sense, Split, SuiteRecord
from trainers.tasks.control import Choices
from trainers.tasks.families.toy_text import blackjack, gridworlds
from trainers.tasks.families.toy_text.markov import MarkovSession, World, fields_shown
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer

LIMIT = 30  # the longest optimal delivery takes 18
UNSURE_LIMIT = 60
NUM_ACTIONS = 6
FAIR, RAINY, FICKLE = "fair", "rainy", "fickle"
ABOARD = 4  # where the passenger is, when in the taxi
STANDS = 4  # places to go to; the destination is the last digit of a state, so it can be swapped
SPLIT_SIZES: dict[Split, int] = {"train": 180, "select": 60, "report": 60}


class Taxi(SessionTask):
    """Taxi-v4 of Gymnasium, scored by deliveries: idling beats random play on its return."""

    name = "taxi"
    family = "toy-text"
    domain = "discrete"
    modality: Sense = "discrete"
    metric = "delivery"
    unit = "rate"
    expert_name = "value iteration"
    memorisable = True
    eval_episodes = 60
    num_train_episodes = 3000
    noise = Noise(rate=0.12, longest=3)
    packages = ("gymnasium", "numpy")

    def session(self, split: Split, index: int) -> MarkovSession:
        """Start in the split's states in turn, repeated."""
        starts = start_states(split)
        start, rng = int(starts[index % len(starts)]), self.rng(split, index)
        return MarkovSession(self.vocabulary, *world_of(FAIR), start, rng, LIMIT)

    def tokens_of(self, observation: Any) -> Chunk:
        """The taxi's state, or its fields: row, column, where the passenger is, destination."""
        return fields_shown(self, world_of(FAIR)[0].fields, observation)

    def constants(self) -> list[np.ndarray]:
        """Each of the six actions."""
        return Choices(self.vocabulary, NUM_ACTIONS).constants()


class UnsureTaxi(Taxi):
    """Taxi-v4 with chance: rain moves the taxi sideways, or the passenger changes the destination.

    Args:
        weather: `RAINY` or `FICKLE`.
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many expert episodes to make.
    """

    variant = True
    eval_episodes = 60
    noise = Noise(rate=0.08, longest=2)
    num_train_episodes = 1500

    def __init__(
        self, weather: str, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.name = f"taxi-{weather}"
        self.weather = weather
        super().__init__(suite, tokenizer, train_episodes)

    def session(self, split: Split, index: int) -> MarkovSession:
        """Start in one of the split's states."""
        starts, rng = start_states(split), self.rng(split, index)
        start = int(starts[index % len(starts)])
        if self.weather == FICKLE and rng.random() < _taxi().fickle_probability:
            start += len(_taxi().P)
        words = self.tokenizer.encode(f"{self.weather} taxi")
        return MarkovSession(self.vocabulary, *world_of(self.weather), start, rng, UNSURE_LIMIT, words)


TASKS = {
    "taxi": Taxi,
    "taxi-rainy": partial(UnsureTaxi, RAINY),
    "taxi-fickle": partial(UnsureTaxi, FICKLE),
    **gridworlds.TASKS,
    **blackjack.TASKS,
}


@cache
def world_of(weather: str) -> tuple[World, np.ndarray]:
    """A taxi's world, and the expert's action in each state."""
    taxi = TaxiEnv(is_rainy=weather == RAINY)
    fields = np.array([list(taxi.decode(state)) for state in range(len(taxi.P))])
    world = World.of(taxi.P, lambda outcome: (outcome[3], outcome[3]), fields)
    policy = world.policy()
    if weather == FICKLE:  # what the passenger may do next is not seen
        return _fickle(world), np.tile(policy, 2)
    return world, policy


def _fickle(world: World) -> World:
    """The world twice: as it is, and with a passenger who will still change the destination once.

    It happens on the first move with the passenger on board, as in the environment's `step`.
    """
    count = len(world.fields)
    row, column, passenger, destination = world.fields.T
    after, stays = world.after[..., 0], np.arange(count)[:, None]
    moved = (row[after] != row[stays]) | (column[after] != column[stays])
    changes = moved & (passenger == ABOARD)[:, None]
    others = np.array([[other for other in range(STANDS) if other != to] for to in range(STANDS)])
    elsewhere = after[..., None] - destination[after][..., None] + others[destination][:, None]
    same = np.repeat(after[..., None], STANDS - 1, axis=-1)
    certain = np.eye(STANDS - 1)[0]
    chance = np.where(changes[..., None], 1 / (STANDS - 1), certain)
    return replace(
        world,
        chance=np.concatenate([np.broadcast_to(certain, chance.shape), chance]),
        after=np.concatenate([same, np.where(changes[..., None], elsewhere, same + count)]),
        over=np.tile(np.repeat(world.over, STANDS - 1, axis=-1), (2, 1, 1)),
        well=np.tile(np.repeat(world.well, STANDS - 1, axis=-1), (2, 1, 1)),
        fields=np.tile(world.fields, (2, 1)),
    )


@cache
def start_states(split: Split) -> np.ndarray:
    """The split's share of the 300 states in which an episode may start, in random order."""
    states = np.random.default_rng(0).permutation(np.flatnonzero(_taxi().initial_state_distrib))
    ends = np.cumsum(list(SPLIT_SIZES.values()))
    return dict(zip(SPLIT_SIZES, np.split(states, ends[:-1]), strict=True))[split]


@cache
def _taxi() -> TaxiEnv:
    return TaxiEnv()
