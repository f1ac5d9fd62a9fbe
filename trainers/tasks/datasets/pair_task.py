"""Pairs that the user added, as a task: a question in text, image or sound, then its answer in text.

Short answers that recur are scored by exact match, others by bits per byte of the answer given the question.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, partial

import numpy as np

from space.errors import TaskError
from space.records import Sense, Split, SuiteRecord
from trainers.tasks.answers import AnswerTask, Example
from trainers.tasks.base import ActionSpec, Policy
from trainers.tasks.cache import cached_arrays
from trainers.tasks.datasets.content import Progress
from trainers.tasks.datasets.labelled import held_out_episodes, shuffled_places
from trainers.tasks.datasets.library import Dataset
from trainers.tasks.datasets.media import KINDS
from trainers.tasks.datasets.media_views import view_of
from trainers.tasks.datasets.pair_episodes import PairEpisodes, write_episodes
from trainers.tasks.datasets.pair_experts import MOST_FITTED, AnswerNGram, fitted_answers
from trainers.tasks.datasets.pair_rows import NONE, PairRows, plain
from trainers.tasks.datasets.sound_task import heard_whole
from trainers.tasks.datasets.sound_views import frames_of
from trainers.tasks.datasets.text_task import FAMILY
from trainers.tasks.families.text import MOST_READ, ORDER, overlapping
from trainers.tasks.mapped import release
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import STOP, Tokenizer, well_formed

CAPTIONS = "different images or sounds may have the same caption, and splits share no image and no sound"
LEAST_ROOM = 16  # tokens of a context for a question and its answer
TOGETHER = 1024  # pairs, after which the maps of the data give memory back


class AddedPairs(AnswerTask):
    """Pairs in random order.

    Of a question that takes more than half of the context, the end is shown.

    Args:
        dataset: the data.
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many pairs to train on; all when None.
    """

    family = FAMILY
    domain: str
    modality: Sense
    packages: tuple[str, ...] = ("numpy", "scikit-learn")

    def __init__(
        self, dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        self.dataset = dataset
        self.name = dataset.manifest.name
        fields, sizes = dataset.manifest.facts, dataset.manifest.splits
        sense: Sense = "image" if "image" in fields else "audio" if "audio" in fields else "text"
        self.domain = sense
        self.modality = sense
        self.eval_episodes, self.reference_episodes = held_out_episodes(dataset)
        self.num_train_episodes = sizes["train"]
        self._views = {
            view.encoder: view for view in (view_of(kind, dataset, suite) for kind in KINDS if kind in fields)
        }
        super().__init__(suite, tokenizer, train_episodes)
        self._most = sum(view.most for view in self._views.values())  # patches of a pair
        self._is_large = any(view.setting for view in self._views.values())
        if suite.context < (needed := self._most + LEAST_ROOM):
            raise TaskError(
                f"a context holds what is seen and heard and {LEAST_ROOM} tokens of question and answer, of"
                f" task '{self.name}' {needed} tokens, got context {suite.context}; raise it, or lower"
                " image.side or sound.seconds"
            )

    def example(self, split: Split, index: int) -> Example:
        """The pairs of the split in turn, repeated."""
        place = self._place(split, index)
        return self._example(
            split, index, {name: self._look(name, n) for name, n in self._media(place).items()}
        )

    def _example(self, split: Split, index: int, patches: dict[str, np.ndarray]) -> Example:
        shown, place = sum(map(len, patches.values())), self._place(split, index)
        return Example(
            prompt=self._shortened(
                self._rows.question(place), self._half - 1 - (0 if self._is_large else shown)
            ),
            patches=patches,
            answer=self.answer(split, index),
            expert=partial(self.expert_answer, split, index),
        )

    def answer(self, split: Split, index: int) -> str:
        """The answer that is learnt."""
        return self._rows.answers(self._place(split, index))[0]

    @abstractmethod
    def expert_answer(self, split: Split, index: int) -> str:
        """The expert's answer."""

    def answer_score(self, answer: str, right: str) -> float:
        """1 if the answers are the same apart from case, punctuation and white space."""
        return float(plain(answer) == plain(right))

    def sound_frames(self) -> np.ndarray:
        """As in `Audible`; 0 of a pair without a sound."""
        if self.dataset.manifest.seconds is None:
            return np.empty(0, dtype=np.int64)
        numbers = self.dataset.arrays["audio"][self.dataset.places("train")]
        return np.where(numbers == NONE, 0, frames_of(self.dataset.arrays["audio_ends"])[numbers])

    def at_length(self) -> "AddedPairs":
        """As in `Audible`."""
        if self.dataset.manifest.seconds is None:
            return self
        longest = int(frames_of(self.dataset.arrays["audio_ends"]).max())
        return type(self)(self.dataset, heard_whole(self.suite, longest), self.tokenizer)

    @cached_property
    def spec(self) -> ActionSpec:
        """Room for the longest of many training answers, up to half of the context."""
        count = min(self.num_train_episodes, MOST_FITTED)
        found = self.spec_for(self.answer("train", index) for index in range(count))
        return ActionSpec(min(found.length, self._half), found.allowed, found.stop)

    @property
    def _half(self) -> int:
        """Tokens at most of an answer, and of a question; at resolution, of those that media leave."""
        return (self.suite.context - (self._most if self._is_large else 0)) // 2

    def judge(self, split: Split, index: int) -> Callable[[str, str], float]:
        """Each answer of a pair is right."""
        accepted = {plain(answer) for answer in self._rows.answers(self._place(split, index))}
        return lambda answer, _: float(plain(answer) in accepted)

    def identity(self, split: Split, index: int) -> bytes:
        """The whole question and what is seen or heard."""
        place = self._place(split, index)
        seen = [
            self.dataset.arrays[f"{self._views[name].kind}_seen"][number].tobytes()
            for name, number in self._media(place).items()
        ]
        return self._rows.question(place).encode() + b"".join(seen)

    def demonstrations(self) -> list[Chunk]:
        """Questions and answers of the train split."""
        return [self.demonstration(index) for index in range(self.train_episodes)]

    @abstractmethod
    def demonstration(self, index: int, example: Example | None = None) -> Chunk:
        """A question of the train split and its answer.

        Args:
            index: of the pair.
            example: the question, if it is made already.
        """

    def cache_key(self) -> dict[str, object]:
        """As of all tasks, with how images are seen and sounds are heard."""
        settings = [item for view in self._views.values() for item in view.setting.items()]
        return super().cache_key() | {key: setting.model_dump() for key, setting in settings}

    def episodes(self) -> PairEpisodes:
        """Every pair of the train split, tokenised once and then mapped into memory."""
        return self.tokenise(_silent)

    def tokenise(self, progress: Progress) -> PairEpisodes:
        """As `episodes`; the result is that of `demonstrations`, of which the cache's key is made.

        Args:
            progress: called with the number of pairs that are tokenised and their total.

        Raises:
            TaskError: the tokenizer has ids that do not fit into two bytes.
            MachineError: the cache cannot be read or written, or its disk is full.
        """
        placeholders = {name: self.vocabulary.placeholder(name) for name in self._views}
        sizes = {name: self.suite.encoders[name] for name in self._views}
        arrays = cached_arrays(
            self.name,
            self.cache_key(),
            lambda: write_episodes(
                self._released(),
                (self._media(self._place("train", i)) for i in range(self.train_episodes)),
                placeholders,
                lambda done: progress(done, self.train_episodes),
            ),
        )
        return PairEpisodes.restored(arrays, placeholders, sizes, self._look, self.dataset.content_digest)

    def _released(self) -> Iterator[Chunk]:
        """Demonstrations whose patches are not made, in memory that does not grow with their number."""
        for index in range(self.train_episodes):
            media = self._media(self._place("train", index))
            unseen = {
                name: np.zeros((self._views[name].count(number), self.suite.encoders[name]), dtype=np.float32)
                for name, number in media.items()
            }
            yield self.demonstration(index, self._example("train", index, unseen))
            if index % TOGETHER == 0:
                self._rows.release()
                for kind in KINDS:
                    release(self.dataset.arrays[f"{kind}_seen"])

    @cached_property
    def _rows(self) -> PairRows:
        return PairRows(self.dataset.arrays)

    def _place(self, split: Split, index: int) -> int:
        places = shuffled_places(self.dataset, split)
        return int(places[index % len(places)])

    def _media(self, place: int) -> dict[str, int]:
        """Encoder -> number of the medium of a pair."""
        found = {name: int(self.dataset.arrays[view.kind][place]) for name, view in self._views.items()}
        return {name: number for name, number in found.items() if number != NONE}

    def _look(self, encoder: str, number: int) -> np.ndarray:
        return self._views[encoder].look(number)

    def _question(self, example: Example) -> Chunk:
        """What is seen before the answer."""
        prompt = self.tokenizer.encode(example.prompt) if example.prompt else ()
        return sequence.observation(self.vocabulary, prompt=prompt, patches=example.patches)

    def _shortened(self, text: str, most: int) -> str:
        """The end of a text, of so many tokens at most."""
        while (excess := len(self.tokenizer.encode(text)) - most) > 0:
            text = text[max(1, len(text) * excess // (excess + most)) :]
        return text


class ExactPairs(AddedPairs):
    """Answers are right or wrong; the expert is a classifier that is fitted to the train split."""

    metric = "exact match"
    unit = "rate"

    def expert_answer(self, split: Split, index: int) -> str:
        """The right answer to train on, and the classifier's to a held-out question."""
        if split == "train":
            return self.answer(split, index)
        answers = fitted_answers(self.dataset, split, self._asked)[1]
        return answers[index % len(answers)]

    def expert_policy(self) -> tuple[str, Policy]:
        """The classifier."""
        return fitted_answers(self.dataset, "select", self._asked)[0], super().expert_policy()[1]

    @property
    def _asked(self) -> int:
        """Held-out pairs that a classifier is asked."""
        return 2 * self.reference_episodes

    def demonstration(self, index: int, example: Example | None = None) -> Chunk:
        """A question and its answer, which is cut where it is longer than there is room."""
        question = self._question(example or self.example("train", index))
        ids = self.tokenizer.encode(self.answer("train", index))
        if self.spec.stop is not None:
            ids = np.r_[ids[: self.spec.length - 1], self.spec.stop]
        return Chunk.concat([question, sequence.action(ids, np.zeros(len(ids), dtype=np.int16))])


class LikelyPairs(AddedPairs):
    """Answers in bits per byte, given their questions; the expert is an n-gram of answers.

    An answer may be longer than the context: windows with half of the last one then follow the question. Its
    end is learnt as well, and not scored.
    """

    metric = "bits per byte"
    unit = "bits/byte"
    lower_is_better = True
    by_likelihood = True

    def __init__(
        self, dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        super().__init__(dataset, suite, tokenizer, train_episodes)
        if self.modality != "text":
            self.inapplicable = {"no-leak": CAPTIONS}

    def expert_answer(self, split: Split, index: int) -> str:
        """The right answer, which the expert is not asked for."""
        return self.answer(split, index)

    def demonstration(self, index: int, example: Example | None = None) -> Chunk:
        """A question, which all windows begin with, and the answer; they go on at each half of the room."""
        question = self._question(example or self.example("train", index))
        question.starts[:] = False
        ids = np.r_[self.tokenizer.encode(self.answer("train", index)), STOP]
        answer = sequence.text(ids, scored=True)
        answer.starts[:: max(1, (self.suite.context - len(question)) // 2)] = True
        return Chunk.concat([question, answer])

    def score(self, policy: Policy, split: Split, count: int) -> np.ndarray:
        """Bits per byte of each of `count` answers, (count,); lower is better.

        Raises:
            TaskError: the split has fewer pairs.
        """
        if count > self.dataset.manifest.splits[split]:
            raise TaskError(
                f"{self.name} has {self.dataset.manifest.splits[split]} pairs of {split}, got a request for"
                f" {count}"
            )
        chunks: list[Chunk] = []
        fresh: list[list[int]] = []
        for index in range(count):
            windows = list(self._windows(split, index))
            chunks += [chunk for chunk, _ in windows]
            fresh.append([new for _, new in windows])
        nats = iter(policy.nats(chunks))
        totals = [sum(next(nats)[-new:].sum() for new in news) for news in fresh]
        sizes = [len(well_formed(self.answer(split, index)).encode()) for index in range(count)]
        return np.array(totals, dtype=np.float64) / np.log(2) / sizes

    def floor_policies(self) -> dict[str, Policy]:
        """The frequencies of single tokens in answers."""
        return {"unigram": self._ngram(1)}

    def expert_policy(self) -> tuple[str, Policy]:
        """A smoothed n-gram of the answers of the train split, or of `MOST_READ` tokens of them."""
        return f"Kneser-Ney {ORDER}-gram of answers", self._ngram(ORDER)

    def _windows(self, split: Split, index: int) -> Iterator[tuple[Chunk, int]]:
        """The question with the answer, or with overlapping parts of it, and how many tokens are new."""
        question = self._question(self.example(split, index))
        ids = self.tokenizer.encode(self.answer(split, index))
        for start, stop, new in overlapping(1 + len(ids), self.suite.context - len(question)):
            part = ids[max(start - 1, 0) : stop - 1]  # the separator, which comes before, is the first token
            yield Chunk.concat([question, sequence.text(part, scored=True)]), new

    def _ngram(self, order: int) -> AnswerNGram:
        return AnswerNGram(self._read, order, self.vocabulary.separator, self.vocabulary.text)

    @cached_property
    def _read(self) -> list[np.ndarray]:
        """Tokens of answers of the train split, until there are enough."""
        read: list[np.ndarray] = []
        missing = MOST_READ
        for index in range(self.num_train_episodes):
            if missing > 0:
                read.append(self.tokenizer.encode(self.answer("train", index)))
                missing -= len(read[-1])
        return read


def open_pairs(
    dataset: Dataset, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
) -> AddedPairs:
    """The task of a data set of pairs, by its metric."""
    kind = ExactPairs if dataset.manifest.facts["metric"] == "exact" else LikelyPairs
    return kind(dataset, suite, tokenizer, train_episodes)


def _silent(done: int, total: int, unit: str = "") -> None:
    """No progress."""
