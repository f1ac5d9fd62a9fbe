"""The nearest expert example as a policy: a baseline of memory, beside floor and expert.

It uses the present observation and the episode's instruction, not the history.
"""

from collections.abc import Sequence

import numpy as np

from trainers.tasks.base import Session
from trainers.tasks.episodes import Episodes
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

MOST_EXAMPLES = 4096
BAG = 64  # counts of text pieces, by their ids modulo this
DISCRETE_STEP = 0.25  # distance of neighbouring discrete values; bins span [-1, 1]
PATCH_WEIGHT = 0.5


class RetrievalPolicy:
    """Does what the expert did after the observation that is nearest to the present one.

    Args:
        episodes: the expert's; slips are not used as examples.
        vocabulary: the suite's.
        shuffle: replaces each observation by a random one of the expert, which measures what can be scored
            without the right observation. None uses the observations as they are.
    """

    def __init__(
        self, episodes: Sequence[Chunk], vocabulary: Vocabulary, shuffle: np.random.Generator | None = None
    ) -> None:
        self.vocabulary = vocabulary
        self.shuffle = shuffle
        whole = Episodes.of(episodes)
        timesteps = _scored_timesteps(whole)
        chosen = timesteps[np.linspace(0, len(timesteps) - 1, min(len(timesteps), MOST_EXAMPLES)).astype(int)]
        seen = [
            whole.chunk(np.concatenate([np.arange(head, first), np.arange(start, act)]))
            for head, first, start, act, _ in chosen.tolist()
        ]
        self._answers = [np.asarray(whole.tokens[act:stop]) for *_, act, stop in chosen.tolist()]
        self._width = max(len(self._values(chunk)) for chunk in seen)
        self._patches = max(sum(p.size for p in chunk.patches.values()) for chunk in seen)
        self._keys = np.stack([self._key(chunk, self._bag(chunk)) for chunk in seen])
        self._norms = (self._keys**2).sum(1)
        self._instructions: dict[int, np.ndarray] = {}

    def begin(self, count: int) -> None:
        """Forget the instructions."""
        self._instructions = {}

    def act(
        self, live: Sequence[int], observations: Sequence[Chunk], sessions: Sequence[Session]
    ) -> list[np.ndarray]:
        """The action of the nearest example of each session, (length,)."""
        if self.shuffle is not None:
            drawn = self.shuffle.integers(len(self._answers), size=len(sessions))
            return [self._fit(self._answers[i], session) for i, session in zip(drawn, sessions, strict=True)]
        for number, seen in zip(live, observations, strict=True):
            if number not in self._instructions:
                head = int(seen.starts.argmax())
                self._instructions[number] = self._bag(seen.slice(0, head))
        keys = [
            self._key(seen, self._bag(seen) + self._instructions[number] * (not self._begins(seen)))
            for number, seen in zip(live, observations, strict=True)
        ]
        nearest = (self._norms - 2 * np.stack(keys) @ self._keys.T).argmin(1)
        return [
            self._fit(self._answers[example], session)
            for example, session in zip(nearest, sessions, strict=True)
        ]

    def nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Raise TypeError: an example gives no likelihood of tokens."""
        raise TypeError("a retrieved example acts, and gives tokens no likelihood")

    def _begins(self, seen: Chunk) -> bool:
        """Whether an observation contains its episode's instruction."""
        return not seen.starts[0]

    def _fit(self, answer: np.ndarray, session: Session) -> np.ndarray:
        """An answer without its stop token, with each token moved to the nearest legal one."""
        spec = session.spec
        answer = answer[answer != spec.stop] if spec.stop is not None else answer
        low, high = np.array([spec.range_at(i) for i in range(len(answer))]).reshape(-1, 2).T
        return np.clip(answer, low, high - 1)

    def _bag(self, seen: Chunk) -> np.ndarray:
        text = seen.tokens[seen.tokens < self.vocabulary.text]
        return np.bincount(text % BAG, minlength=BAG).astype(np.float32)

    def _values(self, seen: Chunk) -> np.ndarray:
        """Values on a common scale, (values,)."""
        tokens = seen.tokens
        low, high = self.vocabulary.continuous_range
        first, last = self.vocabulary.discrete_range
        bins = (tokens >= low) & (tokens < high)
        choices = (tokens >= first) & (tokens < last)
        scaled = np.where(bins, 2 * (tokens - low) / (high - low) - 1, (tokens - first) * DISCRETE_STEP)
        return scaled[bins | choices].astype(np.float32)

    def _key(self, seen: Chunk, bag: np.ndarray) -> np.ndarray:
        """One vector for an observation: values, patches, counts of text pieces."""
        key = np.zeros(self._width + self._patches + BAG, dtype=np.float32)
        values = self._values(seen)[: self._width]
        key[: len(values)] = values
        if seen.patches:
            pixels = np.concatenate([seen.patches[name].ravel() for name in sorted(seen.patches)])
            pixels = pixels[: self._patches]
            key[self._width : self._width + len(pixels)] = PATCH_WEIGHT * pixels
        key[-BAG:] = bag
        return key


def _scored_timesteps(whole: Episodes) -> np.ndarray:
    """Timesteps with an action of the expert.

    Returns:
        (timesteps, 5) int64: where the episode begins and its instruction ends, where the timestep begins,
        where the action begins and where it ends.
    """
    starts = np.flatnonzero(whole.starts)
    episode = np.searchsorted(whole.offsets, starts, side="right") - 1
    ends = np.append(starts[1:], len(whole.tokens))
    ends = np.minimum(ends, whole.offsets[episode + 1])
    first = starts[np.searchsorted(starts, whole.offsets[:-1])][episode]
    scored = np.concatenate([[0], np.cumsum(whole.scored)])
    answered = scored[ends] > scored[starts]
    acts = np.searchsorted(scored, scored[starts], side="right") - 1
    found = np.stack([whole.offsets[episode], first, starts, acts, ends], axis=1)
    return found[answered]
