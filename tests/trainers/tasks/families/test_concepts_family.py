"""The digits across senses: answers follow from the digits, and experts from what they perceive."""

from collections import Counter

import numpy as np
import pytest

from trainers.tasks.families import concepts, images
from trainers.tasks.registry import load_task

MANY = 300
LEVELS = {level.name: level for _, level in concepts.LEVELS}


def _questions(name):
    rng = np.random.default_rng(0)
    return [LEVELS[name].ask(rng) for _ in range(MANY)]


def test_answers_follow_from_the_digits():
    for question in _questions("digit-sum"):
        assert question.answer == " ".join(str(sum(question.seen)))
    for question in _questions("digit-sum-heard"):
        assert question.answer == " ".join(str(question.heard[0] + question.seen[0]))
    for question in _questions("digit-successor"):
        assert question.answer == " ".join(str(question.heard[0] + 1))
    for question in _questions("digit-pick"):
        place = ("first", "second", "third").index(question.answer)
        assert concepts.NAMES[question.seen[place]] == question.prompt.split()[-1]
    for question in _questions("digit-larger"):
        first, second = question.seen
        assert question.answer == ("same" if first == second else "first" if first > second else "second")
    for question in _questions("digit-heard-larger"):
        heard, seen = question.heard[0], question.seen[0]
        assert question.answer == ("same" if heard == seen else "heard" if heard > seen else "seen")


@pytest.mark.parametrize("name", ["digit-same", "digit-word-match", "digit-larger", "digit-heard-larger"])
def test_answers_are_balanced(name):
    counts = Counter(question.answer for question in _questions(name))
    assert min(counts.values()) > 0.7 * MANY / len(counts)


def test_yes_means_the_same_digit():
    for question in _questions("digit-same"):
        assert (question.answer == "yes") == (question.heard == question.seen)
    for question in _questions("digit-word-match"):
        assert (question.answer == "yes") == (question.prompt == concepts.NAMES[question.seen[0]])


def test_an_expert_says_what_follows_from_what_it_perceives(quick, tokenizer, monkeypatch):
    task = load_task("digit-sum", quick, tokenizer, 10)
    monkeypatch.setattr(images, "expert_labels", lambda split: np.full(300, 4))
    assert task.example("select", 0).expert() == "8"
    example = task.example("train", 0)
    assert example.expert() == example.answer


def test_scans_are_of_the_digits_that_are_asked(quick, tokenizer):
    for split in ("train", "select"):
        labels = images.load_scans(split).labels
        for digit in range(10):
            assert set(labels[concepts.scans_of(split, digit)]) == {digit}


@pytest.mark.parametrize("name", concepts.TASKS)
def test_experts_see_and_hear_nearly_everything(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer, 10)
    assert task.score(task.expert_policy()[1], "report", 30).mean() > 0.85
