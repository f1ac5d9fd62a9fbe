"""Base class of sessions of control: a limit on time, and actions among choices or in a box."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from trainers.tasks.base import ActionSpec
from trainers.tokens import sequence, values
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary


class ControlSession(ABC):
    """An episode of an environment, with a limit on its timesteps.

    Subclasses say what is seen, what the expert would do and what an action does.

    Args:
        vocabulary: the suite's.
        spec: what each action looks like.
        limit: timesteps after which the episode ends.
        instruction: ids of text that say what the episode is about, where what is seen does not.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        spec: ActionSpec,
        limit: int,
        instruction: Sequence[int] | np.ndarray = (),
    ) -> None:
        self.vocabulary = vocabulary
        self.spec = spec
        self.limit = limit
        self.instruction = instruction
        self.steps = 0
        self.value = 0.0
        self._seen: Chunk | None = None

    @abstractmethod
    def look(self) -> Chunk:
        """The observation at this moment, separator included."""

    @abstractmethod
    def expert(self) -> np.ndarray:
        """The expert's action at this moment, ids (length,)."""

    @abstractmethod
    def random(self, rng: np.random.Generator) -> np.ndarray:
        """A uniformly random action, ids (length,)."""

    @abstractmethod
    def step(self, tokens: np.ndarray) -> bool:
        """Take an action, ids (length,), and update `value`; return True if the episode is over."""

    def observe(self) -> Chunk:
        """The observation; the first one has the instruction before it."""
        self._seen = self.look()
        if self.steps or not len(self.instruction):
            return self._seen
        return Chunk.concat([sequence.instruction(self.instruction), self._seen])

    def action_local(self) -> np.ndarray:
        """Positions in the timestep after what was just observed, (spec.length,) int16."""
        assert self._seen is not None, "a session is observed before it is acted on"
        return sequence.action_local(self._seen, self.spec.length)

    def act(self, tokens: np.ndarray) -> bool:
        """Take an action's ids, (length,); True when the episode is over."""
        self.steps += 1
        return self.step(np.asarray(tokens)) or self.steps >= self.limit


class Choices:
    """Actions that are one of `number` discrete values."""

    def __init__(self, vocabulary: Vocabulary, number: int) -> None:
        self.number = number
        self.vocabulary = vocabulary
        self.spec = ActionSpec(1, (vocabulary.choices(number),))

    def encode(self, choice: int) -> np.ndarray:
        """A choice -> ids (1,)."""
        return self.vocabulary.discrete_ids(np.array([choice]))

    def decode(self, tokens: np.ndarray) -> int:
        """Ids (1,) -> the choice."""
        return int(self.vocabulary.discrete_values(tokens)[0])

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Ids (1,) of a uniformly random choice."""
        return self.encode(int(rng.integers(self.number)))

    def constants(self) -> list[np.ndarray]:
        """Ids (1,) of each choice."""
        return [self.encode(choice) for choice in range(self.number)]


class Box:
    """Actions that are floats about zero, in linear bins.

    Args:
        vocabulary: the suite's.
        limits: of each axis on either side of zero, (size,).
    """

    def __init__(self, vocabulary: Vocabulary, limits: np.ndarray) -> None:
        self.size = len(limits)
        self.vocabulary = vocabulary
        self.scale = values.Linear(tuple(-limits), tuple(limits))
        self.spec = ActionSpec(self.size, (vocabulary.continuous_range,))

    def encode(self, action: np.ndarray) -> np.ndarray:
        """Floats (size,) -> ids (size,)."""
        return self.vocabulary.continuous_ids(values.encode(action, self.vocabulary.bins, self.scale))

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Ids (size,) -> floats at the centres of their bins, (size,)."""
        return values.decode(self.vocabulary.continuous_bins(tokens), self.vocabulary.bins, self.scale)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Ids (size,) of uniformly random floats."""
        return self.encode(self.scale.expand(rng.uniform(-1, 1, self.size)))

    def constants(self) -> list[np.ndarray]:
        """Ids (size,) of no motion and of either end of each axis."""
        ends = np.concatenate([np.zeros((1, self.size)), np.eye(self.size), -np.eye(self.size)])
        return [self.encode(self.scale.expand(end)) for end in ends]


class Interval(Box):
    """Actions that are floats between any two limits, in linear bins.

    Args:
        vocabulary: the suite's.
        low: lower limit of each axis, (size,).
        high: upper limit of each axis, (size,).
    """

    def __init__(self, vocabulary: Vocabulary, low: np.ndarray, high: np.ndarray) -> None:
        super().__init__(vocabulary, high)
        self.scale = values.Linear(tuple(low), tuple(high))


class Several:
    """Actions of several discrete values, or of one that does not begin at 0.

    Args:
        vocabulary: the suite's.
        first: smallest value of each place, (size,).
        sizes: number of values of each place, (size,).
    """

    def __init__(self, vocabulary: Vocabulary, first: np.ndarray, sizes: np.ndarray) -> None:
        self.vocabulary = vocabulary
        self.first, self.sizes = first, sizes
        self.spec = ActionSpec(len(sizes), tuple(vocabulary.choices(int(size)) for size in sizes))

    def encode(self, action: np.ndarray) -> np.ndarray:
        """Values (size,) -> ids (size,)."""
        return self.vocabulary.discrete_ids(np.asarray(action) - self.first)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Ids (size,) -> values (size,)."""
        return self.vocabulary.discrete_values(tokens) + self.first

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Ids (size,) of uniformly random values."""
        return self.encode(self.first + rng.integers(self.sizes))

    def constants(self) -> list[np.ndarray]:
        """Ids (size,) of the first values, and of these with one place at any other of its values."""
        found = [self.encode(self.first)]
        for place, size in enumerate(self.sizes):
            for value in range(1, size):
                action = self.first.copy()
                action[place] += value
                found.append(self.encode(action))
        return found
