"""Finite Markov decision processes with known transitions; value iteration is the expert.

It knows no environment: Gymnasium's `env.P` comes in, and who calls says which outcomes end well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.tasks.control import Choices, ControlSession
from trainers.tasks.parts.observed import whole_numbers
from trainers.tasks.sessions import SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

DISCOUNT = 0.995  # of success a step later: of two safe ways the expert takes the shorter one
TOLERANCE = 1e-10
DIGITS = 8  # values closer than this are a tie, and the first action wins: the same one on every machine

Outcome = tuple[float, int, float, bool]
"""Probability, next state, reward, over: as in the `P` of Gymnasium's toy texts."""
Transitions = Mapping[int, Mapping[int, Sequence[Outcome]]]
End = Callable[[Outcome], tuple[bool, bool]]
"""An outcome -> (over, well): whether the episode ends, and whether that is a success."""


@dataclass(frozen=True)
class World:
    """A finite world as arrays.

    Attributes:
        chance: probability of each outcome, (states, actions, outcomes); 0 pads.
        after: the state that an outcome leads to, of the same shape.
        over: whether an outcome ends the episode, of the same shape.
        well: whether it ends it with success, of the same shape.
        fields: what is seen of each state, discrete values (states, fields).
    """

    chance: np.ndarray
    after: np.ndarray
    over: np.ndarray
    well: np.ndarray
    fields: np.ndarray

    @classmethod
    def of(cls, transitions: Transitions, end: End, fields: np.ndarray) -> "World":
        """Arrays from Gymnasium's `P`."""
        states, actions = len(transitions), len(transitions[0])
        most = max(len(outcomes) for row in transitions.values() for outcomes in row.values())
        chance = np.zeros((states, actions, most))
        after = np.zeros((states, actions, most), dtype=np.int64)
        over, well = np.zeros_like(after, dtype=bool), np.zeros_like(after, dtype=bool)
        for state, row in transitions.items():
            for action, outcomes in row.items():
                for place, outcome in enumerate(outcomes):
                    where = state, action, place
                    chance[where], after[where] = outcome[0], outcome[1]
                    over[where], well[where] = end(outcome)
        return cls(chance, after, over, well, np.asarray(fields))

    @property
    def num_actions(self) -> int:
        """Actions in each state."""
        return self.chance.shape[1]

    def success(self, discount: float = DISCOUNT) -> np.ndarray:
        """Value iteration: discounted chance of success after each action, (states, actions)."""
        value = np.zeros(len(self.chance))
        while True:
            ahead = np.where(self.over, self.well, discount * value[self.after])
            quality = (self.chance * ahead).sum(-1)
            better = quality.max(1)
            if np.abs(better - value).max() < TOLERANCE:
                return quality
            value = better

    def policy(self) -> np.ndarray:
        """The first of each state's best actions, (states,)."""
        return self.success().round(DIGITS).argmax(1)

    def step(self, state: int, action: int, rng: np.random.Generator) -> tuple[int, bool, bool]:
        """Draw the result of an action: next state, whether the episode is over, whether it succeeded."""
        drawn = rng.random() < self.chance[state, action].cumsum()
        place = int(drawn.argmax()) if drawn.any() else int(self.chance[state, action].argmax())
        where = state, action, place
        return int(self.after[where]), bool(self.over[where]), bool(self.well[where])


class MarkovSession(ControlSession):
    """One episode in a world; its value is 1 when it ends with success in time.

    Args:
        vocabulary: the suite's.
        world: where it takes place.
        policy: the expert's action in each state, (states,).
        start: the first state.
        rng: draws what actions do.
        limit: timesteps.
        instruction: ids of text that say which world it is.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        world: World,
        policy: np.ndarray,
        start: int,
        rng: np.random.Generator,
        limit: int,
        instruction: Sequence[int] | np.ndarray = (),
    ) -> None:
        self.actions = Choices(vocabulary, world.num_actions)
        super().__init__(vocabulary, self.actions.spec, limit, instruction)
        self.world = world
        self.state = start
        self._policy = policy
        self._rng = rng

    def look(self) -> Chunk:
        """The fields of the state."""
        return sequence.observation(
            self.vocabulary, ids=self.vocabulary.discrete_ids(self.world.fields[self.state])
        )

    def expert(self) -> np.ndarray:
        """The action that value iteration found."""
        return self.actions.encode(int(self._policy[self.state]))

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Any action."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Take an action; return True when the episode is over."""
        self.state, over, well = self.world.step(self.state, self.actions.decode(tokens), self._rng)
        self.value = float(well)
        return over


def fields_shown(task: SessionTask, fields: np.ndarray, observation: Any) -> Chunk:
    """What a session shows of a state.

    Args:
        task: the task.
        fields: of each state, (states, fields).
        observation: a state, as Gymnasium's environments give it, or the fields of one, (fields,).

    Raises:
        StudyFileError: it is neither.
    """
    if isinstance(observation, int | np.integer):
        seen = fields[int(whole_numbers(task.name, observation, (), len(fields)))]
    else:
        seen = whole_numbers(task.name, observation, fields.shape[1:], int(fields.max()) + 1)
    return sequence.observation(task.vocabulary, ids=task.vocabulary.discrete_ids(seen))
