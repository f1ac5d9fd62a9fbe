"""Gymnasium's toy texts: a taxi here, lakes and cliffs in `gridworlds`, cards in `blackjack`.

The taxi fetches a passenger and delivers: four discrete values in, six actions out; the expert is value
iteration.
"""

from dataclasses import replace
from functools import cache, partial

import numpy as np
from gymnasium.envs.toy_text.taxi import TaxiEnv

from space.catalog import Sense, Split, SuiteRecord
from trainers.tasks.control import Choices, ControlSession
from trainers.tasks.parts import blackjack, gridworlds
from trainers.tasks.parts.markov import MarkovSession, World
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

LIMIT = 30  # the longest optimal delivery takes 18
NUM_ACTIONS = 6
UNSURE_LIMIT = 60
ABOARD = 4  # where the passenger is, when in the taxi
STANDS = 4  # places to go to; the destination is the last digit of a state, so it can be swapped
SPLIT_SIZES: dict[Split, int] = {"train": 180, "select": 60, "report": 60}


class TaxiSession(ControlSession):
    """One episode; its value is 1 when the passenger is delivered in time."""

    def __init__(self, vocabulary: Vocabulary, state: int) -> None:
        self.actions = Choices(vocabulary, NUM_ACTIONS)
        super().__init__(vocabulary, self.actions.spec, LIMIT)
        self._state = state

    def look(self) -> Chunk:
        """Taxi row, taxi column, where the passenger is, where to."""
        fields = np.array(list(_taxi().decode(self._state)))
        return sequence.observation(self.vocabulary, ids=self.vocabulary.discrete_ids(fields))

    def expert(self) -> np.ndarray:
        """The first of the optimal actions."""
        return self.actions.encode(int(_optimal_actions()[self._state]))

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """One of the six actions."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Drive, pick up or drop off; True when the passenger is delivered."""
        ((_, self._state, _, delivered),) = _taxi().P[self._state][self.actions.decode(tokens)]
        self.value = float(delivered)
        return bool(delivered)


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

    def session(self, split: Split, index: int) -> ControlSession:
        """Start in one of the split's own states, one after the other and round again."""
        starts = start_states(split)
        return TaxiSession(self.vocabulary, int(starts[index % len(starts)]))

    def constants(self) -> list[np.ndarray]:
        """Each of the six actions."""
        return Choices(self.vocabulary, NUM_ACTIONS).constants()


class UnsureTaxi(Taxi):
    """Taxi-v4 where chance has a say: rain drives the taxi aside, or the passenger has second thoughts.

    Args:
        weather: "rainy" or "fickle".
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
        """Start in one of the split's own states."""
        starts, rng = start_states(split), self.rng(split, index)
        start = int(starts[index % len(starts)])
        if self.weather == "fickle" and rng.random() < _taxi().fickle_probability:
            start += len(_taxi().P)
        world, policy = _world(self.weather)
        words = self.tokenizer.encode(f"{self.weather} taxi")
        return MarkovSession(self.vocabulary, world, policy, start, rng, UNSURE_LIMIT, words)


TASKS = {
    "taxi": Taxi,
    "taxi-rainy": partial(UnsureTaxi, "rainy"),
    "taxi-fickle": partial(UnsureTaxi, "fickle"),
    **gridworlds.TASKS,
    **blackjack.TASKS,
}


@cache
def _world(weather: str) -> tuple[World, np.ndarray]:
    """Where an unsure taxi drives, and the expert's action in each state."""
    taxi = TaxiEnv(is_rainy=weather == "rainy")
    fields = np.array([list(taxi.decode(state)) for state in range(len(taxi.P))])
    world = World.of(taxi.P, lambda outcome: (outcome[3], outcome[3]), fields)
    policy = world.policy()
    if weather == "rainy":
        return world, policy
    return _fickle(world), np.tile(policy, 2)  # what the passenger may do next is not seen


def _fickle(world: World) -> World:
    """The same world, and behind it once more with a passenger who will change the destination once.

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


@cache
def _optimal_actions() -> np.ndarray:
    """Value iteration over the environment's own transitions: the best action of each state, (500,)."""
    table = _taxi().P
    steps = [[table[s][a][0] for a in range(NUM_ACTIONS)] for s in range(len(table))]
    after = np.array([[step[1] for step in row] for row in steps])
    reward = np.array([[step[2] for step in row] for row in steps], dtype=np.float64)
    over = np.array([[step[3] for step in row] for row in steps])
    value = np.zeros(len(table))
    while True:
        quality = reward + np.where(over, 0, value[after])
        if np.array_equal(quality.max(1), value):
            return quality.argmax(1)
        value = quality.max(1)
