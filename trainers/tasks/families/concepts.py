"""The ten digits as one concept across senses: written, dialled, and as a word.

What is asked depends on the digits alone, so an expert is one rule on top of recognition: a support vector
machine reads the scans, Goertzel's algorithm hears the keys.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from space.records import Sense, Split, SuiteRecord
from trainers.tasks.answers import Example
from trainers.tasks.families import images
from trainers.tasks.families.sounds import tasks as sounds
from trainers.tasks.parts.questions import YES_NO, Question, QuestionKind, QuestionTask, spaced
from trainers.tokens.audio import audio_patches, log_mel
from trainers.tokens.image import image_patches
from trainers.tokens.text import Tokenizer

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ORDINALS = ("first", "second", "third")
SENSES = ("heard", "seen")
SAME = "same"
LARGEST_SUM = spaced(18)

Digits = tuple[int, ...]


@dataclass(frozen=True)
class DigitQuestion(Question):
    """A question on digits that are seen and heard.

    Attributes:
        heard: digits that are dialled.
        seen: digits that are written.
        rule: digits as they are heard and as they are seen -> the answer.
    """

    heard: Digits
    seen: Digits
    rule: Callable[[Digits, Digits], str]


class DigitTask(QuestionTask[DigitQuestion]):
    """Questions on scans of the split and on newly dialled keys; training scans are varied."""

    family = "concepts"
    packages = ("numpy", "scikit-learn", "scipy")
    modality: Sense

    def __init__(
        self,
        modality: Sense,
        level: QuestionKind[DigitQuestion],
        suite: SuiteRecord,
        tokenizer: Tokenizer,
        train_episodes: int | None = None,
    ) -> None:
        super().__init__(level, suite, tokenizer, train_episodes)
        self.domain = self.modality = modality

    def show(self, question: DigitQuestion, split: Split, rng: np.random.Generator) -> Example:
        """Choose a scan of each digit that is seen, and dial those that are heard."""
        scans = images.load_scans(split)
        rows = [int(rng.choice(scans_of(split, digit))) for digit in question.seen]
        patches = {}
        if rows:
            patches["image"] = np.concatenate([_patch(scans.images[row], split, rng) for row in rows])
        keys = [sounds.dial(digit, rng) for digit in question.heard]
        if keys:
            patches["audio"] = np.concatenate([_sound_patches(key) for key in keys])

        def expert() -> str:
            if split == "train":
                return question.answer
            labels = images.expert_labels(split)
            return question.rule(
                tuple(sounds.hear(key) for key in keys), tuple(int(labels[row]) for row in rows)
            )

        return Example(question.answer, expert, prompt=question.prompt, patches=patches)


def ask_same(rng: np.random.Generator) -> DigitQuestion:
    """Whether the digit that is heard is the one that is seen; half of them are."""
    heard = int(rng.integers(10))
    seen = heard if rng.random() < 0.5 else _other(rng, heard)
    return _question("same digit", (heard,), (seen,), lambda heard, seen: YES_NO[heard != seen])


def ask_sum(rng: np.random.Generator) -> DigitQuestion:
    """The sum of two digits that are seen."""
    return _question("sum", (), _pair(rng), lambda heard, seen: spaced(sum(seen)))


def ask_sum_heard(rng: np.random.Generator) -> DigitQuestion:
    """The sum of a digit that is heard and of one that is seen."""
    heard, seen = _pair(rng)
    return _question("sum", (heard,), (seen,), lambda heard, seen: spaced(heard[0] + seen[0]))


def ask_word(rng: np.random.Generator) -> DigitQuestion:
    """Whether the digit that is seen is the one that is named; half of them are."""
    named = int(rng.integers(10))
    seen = named if rng.random() < 0.5 else _other(rng, named)
    return _question(NAMES[named], (), (seen,), lambda heard, seen: YES_NO[seen != (named,)])


def ask_larger(rng: np.random.Generator) -> DigitQuestion:
    """Which of two digits that are seen is larger, if any."""
    return _question("larger", (), _compared(rng), lambda heard, seen: _larger(seen, ORDINALS))


def ask_larger_heard(rng: np.random.Generator) -> DigitQuestion:
    """Which digit is larger, the one that is heard or the one that is seen, if any."""
    heard, seen = _compared(rng)
    return _question("larger", (heard,), (seen,), lambda heard, seen: _larger(heard + seen, SENSES))


def ask_pick(rng: np.random.Generator) -> DigitQuestion:
    """Which of three digits that are seen is the one that is named."""
    seen = tuple(rng.permutation(10)[: len(ORDINALS)].tolist())
    named = seen[int(rng.integers(len(seen)))]

    def rule(heard: Digits, seen: Digits) -> str:
        return ORDINALS[seen.index(named) if named in seen else 0]

    return _question(f"which is {NAMES[named]}", (), seen, rule)


def ask_next(rng: np.random.Generator) -> DigitQuestion:
    """The number after the digit that is heard."""
    return _question("next", (int(rng.integers(10)),), (), lambda heard, seen: spaced(heard[0] + 1))


@cache
def scans_of(split: Split, digit: int) -> np.ndarray:
    """Rows of the split's scans of a digit, (count,)."""
    return np.flatnonzero(images.load_scans(split).labels == digit)


