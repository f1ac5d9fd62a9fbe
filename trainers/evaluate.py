"""A trained decoder as a policy that plays many episodes in parallel over one key/value cache.

Its answers equal those to each episode alone. When the context is full, the last half of it is encoded again
from a timestep boundary, so that the decoder sees sequences like those of its training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from space.errors import TaskError
from space.records import Split, SuiteRecord
from trainers.data import Corpus, load_corpora
from trainers.model.attention import Cache, Slots
from trainers.model.decoder import Decoder
from trainers.model.embedding import Patches
from trainers.phases import Watch, unwatched
from trainers.tasks.answers import AnswerTask
from trainers.tasks.base import ActionSpec, Session, Task
from trainers.tasks.registry import load_task
from trainers.tasks.sessions import SessionTask, play
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

NATS_ROWS = 32  # chunks that are scored in one forward pass
LANES = 128  # sessions that are played side by side
FEW_NEW_TOKENS = 32  # more than a timestep has
MOST_FED_TOKENS = 8192  # tokens that are decoded in one forward pass


def score_candidate(
    decoder: Decoder,
    suite: SuiteRecord,
    split: Split,
    share: float = 1.0,
    between: Callable[[], None] = lambda: None,
    watch: Watch = unwatched,
) -> dict[str, np.ndarray]:
    """Play every task of a suite; tasks with actions of one length are played side by side.

    Args:
        decoder: it runs on its current device.
        suite: the tasks and how many episodes each has.
        split: which episodes.
        share: share of them to play, in (0, 1]; the first ones, so that shares are nested.
        between: called regularly; an exception that it raises ends the scoring.
        watch: called with the progress.

    Returns:
        Task -> raw values (episodes,).
    """
    groups: dict[int | str, list[Part]] = {}
    for name in suite.tasks:
        part = Part(name, load_task(name, suite), max(1, round(suite.episodes[name] * share)))
        groups.setdefault(part.group(split), []).append(part)
    corpora = load_corpora(suite) if suite.prompted else {}
    values: dict[str, np.ndarray] = {}
    total, before = sum(part.count for parts in groups.values() for part in parts), 0
    for parts in groups.values():
        note = f"{len(values)} of {len(suite.tasks)} tasks, now {parts[0].name}"

        def tell(over: int, before: int = before, note: str = note) -> None:
            between()
            watch(before + over, total, note)

        tell(0)
        before += sum(part.count for part in parts)
        policy = ModelPolicy(decoder, prompts(parts, split, corpora, suite.context // 2), tell)
        if len(parts) == 1:
            (part,) = parts
            values[part.name] = part.task.score(policy, split, part.count)
            continue
        openers = [opener for part in parts for opener in part.openers(split)]
        played = play(policy, openers, LANES, between)
        ends = np.cumsum([part.count for part in parts])
        values |= {part.name: found for part, found in zip(parts, np.split(played, ends[:-1]), strict=True)}
    watch(total, total, f"{len(values)} of {len(suite.tasks)} tasks")
    return {name: values[name] for name in suite.tasks}


@dataclass(frozen=True)
class Part:
    """A task's part in the scoring."""

    name: str
    task: Task
    count: int

    def group(self, split: Split) -> int | str:
        """Key of the tasks that are played in parallel: the length of an action, or a name."""
        if not isinstance(self.task, SessionTask) or isinstance(self.task, AnswerTask):
            return self.name
        return self.task.session(split, 0).spec.length

    def openers(self, split: Split) -> list[Callable[[], Session]]:
        """What opens each of its sessions."""
        assert isinstance(self.task, SessionTask)
        return [partial(self.task.session, split, index) for index in range(self.count)]


def prompts(
    parts: Sequence[Part], split: Split, corpora: Mapping[str, Corpus], most: int
) -> Callable[[int], Chunk] | None:
    """A demonstration for each of the sessions that some tasks play one after the other."""
    if not corpora:
        return None
    sessions = [(part.name, index) for part in parts for index in range(part.count)]

    def prompt(number: int) -> Chunk:
        name, index = sessions[number]
        seed = sha256(f"prompt/{name}/{split}/{index}".encode()).digest()
        corpus = corpora[name]
        return corpus.episodes.chunk(corpus.prompt(np.random.default_rng(list(seed)), most))

    return prompt


