"""Text in, text out, with exact answers: sums, orders, counts, dates, brackets and calls of functions.

Numbers and words are spelt with spaces, so that each character is one piece of text. A hash of the question
says which split asks it.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256

import numpy as np

from space.records import Sense, Split
from trainers.tasks.answers import Example
from trainers.tasks.parts.questions import (
    YES_NO,
    Question,
    QuestionKind,
    QuestionTask,
    draw_one,
    pick,
    spaced,
)

LETTERS = tuple("abcdefghij")
DIGITS = tuple("0123456789")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PARITIES = ("even", "odd")
NUMERALS = (
    (1000, "m"),
    (900, "cm"),
    (500, "d"),
    (400, "cd"),
    (100, "c"),
    (90, "xc"),
    (50, "l"),
    (40, "xl"),
    (10, "x"),
    (9, "ix"),
    (5, "v"),
    (4, "iv"),
    (1, "i"),
)
BRACKETS = {"(": ")", "[": "]"}

ORDERED = (4, 6)  # digits to sort
REVERSED = (3, 6)  # letters to reverse
COUNTED = (6, 10)  # letters to count among
MOST = 6  # of the letter that is counted
BITS = (4, 10)  # of a word whose parity is asked
RIVALS = (3, 4)  # numbers of which the largest is asked
LARGEST_ROMAN, LARGEST_BINARY, LARGEST_SUCCESSOR = 3999, 2047, 9998
CARRY_SHARE = 0.3  # of successors that end in nines
PAIRS = (2, 5)  # of brackets


class SymbolTask(QuestionTask[Question]):
    """Questions in text alone; splits share no question."""

    family = "symbols"
    domain = "text"
    modality: Sense = "text"

    def belongs(self, question: Question, split: Split) -> bool:
        """60% of all questions are for training, 20% for each of the other splits."""
        share = sha256(question.prompt.encode()).digest()[0] / 256
        return split == ("train" if share < 0.6 else "select" if share < 0.8 else "report")

    def show(self, question: Question, split: Split, rng: np.random.Generator) -> Example:
        """The prompt alone."""
        return Example(question.answer, lambda: question.answer, prompt=question.prompt)


def ask_addition(rng: np.random.Generator) -> Question:
    """Two numbers, "4 7 + 2 6" -> "7 3"."""
    first, second = rng.integers(10, 100, 2).tolist()
    return Question(f"{spaced(first)} + {spaced(second)}", spaced(first + second))


def ask_sorting(rng: np.random.Generator) -> Question:
    """Digits in order, "sort 4 1 7 1" -> "1 1 4 7"."""
    digits = rng.integers(0, 10, _between(rng, ORDERED)).tolist()
    return Question(f"sort {_joined(digits)}", _joined(sorted(digits)))


def ask_reversal(rng: np.random.Generator) -> Question:
    """Letters backwards, "reverse a c b" -> "b c a"."""
    letters = [draw_one(rng, LETTERS) for _ in range(_between(rng, REVERSED))]
    return Question(f"reverse {_joined(letters)}", _joined(letters[::-1]))


def ask_counting(rng: np.random.Generator) -> Question:
    """How often a letter occurs, "count b : a b d b" -> "2"."""
    length = _between(rng, COUNTED)
    number = int(rng.integers(MOST + 1))
    counted, *others = pick(rng, LETTERS, len(LETTERS))
    letters = [counted] * number + [draw_one(rng, tuple(others)) for _ in range(length - number)]
    shuffled = [letters[i] for i in rng.permutation(length).tolist()]
    return Question(f"count {counted} : {_joined(shuffled)}", str(number))


def ask_parity(rng: np.random.Generator) -> Question:
    """Whether the number of ones is even, "parity 1 0 1 1" -> "odd"."""
    bits = rng.integers(0, 2, _between(rng, BITS)).tolist()
    return Question(f"parity {_joined(bits)}", PARITIES[sum(bits) % 2])


def ask_maximum(rng: np.random.Generator) -> Question:
    """The largest number, "max 4 7 , 2 6 , 9 0" -> "9 0"."""
    numbers = rng.integers(10, 100, _between(rng, RIVALS)).tolist()
    return Question(f"max {' , '.join(map(spaced, numbers))}", spaced(max(numbers)))


def ask_roman(rng: np.random.Generator) -> Question:
    """A Roman numeral, "roman c x i v" -> "1 1 4"; short numbers are as frequent as long ones."""
    number = int(np.exp(rng.uniform(0, np.log(LARGEST_ROMAN + 1))))
    return Question(f"roman {spaced(roman(number))}", spaced(number))


def ask_weekday(rng: np.random.Generator) -> Question:
    """A day of the week, "monday + 1 7" -> "thursday", and backwards in time."""
    day, days, sign = int(rng.integers(7)), int(rng.integers(100)), int(rng.choice((1, -1)))
    return Question(f"{DAYS[day]} {'+' if sign > 0 else '-'} {spaced(days)}", DAYS[(day + sign * days) % 7])


def ask_brackets(rng: np.random.Generator) -> Question:
    """Whether brackets match, "balanced ( [ ] )" -> "yes"; half of them have brackets exchanged."""
    word = _balanced(rng, _between(rng, PAIRS))
    answer = draw_one(rng, YES_NO)
    while answer == "no" and is_balanced(word):
        first, second = rng.choice(len(word), 2, replace=False).tolist()
        if rng.random() < 0.5:
            word[first], word[second] = word[second], word[first]
        else:
            word[first] = draw_one(rng, (*BRACKETS, *BRACKETS.values()))
    return Question(f"balanced {_joined(word)}", answer)


def ask_successor(rng: np.random.Generator) -> Question:
    """The next number, "next 3 9 9" -> "4 0 0"."""
    number = int(rng.integers(LARGEST_SUCCESSOR + 1))
    if rng.random() < CARRY_SHARE:
        tail = 10 ** int(rng.integers(1, 4))
        number = min(number // tail * tail + tail - 1, LARGEST_SUCCESSOR)
    return Question(f"next {spaced(number)}", spaced(number + 1))


def ask_binary(rng: np.random.Generator) -> Question:
    """A binary number, "binary 1 0 1 1" -> "1 1"."""
    number = int(rng.integers(LARGEST_BINARY + 1))
    return Question(f"binary {spaced(format(number, 'b'))}", spaced(number))


def ask_call(rng: np.random.Generator) -> Question:
    """The value of an expression in Python, "max ( 3 , 9 ) - 4" -> "5"."""
    a, b, c = rng.integers(0, 10, 3).tolist()
    calls: tuple[tuple[str, int], ...] = (
        (f"max ( {a} , {b} )", max(a, b)),
        (f"min ( {a} , {b} )", min(a, b)),
        (f"abs ( {a} - {b} )", abs(a - b)),
        (f"sum ( [ {a} , {b} ] )", a + b),
    )
    call, value = calls[int(rng.integers(len(calls)))]
    ends: tuple[tuple[str, int], ...] = (
        (f"{call} + {c}", value + c),
        (f"{call} - {c}", value - c),
        (f"max ( {c} , {call} )", max(c, value)),
        (f"min ( {c} , {call} )", min(c, value)),
    )
    expression, whole = ends[int(rng.integers(len(ends)))]
    return Question(expression, spaced(whole))


def roman(number: int) -> str:
    """A number below 4000 as a numeral, in lower case."""
    numeral = ""
    for value, letters in NUMERALS:
        numeral += letters * (number // value)
        number %= value
    return numeral


def is_balanced(word: list[str]) -> bool:
    """Whether each bracket is closed by one of its kind, the last one opened first."""
    awaited: list[str] = []
    for bracket in word:
        if bracket in BRACKETS:
            awaited.append(BRACKETS[bracket])
        elif not awaited or awaited.pop() != bracket:
            return False
    return not awaited


def _balanced(rng: np.random.Generator, pairs: int) -> list[str]:
    """A random balanced word: each bracket opens or closes at random where both are possible."""
    word: list[str] = []
    awaited: list[str] = []
    while len(word) < 2 * pairs:
        opened = (len(word) + len(awaited)) // 2
        if not awaited or (opened < pairs and rng.random() < 0.5):
            opening = draw_one(rng, tuple(BRACKETS))
            awaited.append(BRACKETS[opening])
            word.append(opening)
        else:
            word.append(awaited.pop())
    return word


def _between(rng: np.random.Generator, limits: tuple[int, int]) -> int:
    return int(rng.integers(limits[0], limits[1] + 1))


def _joined(parts: list) -> str:
    return " ".join(map(str, parts))


def _level(
    name: str, ask: Callable[[np.random.Generator], Question], answers: tuple[str, ...]
) -> QuestionKind[Question]:
    return QuestionKind(f"symbols-{name}", ask, answers, num_train_episodes=24_000)


LEVELS = (
    _level("addition", ask_addition, ("1 9 8",)),
    _level("sorting", ask_sorting, tuple(_joined([digit] * ORDERED[1]) for digit in DIGITS)),
    _level("reversal", ask_reversal, tuple(_joined([letter] * REVERSED[1]) for letter in LETTERS)),
    _level("counting", ask_counting, DIGITS[: MOST + 1]),
    _level("parity", ask_parity, PARITIES),
    _level("maximum", ask_maximum, ("9 9",)),
    _level("roman", ask_roman, (spaced(LARGEST_ROMAN),)),
    _level("weekday", ask_weekday, DAYS),
    _level("brackets", ask_brackets, YES_NO),
    _level("successor", ask_successor, (spaced(LARGEST_SUCCESSOR + 1),)),
    _level("binary", ask_binary, (spaced(LARGEST_BINARY),)),
    _level("calls", ask_call, ("- 9", "2 7")),
)
TASKS = {level.name: partial(SymbolTask, level) for level in LEVELS}
