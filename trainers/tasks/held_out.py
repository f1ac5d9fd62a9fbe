"""What a task shows of its held-out episodes, and how much of it training has seen.

It works on any task, through a policy that records what `score` shows it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from space.records import Split
from trainers.tasks.base import Policy, Recorded, Session, Task
from trainers.tokens.sequence import Chunk

WINDOW = 32  # tokens of a passage that is looked for in training
HASH = np.uint64(1_000_003)
NEAR = 1e-2  # of a patch's value: training data are stored in 255 levels


@dataclass
class Recorder:
    """A policy that plays as another one and records what it is shown.

    Attributes:
        policy: the other one.
        first: number of the session -> its first observation.
        passages: text whose likelihood was asked for.
        session: one of the sessions, over by now; None if there was none.
    """

    policy: Policy
    first: dict[int, Chunk] = field(default_factory=dict)
    passages: list[Chunk] = field(default_factory=list)
    session: Session | None = None

    def begin(self, count: int) -> None:
        """Begin as the other policy does."""
        self.policy.begin(count)

    def act(
        self, live: Sequence[int], observations: Sequence[Chunk], sessions: Sequence[Session]
    ) -> list[np.ndarray]:
        """Act as the other policy does."""
        for number, seen in zip(live, observations, strict=True):
            self.first.setdefault(number, seen)
        self.session = sessions[0]
        return self.policy.act(live, observations, sessions)

    def nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Likelihoods as the other policy gives them."""
        self.passages += chunks
        return self.policy.nats(chunks)

    @property
    def shown(self) -> list[Chunk]:
        """The first observation of each session, or each passage of text."""
        return [*(self.first[number] for number in sorted(self.first)), *self.passages]


def record(task: Task, split: Split, count: int) -> Recorder:
    """Let the expert play `count` held-out episodes and record what it is shown."""
    recorder = Recorder(task.expert_policy()[1])
    task.score(recorder, split, count)
    return recorder


def begins_with(episode: Chunk, seen: Chunk) -> bool:
    """Whether an episode begins with an observation: the same tokens, and patches as stored."""
    if len(episode) < len(seen) or not np.array_equal(episode.tokens[: len(seen)], seen.tokens):
        return False
    begun = episode.slice(0, len(seen))
    return all(
        name in begun.patches and np.allclose(begun.patches[name], patches, atol=NEAR)
        for name, patches in seen.patches.items()
    )


class Passages:
    """All passages of `WINDOW` tokens of some texts.

    Args:
        texts: ids of each, (length,).
    """

    def __init__(self, texts: Iterable[np.ndarray]) -> None:
        hashes = [_hashes(ids) for ids in texts]
        self._known = np.unique(np.concatenate(hashes)) if hashes else np.empty(0, dtype=np.uint64)

    def found(self, text: np.ndarray) -> np.ndarray:
        """Which passages of a text are among them, (length - WINDOW + 1,) bool."""
        asked = _hashes(text)
        if not len(self._known):
            return np.zeros(len(asked), dtype=bool)
        places = np.minimum(np.searchsorted(self._known, asked), len(self._known) - 1)
        return self._known[places] == asked


def _hashes(ids: np.ndarray) -> np.ndarray:
    """A hash of each window, (length - WINDOW + 1,) uint64; of a shorter text, one of the whole."""
    size = min(WINDOW, len(ids))
    tokens = ids.astype(np.uint64) + np.uint64(1)
    found = np.zeros(len(ids) - size + 1, dtype=np.uint64)
    for place in range(size):
        found = found * HASH + tokens[place : place + len(found)]
    return found


class HeldOutScores:
    """Scores of a task's expert and floors on held-out episodes, larger is better; each is played once.

    Args:
        task: the task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._sign = -1 if task.lower_is_better else 1
        self._found: dict[tuple[str, Split, int], np.ndarray] = {}

    def of(self, policy: Policy, split: Split, count: int) -> np.ndarray:
        """Scores of any policy, (count,)."""
        return self._sign * self._task.score(policy, split, count)

    def expert(self, split: Split, count: int) -> np.ndarray:
        """Scores of the expert, (count,); of its recorded episodes, (episodes,), where these are better."""
        played = self._once("the expert", lambda: self._task.expert_policy()[1], split, count)
        if not isinstance(self._task, Recorded):
            return played
        recorded = self._sign * self._task.returns()
        return recorded if recorded.mean() > played.mean() else played

    def floors(self, split: Split, count: int) -> Iterator[tuple[str, np.ndarray]]:
        """Name and scores, (count,), of each policy that looks at nothing."""
        for name, policy in self._task.floor_policies().items():
            yield name, self._once(f"floor {name}", lambda policy=policy: policy, split, count)

    def _once(self, name: str, policy: Callable[[], Policy], split: Split, count: int) -> np.ndarray:
        key = name, split, count
        if key not in self._found:
            self._found[key] = self.of(policy(), split, count)
        return self._found[key]
