"""Tasks that a tiny decoder learns in seconds: what the trainer needs of a task, and nothing else."""

from dataclasses import dataclass, field

import numpy as np

from space.contract import Budget
from space.records import Reference, References, SuiteRecord, TaskRecord
from trainers.tasks.base import ActionSpec
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

PATCH = 4


def record(name: str, domain: str, floor: float, expert: float, **other: bool) -> TaskRecord:
    def reference(mean: float) -> Reference:
        return Reference(mean=mean, stderr=0.01, n=50, seed=0, policy="test", versions={})

    pair = References(floor=reference(floor), expert=reference(expert))
    return TaskRecord(
        name=name,
        family="toy",
        domain=domain,
        modality="discrete",
        metric="success",
        unit="share",
        references={"select": pair, "report": pair},
        **other,
    )


def toy_suite(**changes: object) -> SuiteRecord:
    records = [
        record("echo", "control", 0.25, 1.0),
        record("spell", "language", 0.0, 1.0),
        record("read", "language", 4.0, 0.5, lower_is_better=True),
    ]
    suite = SuiteRecord(
        name="toy",
        tasks=tuple(r.name for r in records),
        context=24,
        batch_tokens=192,
        text_vocab=16,
        bins=8,
        discrete=8,
        encoders={"image": PATCH},
        patch_share={"echo": {"image": 0.25}},
        episodes=dict.fromkeys(("echo", "spell", "read"), 6),
        records={r.name: r for r in records},
    )
    return suite.model_copy(update=changes)


@dataclass
class EchoSession:
    """Each timestep shows a value as a patch and as a number; the action repeats it, then the one before."""

    vocabulary: Vocabulary
    values: list[int]
    twist: int = 0  # makes observations of different lengths
    value: float = 0.0
    seen: list[int] = field(default_factory=list)
    right: int = 0

    @property
    def spec(self) -> ActionSpec:
        return ActionSpec(length=2, allowed=(self.vocabulary.choices(4),))

    def observe(self) -> Chunk:
        now = self.values[len(self.seen)]
        patch = np.zeros((1, PATCH), np.float32)
        patch[0, now] = 1
        extra = [now] * (1 + self.twist * (len(self.seen) % 3))
        self.last = sequence.observation(
            self.vocabulary, patches={"image": patch}, ids=self.vocabulary.discrete_ids(np.array(extra))
        )
        return self.last

    def action_local(self) -> np.ndarray:
        return sequence.action_local(self.last, 2)

    def expert(self) -> np.ndarray:
        now = len(self.seen)
        return self.vocabulary.discrete_ids(np.array([self.values[now], self.values[max(now - 1, 0)]]))

    def random(self, rng: np.random.Generator) -> np.ndarray:
        return self.vocabulary.discrete_ids(rng.integers(4, size=2))

    def act(self, tokens: np.ndarray) -> bool:
        self.right += int(tokens[0] == self.expert()[0])
        self.seen.append(int(tokens[0]))
        self.value = self.right / len(self.values)
        return len(self.seen) == len(self.values)


@dataclass
class SpellSession:
    """A number is shown; the answer is so many letters and the stop."""

    vocabulary: Vocabulary
    number: int
    value: float = 0.0

    @property
    def spec(self) -> ActionSpec:
        return ActionSpec(length=5, allowed=(self.vocabulary.text_range,), stop=1)

    def observe(self) -> Chunk:
        return sequence.observation(
            self.vocabulary, ids=self.vocabulary.discrete_ids(np.array([self.number]))
        )

    def action_local(self) -> np.ndarray:
        return np.zeros(5, np.int16)

    def expert(self) -> np.ndarray:
        return np.arange(3, 3 + self.number, dtype=np.int32)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        return np.arange(3, 3 + rng.integers(1, 5), dtype=np.int32)

    def act(self, tokens: np.ndarray) -> bool:
        self.value = float(np.array_equal(tokens, self.expert()))
        return True


class ToyTask:
    """One of the three, by name."""

    def __init__(self, name: str, suite: SuiteRecord, twist: int = 0) -> None:
        self.name = name
        self.twist = twist
        self.vocabulary = Vocabulary.of(suite)

    def session(self, split: str, index: int):
        rng = np.random.default_rng([["train", "select", "report"].index(split), index])
        if self.name == "spell":
            return SpellSession(self.vocabulary, int(rng.integers(1, 5)))
        length = int(rng.integers(4, 12))
        return EchoSession(self.vocabulary, rng.integers(4, size=length).tolist(), self.twist)

    def document(self, split: str, index: int) -> Chunk:
        rng = np.random.default_rng([["train", "select", "report"].index(split), index, 1])
        first = int(rng.integers(16))
        return sequence.text((first + np.arange(int(rng.integers(20, 25)))) % 16, scored=True, starts=True)

    def episodes(self) -> list[Chunk]:
        if self.name == "read":
            return [self.document("train", index) for index in range(40)]
        return [self.played(self.session("train", index)) for index in range(40)]

    def played(self, session) -> Chunk:
        parts, over = [], False
        while not over:
            parts.append(session.observe())
            expert = session.expert()
            answer = expert if session.spec.stop is None else np.r_[expert, session.spec.stop]
            parts.append(sequence.action(answer, session.action_local()))
            over = session.act(expert)
        return Chunk.concat(parts)

    def score(self, policy, split: str, count: int) -> np.ndarray:
        if self.name == "read":
            nats = policy.nats([self.document(split, index) for index in range(count)])
            return np.array([part.mean() / np.log(2) for part in nats])
        sessions = [self.session(split, index) for index in range(count)]
        policy.begin(count)
        live = list(range(count))
        while live:
            playing = [sessions[i] for i in live]
            answers = policy.act(live, [session.observe() for session in playing], playing)
            live = [i for i, s, a in zip(live, playing, answers, strict=True) if not s.act(a)]
        return np.array([session.value for session in sessions])


class Recorder:
    """A report that remembers everything, keeps checkpoints in a folder, and stops when told to."""

    def __init__(self, folder, stop_at: int | None = None) -> None:
        self.folder = folder
        self.stop_at = stop_at
        self.polls = 0
        self.curve: list[tuple[int, float, dict[str, float]]] = []
        self.saved: list[tuple[str, int]] = []

    @property
    def stopping(self) -> bool:
        self.polls += 1
        return self.stop_at is not None and self.polls >= self.stop_at

    def progress(self, tokens, loss, task_losses) -> None:
        self.curve.append((tokens, loss, dict(task_losses)))

    def checkpoint(self, save, tokens, kind) -> None:
        save(self.path(kind, tokens))
        self.saved.append((kind, tokens))

    def path(self, kind, tokens):
        return self.folder / f"{kind}-{tokens}"


def budget(tokens: int, **other: object) -> Budget:
    given = {"decay_tokens": 192 * 4, "device": "cpu", **other}
    return Budget(tokens=tokens, **given)
