"""Tasks whose episodes are one question, in any senses, and one answer in text."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from space.records import Split
from trainers.tasks.base import ActionSpec
from trainers.tasks.sessions import SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import STOP, Tokenizer
from trainers.tokens.vocabulary import Vocabulary

MAX_CONSTANTS = 30
ANSWER_SAMPLE = 1000


@dataclass(frozen=True)
class Example:
    """A question and its answer.

    Attributes:
        answer: the right answer.
        expert: gives the expert's answer.
        prompt: the question in text, or what else is to be read.
        patches: encoder -> (count, size) float32, what is to be seen and heard.
        ids: vocabulary ids of values.
    """

    answer: str
    expert: Callable[[], str]
    prompt: str = ""
    patches: dict[str, np.ndarray] = field(default_factory=dict)
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int32))


class AnswerSession:
    """One question; its value is the score of the answer's text.

    Args:
        vocabulary: the suite's.
        tokenizer: the suite's.
        spec: how long an answer may be.
        example: the question.
        answers: what a random answer is drawn from.
        score: answer, right answer -> value.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        spec: ActionSpec,
        example: Example,
        answers: Sequence[str],
        score: Callable[[str, str], float],
    ) -> None:
        self.spec = spec
        self.value = 0.0
        self.example = example
        self._tokenizer = tokenizer
        self._answers = answers
        self._score = score
        self._question = sequence.observation(
            vocabulary,
            prompt=tokenizer.encode(example.prompt) if example.prompt else (),
            patches=example.patches,
            ids=example.ids,
        )

    def observe(self) -> Chunk:
        """The question."""
        return self._question

    def action_local(self) -> np.ndarray:
        """An answer is running text: zeros, (spec.length,)."""
        return np.zeros(self.spec.length, dtype=np.int16)

    def act(self, tokens: np.ndarray) -> bool:
        """Take the answer; the episode is over."""
        self.value = self._score(self._tokenizer.decode(tokens), self.example.answer)
        return True

    def expert(self) -> np.ndarray:
        """The expert's answer."""
        return self._tokenizer.encode(self.example.expert())

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """One of the training answers."""
        return self._tokenizer.encode(self._answers[int(rng.integers(len(self._answers)))])


class AnswerTask(SessionTask):
    """A task of questions; subclasses say how an example is drawn and how an answer is scored.

    An answer is one piece, or several and then the stop piece.
    """

    lanes = 256
    by_likelihood: bool = False
    """Whether a policy is scored by the likelihood that it gives the right answers, not by its own."""

    @abstractmethod
    def example(self, split: Split, index: int) -> Example:
        """An example; deterministic in its arguments. Splits share no example."""

    @abstractmethod
    def answer(self, split: Split, index: int) -> str:
        """The right answer to an example, without making the example."""

    @abstractmethod
    def answer_score(self, answer: str, right: str) -> float:
        """The value of an answer."""

    @cached_property
    def training_answers(self) -> list[str]:
        """Right answers of some training examples: what random and constant answers are taken from."""
        return [self.answer("train", i) for i in range(min(self.train_episodes, ANSWER_SAMPLE))]

    @cached_property
    def spec(self) -> ActionSpec:
        """Any text; longer than the longest training answer by its stop piece, or one piece and no stop."""
        return self.spec_for(self.training_answers)

    def spec_for(self, answers: Iterable[str]) -> ActionSpec:
        """Room for the longest answer and its stop piece; one piece and no stop if all have one piece."""
        longest = max(len(self.tokenizer.encode(answer)) for answer in set(answers))
        text = (self.vocabulary.text_range,)
        return ActionSpec(1, text) if longest == 1 else ActionSpec(longest + 1, text, STOP)

    def session(self, split: Split, index: int) -> AnswerSession:
        """Ask one question."""
        return AnswerSession(
            self.vocabulary,
            self.tokenizer,
            self.spec,
            self.example(split, index),
            self.training_answers,
            self.judge(split, index),
        )

    def judge(self, split: Split, index: int) -> Callable[[str, str], float]:
        """What scores an answer to an example: answer, right answer -> value."""
        return self.answer_score

    def constants(self) -> list[np.ndarray]:
        """The most frequent training answers."""
        common = Counter(self.training_answers).most_common(MAX_CONSTANTS)
        return [self.tokenizer.encode(answer) for answer, _ in common]


def exact_match(answer: str, right: str) -> float:
    """1 if the answer equals the right one, apart from white space around it."""
    return float(answer.strip() == right)


def token_f1(answer: str, right: str) -> float:
    """Harmonic mean of precision and recall of the answer's words, with repetitions."""
    said, asked = Counter(answer.split()), Counter(right.split())
    shared = (said & asked).total()
    return 2 * shared / (said.total() + asked.total()) if shared else 0.0
