"""What every task keeps to, as checks that raise `TaskError`, for tests and for authors of tasks."""

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np

from space.errors import TaskError
from space.records import Split, SuiteRecord
from space.words import counted
from trainers.tasks.answers import AnswerTask
from trainers.tasks.base import Session, Task
from trainers.tasks.control import Box, Choices
from trainers.tasks.policies import ExpertPolicy
from trainers.tasks.registry import blamed, load_task
from trainers.tasks.retrieval import RetrievalPolicy
from trainers.tasks.sessions import BaseTask, SessionTask
from trainers.tokens.sequence import MAX_LOCAL, Chunk
from trainers.tokens.vocabulary import Vocabulary

SPLITS: tuple[Split, ...] = get_args(Split)
EPISODES = 8
CHECKED_EPISODES = 200  # expert episodes that commands make for a check
SHUFFLED = 32  # episodes
SHUFFLED_ANSWER, SHUFFLED_CONTROL = 0.1, 0.5  # of the expert
EXPERT_SECONDS = 5.0  # for one action
MOST_STEPS = 10_000


def check_by_name(name: str, suite: SuiteRecord, train_episodes: int | None = None) -> None:
    """Run every check on a task, in whatever process this is.

    Args:
        name: as study files call it.
        suite: sequence settings.
        train_episodes: how many expert episodes are made for it; the task's own number when None.

    Raises:
        TaskError: the task breaks a rule, or its code raises an error.
        NotFoundError: there is no such task.
        MachineError: it cannot be imported here.
    """
    with blamed(name):
        check_task(
            lambda: load_task(name, suite, train_episodes=train_episodes), Vocabulary.of(suite), suite.context
        )


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
            check_actions(task)
            check_shuffled(task)
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
        _rule(bool(chunk.starts.any()), task, "a window may begin somewhere in an episode")
        _rule(bool(chunk.scored.any()), task, "an episode has scored tokens")
        for encoder, placeholder in chunk.placeholders.items():
            count, stated = len(chunk.patches[encoder]), int((tokens == placeholder).sum())
            _rule(count == stated, task, f"each patch has its placeholder, got {count} and {stated}")
        for encoder in vocabulary.encoders:
            known = encoder in chunk.placeholders or not (tokens == vocabulary.placeholder(encoder)).any()
            _rule(known, task, f"a placeholder of '{encoder}' has its patch")
        boundaries = np.flatnonzero(chunk.starts)
        longest = boundaries[0] + np.diff(np.append(boundaries, len(chunk))).max()
        _rule(longest <= context, task, f"instruction and timestep fit into {context} tokens, got {longest}")


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
            asked = time.monotonic()
            action = session.expert()
            taken = time.monotonic() - asked
            _rule(
                taken < EXPERT_SECONDS, task, f"an expert acts within {EXPERT_SECONDS:g} s, got {taken:.1f} s"
            )
            for ids in (action, session.random(rng)):
                _check_legal(task, session, ids)
            over = session.act(action)
            steps += 1
        _rule(over, task, f"an episode ends within {MOST_STEPS} timesteps")
        _rule(session.value == together[index], task, "an episode does not depend on those beside it")


def check_actions(task: SessionTask) -> None:
    """Actions come back from their tokens: choices as they were, floats within half a bin.

    Raises:
        TaskError: one of them does not.
    """
    session = task.session("train", 0)
    actions = getattr(session, "actions", None)
    if isinstance(actions, Choices):
        for choice in range(actions.number):
            _rule(
                actions.decode(actions.encode(choice)) == choice, task, "a choice comes back from its token"
            )
    elif isinstance(actions, Box):
        half = 1 / task.vocabulary.bins + 1e-9
        for place in np.linspace(-1, 1, 10 * task.vocabulary.bins):
            asked = actions.scale.expand(np.full(actions.size, place))
            error = np.abs(actions.scale.squash(actions.decode(actions.encode(asked))) - place).max()
            _rule(error <= half, task, f"a float comes back from its token within half a bin, got {error:g}")


def check_shuffled(task: SessionTask) -> None:
    """Who sees shuffled observations fails: nothing beside the right observation says the answer.

    The policy does what the expert did after the observation that it is shown. What a blind habit can do, it
    may do: a task of answers leaves it at the floor, a task of control below half of the expert.

    Raises:
        TaskError: it does not fail.
    """
    blind = RetrievalPolicy(task.episodes(), task.vocabulary, np.random.default_rng(0))
    expert = task.score(task.expert_policy()[1], "select", SHUFFLED)
    seen = task.score(blind, "select", SHUFFLED)
    floors = [task.score(policy, "select", SHUFFLED) for policy in task.floor_policies().values()]
    floor = max(floors, key=np.mean)
    gain = expert.mean() - floor.mean()
    noise = float(np.hypot(seen.std(), floor.std()) / SHUFFLED**0.5)
    share = SHUFFLED_ANSWER if isinstance(task, AnswerTask) else SHUFFLED_CONTROL
    fraction = (seen.mean() - floor.mean()) / gain
    _rule(
        seen.mean() - floor.mean() <= share * gain + 3 * noise,
        task,
        f"who sees shuffled observations stays below {share:g} of the expert, got {fraction:.2f}",
    )


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


def _demonstrate(task: Task) -> Sequence[Chunk]:
    """A few demonstrations, made anew where the task can be asked to."""
    if not isinstance(task, BaseTask):
        return task.episodes()[:EPISODES]
    task.train_episodes = min(EPISODES, task.train_episodes)
    return task.demonstrations()


def _check_legal(task: Task, session: Session, ids: np.ndarray) -> None:
    spec = session.spec
    whole = len(ids) == spec.length or (spec.stop is not None and 0 < len(ids) < spec.length)
    _rule(whole, task, f"an action has {counted(spec.length, 'token')}, got {len(ids)}")
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
