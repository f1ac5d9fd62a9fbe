"""The nearest expert example: finds itself, and is lost when it is shown another episode's view."""

import numpy as np
import pytest

from trainers.tasks.registry import load_task
from trainers.tasks.retrieval import RetrievalPolicy


@pytest.mark.parametrize("name", ["digits", "dialled-digits", "taxi", "babyai-goto-redball-grey"])
def test_it_answers_seen_examples_as_the_expert_did_and_no_others(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer, 60)
    expert = RetrievalPolicy(task.episodes(), task.vocabulary)
    other = RetrievalPolicy(task.episodes(), task.vocabulary, np.random.default_rng(0))
    sessions = [task.training_session(index) for index in range(12)]
    seen = [session.observe() for session in sessions]
    right = [session.expert().tolist() for session in sessions]
    numbers = list(range(12))
    expert.begin(12)
    found = [answer.tolist() for answer in expert.act(numbers, seen, sessions)]
    assert np.mean([a == b for a, b in zip(found, right, strict=True)]) > 0.8
    other.begin(12)
    moved = [answer.tolist() for answer in other.act(numbers, seen, sessions)]
    assert np.mean([a == b for a, b in zip(moved, right, strict=True)]) < 0.7


def test_text_has_no_examples_of_actions(quick, tokenizer):
    task = load_task("taxi", quick, tokenizer, 10)
    with pytest.raises(TypeError, match="gives tokens no likelihood"):
        RetrievalPolicy(task.episodes(), task.vocabulary).nats([])
