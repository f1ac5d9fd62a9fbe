"""Questions in text are answered as Python itself would, and no split asks what another does."""

import numpy as np
import pytest

from trainers.tasks.families import symbols
from trainers.tasks.registry import load_task

MANY = 200


def _questions(ask):
    rng = np.random.default_rng(0)
    return [ask(rng) for _ in range(MANY)]


def _joined(text):
    return text.replace(" ", "")


def test_sums_and_calls_have_the_value_that_python_gives():
    for question in _questions(symbols.ask_addition):
        first, second = _joined(question.prompt).split("+")
        assert int(first) + int(second) == int(_joined(question.answer))
    for question in _questions(symbols.ask_call):
        assert eval(question.prompt) == int(_joined(question.answer))


def test_numbers_are_read_and_followed():
    for question in _questions(symbols.ask_binary):
        assert int(_joined(question.prompt.removeprefix("binary")), 2) == int(_joined(question.answer))
    for question in _questions(symbols.ask_successor):
        assert int(_joined(question.prompt.removeprefix("next"))) + 1 == int(_joined(question.answer))
    for question in _questions(symbols.ask_maximum):
        numbers = _joined(question.prompt.removeprefix("max")).split(",")
        assert max(map(int, numbers)) == int(_joined(question.answer))


@pytest.mark.parametrize(
    ("number", "numeral"), [(4, "iv"), (9, "ix"), (14, "xiv"), (1994, "mcmxciv"), (3888, "mmmdccclxxxviii")]
)
def test_numerals_are_those_of_rome(number, numeral):
    assert symbols.roman(number) == numeral


def test_a_week_has_seven_days():
    answers = {question.prompt: question.answer for question in _questions(symbols.ask_weekday)}
    for prompt, answer in answers.items():
        day, sign, days = prompt.split(" ", 2)
        later = symbols.DAYS.index(day) + int(sign + _joined(days))
        assert symbols.DAYS[later % 7] == answer


def test_letters_are_counted_reversed_and_sorted():
    for question in _questions(symbols.ask_counting):
        _, counted, _, letters = question.prompt.split(" ", 3)
        assert letters.split().count(counted) == int(question.answer)
    for question in _questions(symbols.ask_reversal):
        assert question.prompt.removeprefix("reverse ")[::-1] == question.answer
    for question in _questions(symbols.ask_sorting):
        assert sorted(question.prompt.split()[1:]) == question.answer.split()
    for question in _questions(symbols.ask_parity):
        assert symbols.PARITIES[question.prompt.count("1") % 2] == question.answer


def test_half_of_the_brackets_are_balanced():
    questions = _questions(symbols.ask_brackets)
    for question in questions:
        word = _joined(question.prompt.removeprefix("balanced"))
        while "()" in word or "[]" in word:
            word = word.replace("()", "").replace("[]", "")
        assert (not word) == (question.answer == "yes")
    assert 0.4 < np.mean([question.answer == "yes" for question in questions]) < 0.6


@pytest.mark.parametrize("name", symbols.TASKS)
def test_each_split_asks_what_no_other_does(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer, 10)
    asked = {
        split: {task.example(split, i).prompt for i in range(MANY)} for split in ("train", "select", "report")
    }
    assert not asked["train"] & asked["select"]
    assert not asked["train"] & asked["report"]
    assert not asked["select"] & asked["report"]
    assert len(asked["select"]) > MANY / 5
