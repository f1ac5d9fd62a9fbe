"""Fetch a passenger and deliver: four discrete values in, six actions out; the expert is value iteration."""

from functools import cache

import numpy as np
from gymnasium.envs.toy_text.taxi import TaxiEnv

from space.catalog import Sense, Split
from trainers.tasks.control import Choices, ControlSession
from trainers.tasks.sessions import Noise, SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

LIMIT = 30  # the longest optimal delivery takes 18
NUM_ACTIONS = 6
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

    def session(self, split: Split, index: int) -> TaxiSession:
        """Start in one of the split's own states, one after the other and round again."""
        starts = start_states(split)
        return TaxiSession(self.vocabulary, int(starts[index % len(starts)]))

    def constants(self) -> list[np.ndarray]:
        """Each of the six actions."""
        return Choices(self.vocabulary, NUM_ACTIONS).constants()


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
