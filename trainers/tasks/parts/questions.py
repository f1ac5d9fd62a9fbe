"""Base classes of the families of questions: how a question is drawn, asked and scored.

Families add the pictures or sounds of a question.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from space.records import Split, SuiteRecord
from trainers.tasks.answers import AnswerTask, Example, exact_match
from trainers.tasks.base import ActionSpec
from trainers.tokens.text import Tokenizer

YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Question:
    """A question before its pictures or sounds are made; families add fields for them.

    Attributes:
        prompt: the question in text.
        answer: the right answer.
    """

    prompt: str
    answer: str


Asked = TypeVar("Asked", bound=Question)


@dataclass(frozen=True)
class QuestionKind(Generic[Asked]):
    """A kind of question.

    Attributes:
        name: of the task.
        ask: draws a question; the answer is drawn first where it would not be balanced otherwise.
        answers: all answers, or some of which one is the longest.
        variant: whether it differs from another level by count or size only.
        expert: the expert's name.
        eval_episodes: held-out questions that score a trial.
        num_train_episodes: training questions.
    """

    name: str
    ask: Callable[[np.random.Generator], Asked]
    answers: tuple[str, ...]
    variant: bool = False
    expert: str = "by construction"
    eval_episodes: int = 128
    num_train_episodes: int = 12_000


class QuestionTask(AnswerTask, Generic[Asked]):
    """Questions of one level, by exact match.

    Args:
        level: the kind of question.
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many questions to train on; None for the level's own number.
    """

    metric = "accuracy"
    unit = "rate"
    reference_episodes = 200

    def __init__(
        self,
        level: QuestionKind[Asked],
        suite: SuiteRecord,
        tokenizer: Tokenizer,
        train_episodes: int | None = None,
    ) -> None:
        super().__init__(suite, tokenizer, train_episodes or level.num_train_episodes)
        self.level = level
        self.name = level.name
        self.variant = level.variant
        self.expert_name = level.expert
        self.eval_episodes = level.eval_episodes

    @abstractmethod
    def show(self, question: Asked, split: Split, rng: np.random.Generator) -> Example:
        """Make the pictures and sounds of a question."""

    def belongs(self, question: Asked, split: Split) -> bool:
        """Whether a question belongs to a split; by default all do, because pictures and sounds differ."""
        return True

    def draw(self, split: Split, rng: np.random.Generator) -> Asked:
        """A question of the split."""
        while not self.belongs(question := self.level.ask(rng), split):
            pass
        return question

    def example(self, split: Split, index: int) -> Example:
        """Draw a question and show it."""
        rng = self.rng(split, index)
        return self.show(self.draw(split, rng), split, rng)

    def answer(self, split: Split, index: int) -> str:
        """The answer, which is drawn before anything is shown."""
        return self.draw(split, self.rng(split, index)).answer

    def answer_score(self, answer: str, right: str) -> float:
        """1 for the right answer."""
        return exact_match(answer, right)

    @cached_property
    def spec(self) -> ActionSpec:
        """Room for any answer, however few are trained on."""
        return self.spec_for(self.level.answers)


def pick(rng: np.random.Generator, options: tuple[str, ...], count: int) -> list[str]:
    """Different options in random order."""
    return [options[i] for i in rng.permutation(len(options))[:count].tolist()]


def draw_one(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """One option at random."""
    return options[int(rng.integers(len(options)))]


def spaced(text: object) -> str:
    """Characters as words: "42" -> "4 2", so that each is one piece."""
    return " ".join(str(text))
