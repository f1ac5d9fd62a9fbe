"""The rules of the contract of tasks, as functions.

Each takes a `Checked` task. It returns None where the rule holds, returns the reason in words where the rule
cannot apply to the task, and raises `TaskError` where the task breaks it.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

import numpy as np

from space.cost import LOCAL_POSITIONS
from space.errors import TaskError
from space.records import HELD_OUT, SPLITS, Split
from space.words import counted
from trainers.tasks.answers import AnswerTask
from trainers.tasks.base import Session, Task
from trainers.tasks.control import Box, Choices, Several
from trainers.tasks.families.text import REPEATABLE, TextTask, paragraphs
from trainers.tasks.held_out import WINDOW, HeldOutScores, Passages, Recorder, begins_with, record
from trainers.tasks.retrieval import RetrievalPolicy
from trainers.tasks.sessions import BaseTask, SessionTask
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import well_formed
from trainers.tokens.vocabulary import Vocabulary

EPISODES = 8
SHUFFLED = 32  # episodes
SHUFFLED_ANSWER, SHUFFLED_CONTROL = 0.1, 0.5  # of the expert
REPEATED = 0.05  # of the passages of held-out text
WHOLE = 0.98  # of the passages of one text
EXPERT_SECONDS = 5.0  # for one action
MOST_STEPS = 10_000
BEGINNINGS = 40  # episodes of a split that are compared
NO_SESSIONS = "it is scored by the likelihood of its text, so it has no sessions and no actions"


@dataclass(frozen=True)
class Checked:
    """A task under check.

    Attributes:
        make: opens the task, once per call.
        vocabulary: of its suite.
        context: tokens that a window holds.
    """

    make: Callable[[], Task]
    vocabulary: Vocabulary
    context: int
    _played: dict[Split, Recorder] = field(default_factory=dict)
    _held_out: dict[Split, list[np.ndarray]] = field(default_factory=dict)

    @cached_property
    def task(self) -> Task:
        """The task."""
        return self.make()

    def shown(self, split: Split) -> Recorder:
        """What the expert is shown in a few held-out episodes."""
        if split not in self._played:
            self._played[split] = record(self.task, split, EPISODES)
        return self._played[split]

    @cached_property
    def scores(self) -> HeldOutScores:
        """Scores of the task's own policies, which several rules compare."""
        return HeldOutScores(self.task)

    @cached_property
    def training_passages(self) -> Passages:
        """All passages of the training text, which several rules look up."""
        task = self.task
        if isinstance(task, TextTask):
            return Passages(task.tokenizer.encode(text) for text in task.texts("train"))
        return Passages(chunk.tokens for chunk in task.episodes())

    def held_out_text(self, split: Split) -> list[np.ndarray]:
        """Ids of each text that is scored on a held-out split."""
        if split not in self._held_out:
            task = self.task
            if isinstance(task, TextTask):
                found = [task.tokenizer.encode(text) for text in task.excerpts(split)]
            else:
                count = min(BEGINNINGS, task.reference_episodes)
                found = [chunk.tokens for chunk in record(task, split, count).passages]
            self._held_out[split] = found
        return self._held_out[split]

    @property
    def acts(self) -> bool:
        """Whether the task is played by actions, rather than scored by likelihood."""
        return bool(self.shown("select").first)


def check_chunks(checked: Checked) -> None:
    """Ids and positions are in range, patches have their placeholders, and timesteps fit the context."""
    task, vocabulary = checked.task, checked.vocabulary
    episodes = task.episodes()
    require(len(episodes) > 0, task, "a task has training episodes")
    for chunk in episodes:
        tokens = chunk.tokens
        require(tokens.min() >= 0 and tokens.max() < vocabulary.size, task, "ids lie in the vocabulary")
        in_range = chunk.local.min() >= 0 and chunk.local.max() < LOCAL_POSITIONS
        require(in_range, task, "local positions are in range")
        require(bool(chunk.starts.any()), task, "a window may begin somewhere in an episode")
        require(bool(chunk.scored.any()), task, "an episode has scored tokens")
        for encoder, placeholder in chunk.placeholders.items():
            count, stated = len(chunk.patches[encoder]), int((tokens == placeholder).sum())
            require(count == stated, task, f"each patch has its placeholder, got {count} and {stated}")
        for encoder in vocabulary.encoders:
            known = encoder in chunk.placeholders or not (tokens == vocabulary.placeholder(encoder)).any()
            require(known, task, f"a placeholder of '{encoder}' has its patch")
        boundaries = np.flatnonzero(chunk.starts)
        longest = boundaries[0] + np.diff(np.append(boundaries, len(chunk))).max()
        fits = longest <= checked.context
        require(fits, task, f"instruction and timestep fit into {checked.context} tokens, got {longest}")