class ModelPolicy:
    """Plays many sessions in parallel, deterministically; implements `trainers.tasks.base.Policy`.

    Args:
        decoder: the network.
        prompt: number of a session -> the demonstration that it begins with.
        tell: called before each forward pass with the number of sessions that are over.
    """

    def __init__(
        self,
        decoder: Decoder,
        prompt: Callable[[int], Chunk] | None = None,
        tell: Callable[[int], None] = lambda over: None,
    ) -> None:
        self.decoder = decoder.eval()
        self.context = decoder.suite.context
        self.vocabulary = Vocabulary.of(decoder.suite)
        self.prompt = prompt
        self._tell = tell
        self._over = 0
        self._cache: Cache | None = None
        self._rows: dict[int, int] = {}  # session -> its row of the cache
        self._windows: dict[int, _Window] = {}

    def begin(self, count: int) -> None:
        """Reset, for a number of sessions."""
        self._cache, self._rows, self._windows, self._over = None, {}, {}, 0

    @torch.inference_mode()
    def act(
        self, live: Sequence[int], observations: Sequence[Chunk], sessions: Sequence[Session]
    ) -> list[np.ndarray]:
        """Answer the live episodes.

        Args:
            live: which of the episodes that were begun run now.
            observations: what each of them has seen since its last action.
            sessions: the episodes themselves; only their `spec` and `action_local` are used.

        Returns:
            Ids of each one's action, without the id that stops an answer.
        """
        self._seat(live)
        self._tell(self._over)
        windows = [self._windows[number] for number in live]
        specs = [session.spec for session in sessions]
        for window, observed, spec in zip(windows, observations, specs, strict=True):
            window.add(observed, room=spec.length - 1)
        answers: list[list[int]] = [[] for _ in live]
        places = [session.action_local() for session in sessions]
        for position in range(max(spec.length for spec in specs)):
            open_ = [i for i in range(len(live)) if _open(specs[i], answers[i], position)]
            if not open_:
                break
            hidden = self._feed([windows[i] for i in open_], [self._rows[live[i]] for i in open_])
            ranges = [specs[i].range_at(position) for i in open_]
            for i, token in zip(open_, self._choose(hidden, ranges), strict=True):
                windows[i].push(token, int(places[i][position]))
                answers[i].append(token)
        return [_without_stop(spec, answer) for spec, answer in zip(specs, answers, strict=True)]

    @torch.inference_mode()
    def nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Negative log-likelihood in nats of each token given those before it.

        Args:
            chunks: each of at most context + 1 tokens.

        Returns:
            For each chunk (length - 1,): of its tokens from the second on.
        """
        order = np.argsort([len(chunk) for chunk in chunks], kind="stable")
        found: list[np.ndarray] = [np.empty(0)] * len(chunks)
        for first in range(0, len(order), NATS_ROWS):
            self._tell(self._over)
            rows = order[first : first + NATS_ROWS]
            for row, nats in zip(rows, self._nats([chunks[row] for row in rows]), strict=True):
                found[row] = nats
        return found

    def _seat(self, live: Sequence[int]) -> None:
        """Give each live session a row of the cache; new sessions reuse the rows of finished ones."""
        came = [number for number in live if number not in self._rows]
        left = sorted(self._rows.keys() - set(live))
        self._over += len(left)
        free = [self._rows.pop(number) for number in left]
        for number in left:
            del self._windows[number]
        if self._cache is None:
            weights = self.decoder.embedding.table.weight
            self._cache, free = Cache(self.decoder.arch, len(came), like=weights), list(range(len(came)))
        elif len(came) > len(free):
            first = len(self._rows) + len(free)
            free += range(first, first + len(came) - len(free))
            self._cache.add(len(self._rows) + len(free) - first)
        for number in came:
            self._rows[number] = free.pop(0)
            self._windows[number] = _Window(self.context, self.vocabulary)
            if self.prompt is not None:
                self._windows[number].add(_without_starts(self.prompt(number)), room=0)
        if free:
            self._cache.keep([self._rows[number] for number in live])
            self._rows = {number: row for row, number in enumerate(live)}

    def _feed(self, windows: Sequence["_Window"], rows: Sequence[int]) -> Tensor:
        """Decode what the cache does not hold yet, one last hidden state a window: (windows, width).

        Windows with much to decode go apart, since attention pads a batch to the longest.
        """
        new = np.array([window.length - window.fed for window in windows])
        much = new > FEW_NEW_TOKENS
        hidden = torch.empty(len(windows), self.decoder.arch.width, device=self.decoder.device)
        for which in (np.flatnonzero(much), np.flatnonzero(~much)):
            for part in np.array_split(which, max(1, -(-int(new[which].sum()) // MOST_FED_TOKENS))):
                if len(part):
                    some = [windows[i] for i in part]
                    hidden[torch.from_numpy(part)] = self._extend(some, [rows[i] for i in part]).float()
        return hidden

    def _extend(self, windows: Sequence["_Window"], rows: list[int]) -> Tensor:
        assert self._cache is not None, "begin() comes before act()"
        device = self.decoder.device
        done = np.array([window.fed for window in windows])
        new = np.array([window.length - window.fed for window in windows])
        whole = rows == list(range(self._cache.rows))
        slots = Slots.of(done, new, device, None if whole else rows)
        fresh = [window.take() for window in windows]
        tokens, local = np.stack([np.concatenate(parts) for parts in zip(*fresh, strict=True)])
        patches = self._patches(tokens, [window.take_patches() for window in windows])
        tokens, local = torch.from_numpy(tokens).to(device), torch.from_numpy(local).to(device)
        return self.decoder.extend(tokens, local, patches, slots, self._cache)

    def _patches(self, tokens: np.ndarray, given: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Patches]:
        patches = {}
        for name in {name for some in given for name in some}:
            at = np.flatnonzero(tokens == self.vocabulary.placeholder(name))
            pixels = np.concatenate([some[name] for some in given if name in some])
            patches[name] = Patches(
                torch.from_numpy(at).to(self.decoder.device),
                torch.from_numpy(pixels).to(self.decoder.device),
            )
        return patches

    def _choose(self, hidden: Tensor, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """The likeliest allowed id of each row, and of a continuous value the median bin.

        The likeliest of many similar bins is arbitrary; their median is not.
        """
        tokens = [0] * len(ranges)
        first, last = self.vocabulary.continuous_range
        for low, high in set(ranges):
            rows = [row for row, allowed in enumerate(ranges) if allowed == (low, high)]
            logits = F.linear(hidden[rows], self.decoder.head.weight[low:high])
            best = _median(logits) if first <= low and high <= last else logits.argmax(dim=-1)
            for row, place in zip(rows, best.tolist(), strict=True):
                tokens[row] = low + place
        return tokens

    def _nats(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        device = self.decoder.device
        lengths = [len(chunk) for chunk in chunks]
        if max(lengths) > self.context + 1:
            most = self.context + 1
            raise TaskError(
                f"a chunk to be scored has at most context + 1 = {most} tokens, got {max(lengths)}"
            )
        tokens = np.zeros((2, len(chunks), max(lengths)), dtype=np.int64)
        for row, chunk in enumerate(chunks):
            tokens[0, row, : len(chunk)] = chunk.tokens
            tokens[1, row, : len(chunk)] = chunk.local
        inputs = [chunk.slice(0, len(chunk) - 1).patches for chunk in chunks]
        patches = self._patches(tokens[0, :, :-1].ravel(), inputs)
        both = torch.from_numpy(tokens).to(device)
        hidden, _ = self.decoder(both[0, :, :-1], both[1, :, :-1], patches)
        found = []
        for row, length in enumerate(lengths):
            logits = self.decoder.logits(hidden[row, : length - 1]).float()
            nats = F.cross_entropy(logits, both[0, row, 1:length], reduction="none")
            found.append(nats.cpu().numpy())
        return found


class _Window:
    """The tokens of one episode that the decoder sees, and how many of them the cache holds."""

    def __init__(self, context: int, vocabulary: Vocabulary) -> None:
        self.context = context
        self.vocabulary = vocabulary
        self.length = 0
        self.fed = 0
        self._tokens = np.zeros((2, 2 * context), dtype=np.int64)  # ids and local positions
        self._starts = np.zeros(2 * context, dtype=bool)
        self._patches: dict[str, np.ndarray] = {}

    def add(self, chunk: Chunk, room: int) -> None:
        """Append an observation; where it and `room` more tokens do not fit, keep the last half window.

        Raises:
            TaskError: a timestep alone does not fit into the context.
        """
        if self.length + len(chunk) + room > self.context:
            self._shorten(chunk, room)
        end = self.length + len(chunk)
        self._tokens[0, self.length : end] = chunk.tokens
        self._tokens[1, self.length : end] = chunk.local
        self._starts[self.length : end] = chunk.starts
        self.length = end
        for name, pixels in chunk.patches.items():
            past = self._patches.get(name)
            self._patches[name] = pixels if past is None else np.concatenate([past, pixels])

    def push(self, token: int, local: int) -> None:
        """Append a token of an answer; `add` has left room for all but the last, which is never fed alone."""
        self._tokens[:, self.length] = token, local
        self._starts[self.length] = False
        self.length += 1

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids and local positions that the cache does not hold."""
        return self._tokens[0, self.fed : self.length], self._tokens[1, self.fed : self.length]

    def take_patches(self) -> dict[str, np.ndarray]:
        """Their patches; from now on the cache holds them all."""
        past = {name: self._count(name, self.fed) for name in self._patches}
        self.fed = self.length
        return {
            name: pixels[past[name] :] for name, pixels in self._patches.items() if past[name] < len(pixels)
        }

    def _shorten(self, chunk: Chunk, room: int) -> None:
        """Drop timesteps until the chunk included, what stays fills half of what the instruction leaves.

        Tokens before the first timestep (instruction and demonstration) always stay.
        """
        boundaries = np.flatnonzero(self._starts[: self.length])
        head = int(boundaries[0]) if len(boundaries) else 0
        if head + len(chunk) + room > self.context:
            raise TaskError(
                f"instruction and timestep fit into the context of {self.context} tokens,"
                f" got {head + len(chunk) + room}"
            )
        most = max((self.context - head) // 2 - len(chunk), 0)
        kept = boundaries[boundaries >= self.length - most]
        first = int(kept[0]) if len(kept) else self.length
        for name, pixels in self._patches.items():
            stays = pixels[: self._count(name, head)], pixels[self._count(name, first) :]
            self._patches[name] = np.concatenate(stays)
        stay = head + self.length - first
        self._tokens[:, head:stay] = self._tokens[:, first : self.length]
        self._starts[head:stay] = self._starts[first : self.length]
        self.length, self.fed = stay, 0

    def _count(self, encoder: str, stop: int) -> int:
        return int((self._tokens[0, :stop] == self.vocabulary.placeholder(encoder)).sum())


def _without_starts(prompt: Chunk) -> Chunk:
    """A demonstration that stays before its episode's first timestep."""
    return replace(prompt, starts=np.zeros(len(prompt), dtype=bool), scored=np.zeros(len(prompt), dtype=bool))


def _median(logits: Tensor) -> Tensor:
    """The place at which half of the probability is reached, (rows, places) -> (rows,)."""
    reached = logits.float().softmax(dim=-1).cumsum(dim=-1)
    return (reached < 0.5).sum(dim=-1).clamp(max=logits.shape[-1] - 1)


def _open(spec: ActionSpec, answer: Sequence[int], position: int) -> bool:
    """Whether an answer continues at a position."""
    return position < spec.length and not (answer and answer[-1] == spec.stop)


def _without_stop(spec: ActionSpec, answer: list[int]) -> np.ndarray:
    if answer and answer[-1] == spec.stop:
        answer = answer[:-1]
    return np.array(answer, dtype=np.int32)