def _question(
    prompt: str, heard: Digits, seen: Digits, rule: Callable[[Digits, Digits], str]
) -> DigitQuestion:
    return DigitQuestion(prompt, rule(heard, seen), heard, seen, rule)


def _pair(rng: np.random.Generator) -> Digits:
    return tuple(rng.integers(10, size=2).tolist())


def _other(rng: np.random.Generator, digit: int) -> int:
    """A different digit."""
    return (digit + int(rng.integers(1, 10))) % 10


def _compared(rng: np.random.Generator) -> Digits:
    """Two digits, the same ones in a third of the cases."""
    digit = int(rng.integers(10))
    return digit, digit if rng.random() < 1 / 3 else _other(rng, digit)


def _larger(digits: Digits, names: tuple[str, ...]) -> str:
    """The name of the larger one of two digits."""
    first, second = digits
    return SAME if first == second else names[first < second]


def _patch(image: np.ndarray, split: Split, rng: np.random.Generator) -> np.ndarray:
    """A scan as one patch, (1, size); in training it is turned, stretched and shifted a little."""
    varied = images.vary(image, rng) if split == "train" else image
    return image_patches(np.repeat(varied[:, :, None], 3, axis=2), images.SIDE)


def _sound_patches(sound: np.ndarray) -> np.ndarray:
    """A key's sound as patches, (count, size)."""
    mel = log_mel(sound, sounds.RATE, sounds.BANDS, sounds.FRAME, sounds.HOP, sounds.LIMITS)
    return audio_patches(mel, sounds.PATCH_FRAMES)


READ, HEARD = "SVC", "Goertzel's algorithm"
BOTH = f"{READ} and {HEARD}"
LEVELS: tuple[tuple[Sense, QuestionKind[DigitQuestion]], ...] = (
    ("audio", QuestionKind("digit-same", ask_same, YES_NO, expert=BOTH)),
    ("image", QuestionKind("digit-sum", ask_sum, (LARGEST_SUM,), expert=READ)),
    ("audio", QuestionKind("digit-sum-heard", ask_sum_heard, (LARGEST_SUM,), expert=BOTH)),
    ("image", QuestionKind("digit-word-match", ask_word, YES_NO, expert=READ)),
    ("image", QuestionKind("digit-larger", ask_larger, (*ORDINALS[:2], SAME), expert=READ)),
    ("audio", QuestionKind("digit-heard-larger", ask_larger_heard, (*SENSES, SAME), expert=BOTH)),
    ("image", QuestionKind("digit-pick", ask_pick, ORDINALS, expert=READ)),
    ("audio", QuestionKind("digit-successor", ask_next, (spaced(10),), expert=HEARD)),
)
TASKS = {level.name: partial(DigitTask, modality, level) for modality, level in LEVELS}
