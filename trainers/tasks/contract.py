"""What every task keeps to, as checks that raise `TaskError`, for tests and for authors of tasks."""

import contextlib
import io
from collections.abc import Callable
from typing import get_args

import numpy as np

from space.catalog import Split
from space.errors import TaskError
from trainers.tasks.base import Session, Task
from trainers.tasks.policies import ExpertPolicy
from trainers.tasks.sessions import SessionTask
from trainers.tokens.sequence import MAX_LOCAL, Chunk
from trainers.tokens.vocabulary import Vocabulary

SPLITS: tuple[Split, ...] = get_args(Split)
EPISODES = 8
MOST_STEPS = 10_000


def check_task(make: Callable[[], Task], vocabulary: Vocabulary, context: int) -> None:
    """Run every check on a task.

    Args:
        make: opens the task, anew each time.
        vocabulary: its suite's.
        context: its suite's.

    Raises:
        TaskError: the task breaks a rule.
    """
    loud = io.StringIO()
    with contextlib.redirect_stdout(loud), contextlib.redirect_stderr(loud):
        task = make()
        check_chunks(task, vocabulary, context)
        check_deterministic(make)
        if isinstance(task, SessionTask):
            check_sessions(task, context)
            check_disjoint(task)
    _rule(not loud.getvalue(), task, f"a task prints nothing, got {loud.getvalue()[:80]!r}")


def check_chunks(task: Task, vocabulary: Vocabulary, context: int) -> None:
    """Training episodes are well formed, have something to learn in them, and fit where they must.

    Raises:
        TaskError: one of them does not.
    """
    episodes = task.episodes()
    _rule(len(episodes) > 0, task, "a task has training episodes")
    for chunk in episodes:
        tokens = chunk.tokens
        _rule(tokens.min() >= 0 and tokens.max() < vocabulary.size, task, "ids lie in the vocabulary")
        _rule(chunk.local.min() >= 0 and chunk.local.max() < MAX_LOCAL, task, "local positions are in range")
        _rule(bool(chunk.starts[0]), task, "a window may begin where an episode begins")
        _rule(bool(chunk.scored.any()), task, "an episode has scored tokens")
        for encoder, placeholder in chunk.placeholders.items():
            count, stated = len(chunk.patches[encoder]), int((tokens == placeholder).sum())
            _rule(count == stated, task, f"each patch has its placeholder, got {count} and {stated}")
        for encoder in vocabulary.encoders:
            known = encoder in chunk.placeholders or not (tokens == vocabulary.placeholder(encoder)).any()
            _rule(known, task, f"a placeholder of '{encoder}' has its patch")
        gaps = np.diff(np.append(np.flatnonzero(chunk.starts), len(chunk)))
        _rule(gaps.max() <= context, task, f"a timestep fits into {context} tokens, got {gaps.max()}")


def check_deterministic(make: Callable[[], Task]) -> None:
    """The expert's demonstrations and scores are the same each time.

    Raises:
        TaskError: they are not.
    """
    first, second = make(), make()
    same = all(_same(a, b) for a, b in zip(_demonstrate(first), _demonstrate(second), strict=True))
    _rule(same, first, "a task's demonstrations are the same each time")
    experts = [task.expert_policy()[1] for task in (first, second)]
    for split in SPLITS:
        once = first.score(experts[0], split, EPISODES)
        again = second.score(experts[1], split, EPISODES)
        fewer = second.score(experts[1], split, EPISODES // 2)
        _rule(np.array_equal(once, again), first, f"the {split} episodes are the same each time")
        _rule(np.array_equal(once[: len(fewer)], fewer), first, f"fewer {split} episodes are the first ones")
        _rule(bool(np.isfinite(once).all()), first, f"values are finite, got {once}")


def check_sessions(task: SessionTask, context: int) -> None:
    """Sessions are independent of each other, and expert and random actions are legal.

    Raises:
        TaskError: they are not.
    """
    together = task.score(ExpertPolicy(), "select", EPISODES)
    rng = np.random.default_rng(0)
    for index in range(EPISODES):
        session = task.session("select", index)
        steps, over = 0, False
        while not over and steps < MOST_STEPS:
            seen = session.observe()
            _rule(not seen.scored.any(), task, "nothing that is observed is scored")
            _rule(len(seen) + session.spec.length <= context, task, f"a timestep fits into {context} tokens")
            _rule(len(session.action_local()) == session.spec.length, task, "each action token has a place")
            action = session.expert()
            for ids in (action, session.random(rng)):
                _check_legal(task, session, ids)
            over = session.act(action)
            steps += 1
        _rule(over, task, f"an episode ends within {MOST_STEPS} timesteps")
        _rule(session.value == together[index], task, "an episode does not depend on those beside it")


def check_disjoint(task: SessionTask, count: int = 40) -> None:
    """No split begins an episode as another does.

    Raises:
        TaskError: two splits share a beginning.
    """
    seen: dict[bytes, Split] = {}
    for split in SPLITS:
        for index in range(count):
            beginning = task.identity(split, index)
            other = seen.setdefault(beginning, split)
            _rule(other == split, task, f"splits are disjoint, {other} and {split} share an episode")


def check_reference(task: Task, split: Split, count: int) -> None:
    """The expert clears the better floor by two standard errors.

    Raises:
        TaskError: it does not.
    """
    sign = -1 if task.lower_is_better else 1
    expert = sign * task.score(task.expert_policy()[1], split, count)
    for name, policy in task.floor_policies().items():
        floor = sign * task.score(policy, split, count)
        noise = float(np.hypot(expert.std(), floor.std()) / count**0.5)
        clear = expert.mean() - floor.mean() > 2 * noise
        _rule(clear, task, f"the expert clears '{name}', got {expert.mean():g} and {floor.mean():g}")


def _demonstrate(task: Task) -> list[Chunk]:
    """A few demonstrations, made anew where the task can be asked to."""
    make = getattr(task, "demonstrations", task.episodes)
    return make()[:EPISODES]


def _check_legal(task: Task, session: Session, ids: np.ndarray) -> None:
    spec = session.spec
    whole = len(ids) == spec.length or (spec.stop is not None and 0 < len(ids) < spec.length)
    _rule(whole, task, f"an action has {spec.length} tokens, got {len(ids)}")
    for position, token in enumerate(ids):
        low, high = spec.range_at(position)
        _rule(
            low <= token < high, task, f"token {position} of an action lies in [{low}, {high}), got {token}"
        )


def _same(a: Chunk, b: Chunk) -> bool:
    fields = all(
        np.array_equal(getattr(a, f), getattr(b, f)) for f in ("tokens", "local", "scored", "starts")
    )
    return fields and all(np.array_equal(a.patches[name], b.patches[name]) for name in a.patches)


def _rule(kept: bool, task: Task, rule: str) -> None:
    if not kept:
        raise TaskError(f"task '{task.name}': {rule}")