def check_deterministic(checked: Checked) -> None:
    """Two copies of the task give the same demonstrations and scores; fewer episodes are the first ones."""
    first, second = checked.make(), checked.make()
    same = all(_same(a, b) for a, b in zip(_demonstrate(first), _demonstrate(second), strict=True))
    require(same, first, "a task's demonstrations are the same each time")
    experts = [task.expert_policy()[1] for task in (first, second)]
    for split in SPLITS if isinstance(first, BaseTask) else HELD_OUT:
        once = first.score(experts[0], split, EPISODES)
        again = second.score(experts[1], split, EPISODES)
        fewer = second.score(experts[1], split, EPISODES // 2)
        require(np.array_equal(once, again), first, f"the {split} episodes are the same each time")
        require(
            np.array_equal(once[: len(fewer)], fewer), first, f"fewer {split} episodes are the first ones"
        )
        require(bool(np.isfinite(once).all()), first, f"values are finite, got {once}")


class _Careful:
    """Plays as the expert, and checks each observation and action."""

    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self._expert = checked.task.expert_policy()[1]
        self._rng = np.random.default_rng(0)
        self._steps = Counter[int]()

    def begin(self, count: int) -> None:
        """Begin as the expert does."""
        self._steps.clear()
        self._expert.begin(count)

    def act(
        self, live: Sequence[int], observations: Sequence[Chunk], sessions: Sequence[Session]
    ) -> list[np.ndarray]:
        """The expert's actions, once they are found legal and in time."""
        task, context = self.checked.task, self.checked.context
        self._steps.update(live)
        longest = max(self._steps.values())
        require(longest <= MOST_STEPS, task, f"an episode ends within {MOST_STEPS} timesteps")
        for seen, session in zip(observations, sessions, strict=True):
            fits = len(seen) + session.spec.length <= context
            require(not seen.scored.any(), task, "nothing that is observed is scored")
            require(fits, task, f"a timestep fits into {context} tokens")
            placed = len(session.action_local()) == session.spec.length
            require(placed, task, "each action token has a place")
        asked = time.monotonic()
        actions = self._expert.act(live, observations, sessions)
        taken = (time.monotonic() - asked) / len(live)
        rule = f"an expert acts within {EXPERT_SECONDS:g} s, got {taken:.1f} s"
        require(taken < EXPERT_SECONDS, task, rule)
        for ids, session in zip(actions, sessions, strict=True):
            _check_legal(task, session, ids)
            _check_legal(task, session, session.random(self._rng))
        return actions

    def nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Refused: it checks actions."""
        raise TypeError("a task that asked for actions asks for likelihoods")


def check_sessions(checked: Checked) -> str | None:
    """Sessions end, expert and random actions are legal, and each value is the same when played alone."""
    if not checked.acts:
        return NO_SESSIONS
    task = checked.task
    together = task.score(_Careful(checked), "select", EPISODES)
    if isinstance(task, SessionTask):
        lanes, task.lanes = task.lanes, 1
        try:
            alone = task.score(_Careful(checked), "select", EPISODES)
        finally:
            task.lanes = lanes
    else:
        alone = np.append(task.score(_Careful(checked), "select", 1), together[1:])
    require(np.array_equal(alone, together), task, "an episode does not depend on those beside it")
    return None


def check_actions(checked: Checked) -> str | None:
    """Choices and answers come back from their tokens as they were, floats within half a bin."""
    task = checked.task
    if isinstance(task, TextTask):
        for split in SPLITS:
            for text in task.excerpts(split)[:EPISODES]:
                back = task.tokenizer.decode(task.tokenizer.encode(text))
                require(back == well_formed(text), task, "text comes back from its tokens")
        return None
    if isinstance(task, AnswerTask):
        for answer in set(task.training_answers):
            back = task.tokenizer.decode(task.tokenizer.encode(answer))
            same = task.answer_score(back, answer) == task.answer_score(answer, answer)
            require(same, task, f"an answer comes back from its tokens, got {back!r} for {answer!r}")
        return None
    actions = getattr(checked.shown("select").session, "actions", None)
    if isinstance(actions, Choices):
        for choice in range(actions.number):
            back = actions.decode(actions.encode(choice))
            require(back == choice, task, "a choice comes back from its token")
        return None
    if isinstance(actions, Several):
        for ids in actions.constants():
            same = np.array_equal(actions.encode(actions.decode(ids)), ids)
            require(same, task, "choices come back from their tokens")
        return None
    if isinstance(actions, Box):
        half = 1 / checked.vocabulary.bins + 1e-9
        for place in np.linspace(-1, 1, 10 * checked.vocabulary.bins):
            asked = actions.scale.expand(np.full(actions.size, place))
            error = np.abs(actions.scale.squash(actions.decode(actions.encode(asked))) - place).max()
            rule = f"a float comes back from its token within half a bin, got {error:g}"
            require(error <= half, task, rule)
        return None
    return (
        "its sessions have no `actions` of the types `Choices`, `Several` or `Box`, so there is no other form"
        " to compare"
    )


def check_disjoint(checked: Checked) -> None:
    """No two splits share an episode, a document or a paragraph."""
    task = checked.task
    if isinstance(task, TextTask):
        _check_documents(task)
        return
    if isinstance(task, SessionTask):
        seen: dict[bytes, Split] = {}
        for split in SPLITS:
            for index in range(BEGINNINGS):
                other = seen.setdefault(task.identity(split, index), split)
                _shares(other, split, task) if other != split else None
        return
    if not checked.acts:
        _check_passages(checked)
        return
    episodes = task.episodes()
    count = min(BEGINNINGS, task.reference_episodes)
    select, report = (record(task, split, count).shown for split in HELD_OUT)
    for split, beginnings in zip(HELD_OUT, (select, report), strict=True):
        for beginning in beginnings:
            if any(begins_with(episode, beginning) for episode in episodes):
                _shares("train", split, task)
    if any(begins_with(one, other) and len(one) == len(other) for one in select for other in report):
        _shares("select", "report", task)


def check_leakage(checked: Checked) -> None:
    """A policy that sees shuffled observations fails; held-out text does not repeat training text."""
    if checked.acts:
        check_shuffled(checked.task, checked.vocabulary, checked.scores)
        return
    task = checked.task
    known = checked.training_passages
    for split in HELD_OUT:
        found = np.concatenate([known.found(text) for text in checked.held_out_text(split)])
        share = float(found.mean())
        require(
            share <= REPEATED,
            task,
            f"at most {REPEATED:.0%} of the passages of {WINDOW} tokens of {split} text are in training text,"
            f" got {share:.0%}",
        )


def check_shuffled(task: Task, vocabulary: Vocabulary, scores: HeldOutScores | None = None) -> None:
    """A policy that sees the wrong observations stays near the floor: nothing else reveals the answer.

    It does what the expert did after an observation drawn at random. A task of answers leaves it at the
    floor; a task of control leaves it below half of the expert, since a blind habit helps there.

    Raises:
        TaskError: the policy scores more.
    """
    scores = scores or HeldOutScores(task)
    blind = RetrievalPolicy(task.episodes(), vocabulary, np.random.default_rng(0))
    expert = scores.expert("select", SHUFFLED)
    seen = scores.of(blind, "select", SHUFFLED)
    floor = max((floor for _, floor in scores.floors("select", SHUFFLED)), key=np.mean)
    gain = expert.mean() - floor.mean()
    noise = float(np.hypot(seen.std(), floor.std()) / SHUFFLED**0.5)
    share = SHUFFLED_ANSWER if isinstance(task, AnswerTask) else SHUFFLED_CONTROL
    fraction = (seen.mean() - floor.mean()) / gain
    require(
        seen.mean() - floor.mean() <= share * gain + 3 * noise,
        task,
        f"a policy that sees shuffled observations stays below {share:g} of the expert, got {fraction:.2f}",
    )


def check_expert(checked: Checked) -> None:
    """The expert scores better than each floor by two standard errors, on as few episodes as show it."""
    task = checked.task
    count = min(SHUFFLED, task.reference_episodes)
    while count < task.reference_episodes:
        try:
            return check_reference(task, "select", count, checked.scores)
        except TaskError:
            count = min(4 * count, task.reference_episodes)
    return check_reference(task, "select", count, checked.scores)


def check_reference(task: Task, split: Split, count: int, scores: HeldOutScores | None = None) -> None:
    """The expert scores better than each floor by two standard errors, on `count` episodes.

    Raises:
        TaskError: it does not.
    """
    scores = scores or HeldOutScores(task)
    expert = scores.expert(split, count)
    for name, floor in scores.floors(split, count):
        noise = float(np.hypot(expert.std() / len(expert) ** 0.5, floor.std() / len(floor) ** 0.5))
        clear = expert.mean() - floor.mean() > 2 * noise
        require(clear, task, f"the expert clears '{name}', got {expert.mean():g} and {floor.mean():g}")


def require(kept: bool, task: Task, rule: str) -> None:
    """Raise `TaskError` with the task's name and the rule, unless it is kept."""
    if not kept:
        raise TaskError(f"task '{task.name}': {rule}")


def _shares(one: Split, other: Split, task: Task) -> NoReturn:
    raise TaskError(f"task '{task.name}': splits are disjoint, {one} and {other} share an episode")


def _check_documents(task: TextTask) -> None:
    """Each long paragraph is in one split only, and each excerpt is cut from a document of its split."""
    seen: dict[str, Split] = {}
    for split in SPLITS:
        documents = task.texts(split)
        for paragraph in (part for document in documents for part in paragraphs(document)):
            words = " ".join(paragraph.split())
            other = seen.setdefault(words, split) if len(words) >= REPEATABLE else split
            rule = f"splits are disjoint, {other} and {split} share the paragraph {words[:40]!r}"
            require(other == split, task, rule)
        for excerpt in task.excerpts(split)[:BEGINNINGS]:
            inside = any(excerpt in document for document in documents)
            require(inside, task, f"splits are disjoint, an excerpt of {split} is in no document of {split}")


def _check_passages(checked: Checked) -> None:
    """No held-out text is contained in training text or in the text of the other held-out split."""
    select, report = (checked.held_out_text(split) for split in HELD_OUT)
    for one, known, other, texts in (
        ("train", checked.training_passages, "select", select),
        ("train", checked.training_passages, "report", report),
        ("select", Passages(select), "report", report),
    ):
        for text in texts:
            rule = f"splits are disjoint, {one} and {other} share a text"
            require(known.found(text).mean() < WHOLE, checked.task, rule)


def _demonstrate(task: Task) -> Sequence[Chunk]:
    """A few demonstrations, regenerated if the task allows it."""
    if not isinstance(task, BaseTask):
        return task.episodes()[:EPISODES]
    task.train_episodes = min(EPISODES, task.train_episodes)
    return task.demonstrations()


def _check_legal(task: Task, session: Session, ids: np.ndarray) -> None:
    spec = session.spec
    whole = len(ids) == spec.length or (spec.stop is not None and 0 < len(ids) < spec.length)
    require(whole, task, f"an action has {counted(spec.length, 'token')}, got {len(ids)}")
    for position, token in enumerate(ids):
        low, high = spec.range_at(position)
        legal = low <= token < high
        require(legal, task, f"token {position} of an action lies in [{low}, {high}), got {token}")


def _same(a: Chunk, b: Chunk) -> bool:
    fields = all(
        np.array_equal(getattr(a, f), getattr(b, f)) for f in ("tokens", "local", "scored", "starts")
    )
    return fields and all(np.array_equal(a.patches[name], b.patches[name]) for name in a.patches)
