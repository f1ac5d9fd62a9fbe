"""A task whose episodes take place elsewhere: observations and questions in, tokens out; tokens to actions.

A session of a task turns what it sees into tokens by itself. Here the environment is the caller's own, and
gives the same tokens for the same observation.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np

from space.errors import StudyFileError
from space.images import CHANNELS, PICTURE
from space.records import FRAMES_PER_SECOND
from space.sounds import SOUND
from trainers.tasks.answers import AnswerTask
from trainers.tasks.base import ActionSpec, Task
from trainers.tasks.control import Choices, ControlSession
from trainers.tasks.families.tabular import Estimates, TableTask
from trainers.tasks.sessions import SessionTask
from trainers.tokens import sequence, values
from trainers.tokens.audio import audio_patches, log_mel
from trainers.tokens.image import image_patches
from trainers.tokens.sequence import Chunk

SAMPLED = 8  # training questions that show what a task is asked with
IMAGE, AUDIO = "image", "audio"
SENSES = {IMAGE: IMAGE, PICTURE: IMAGE, AUDIO: AUDIO, SOUND: AUDIO}
"""Encoder -> what a question is asked with."""


class ControlInterface:
    """A task of control.

    Args:
        task: the task.

    Attributes:
        spec: the form of an action.
        limit: timesteps of an episode.
        repeat: environment steps that an action lasts.

    Raises:
        StudyFileError: the task is not one of control.
    """

    def __init__(self, task: Task) -> None:
        session = task.session("train", 0) if isinstance(task, SessionTask) else None
        actions = getattr(session, "actions", None)
        if not isinstance(task, SessionTask) or not isinstance(session, ControlSession) or actions is None:
            raise StudyFileError(f"act: task '{task.name}' is not one of control")
        self._task, self._instruction, self._actions = task, session.instruction, actions
        self.spec: ActionSpec = session.spec
        self.limit = session.limit
        level = getattr(task, "level", None)
        self.repeat = int(getattr(level, "repeat", getattr(level, "steps", 1)))

    @property
    def choices(self) -> int | None:
        """Number of discrete actions; None where an action is floats."""
        return self._actions.number if isinstance(self._actions, Choices) else None

    def observed(self, observation: Any, first: bool) -> Chunk:
        """An observation in tokens.

        Args:
            observation: as the environment gives it.
            first: whether it is the first of its episode, which the instruction precedes.

        Raises:
            StudyFileError: it does not fit the task.
        """
        seen = self._task.tokens_of(observation)
        if not first:
            return seen
        mission = self._task.mission_of(observation)
        words = self._instruction if mission is None else mission
        return Chunk.concat([sequence.instruction(words), seen]) if len(words) else seen

    def action(self, ids: np.ndarray) -> int | np.ndarray:
        """Ids (length,) -> a choice, or floats in the environment's units, (size,)."""
        return self._actions.decode(ids)

    def ids(self, action: int | np.ndarray) -> np.ndarray:
        """The inverse of `action`, (length,)."""
        return self._actions.encode(action)


@dataclass(frozen=True)
class Parts:
    """What a task is asked with.

    Attributes:
        text: whether a question has words of its own.
        patches: encoder -> numbers of patches that its questions have.
    """

    text: bool
    patches: dict[str, set[int]]


class QuestionInterface:
    """A task of questions.

    Args:
        task: the task.

    Attributes:
        spec: the form of an answer.

    Raises:
        StudyFileError: the task is not one of questions.
    """

    def __init__(self, task: Task) -> None:
        if not isinstance(task, AnswerTask | Estimates):
            raise StudyFileError(f"answer: task '{task.name}' is not one of questions")
        self._task: AnswerTask | Estimates = task
        self.spec: ActionSpec = task.session("train", 0).spec

    @property
    def local(self) -> np.ndarray | None:
        """Positions of the answer in its timestep, (length,); None where they follow the question."""
        return None if isinstance(self._task, Estimates) else np.zeros(self.spec.length, dtype=np.int16)

    def question(self, text: str, image: Any, audio: Any, features: Any) -> Chunk:
        """A question in tokens.

        Args:
            text: its words, without those that all questions of the task have.
            image: (height, width, 3) or (height, width), whole numbers to 255 or floats in [0, 1]; a list of
                images where a question has several; None for none.
            audio: samples (n,), or log-mel (frames, bands) in [-1, 1]; a list for several; None for none.
            features: of a table's row, (features,); None for none.

        Raises:
            StudyFileError: the task is not asked so.
        """
        task = self._task
        if isinstance(task, TableTask):
            self._refuse(text != "" or image is not None or audio is not None or features is None, "features")
            prompt = task.tokenizer.encode(task.table.prompt)
            return sequence.observation(task.vocabulary, prompt=prompt, ids=task.ids_of(features))
        given = {IMAGE: image, AUDIO: audio}
        wanted = self._parts.patches
        senses = [SENSES[name] for name in wanted]
        asked = " and ".join([*(["text"] if self._parts.text else []), *senses])
        missing = {name for name, value in given.items() if value is not None} ^ set(senses)
        self._refuse(bool(missing) or features is not None or bool(text) != self._parts.text, asked)
        patches = {name: self._patches(name, given[SENSES[name]]) for name in wanted}
        for name, found in patches.items():
            if name != SOUND and len(found) not in wanted[name]:
                sizes = ", ".join(str(size) for size in sorted(wanted[name]))
                raise StudyFileError(
                    f"task '{task.name}' is asked with {sizes} patches of {SENSES[name]}, got {len(found)}"
                )
        words = task.tokenizer.encode(text) if text else ()
        return sequence.observation(task.vocabulary, prompt=words, patches=patches)

    def answer(self, ids: np.ndarray) -> str | float:
        """Ids of an answer -> its text, or a number where the task estimates one."""
        task = self._task
        if isinstance(task, AnswerTask):
            return task.tokenizer.decode(ids)
        bins = task.vocabulary.continuous_bins(ids)
        return float(values.decode(bins, task.vocabulary.bins, task.scale)[0])

    @cached_property
    def _parts(self) -> Parts:
        """What some training questions have."""
        assert isinstance(self._task, AnswerTask)
        examples = [self._task.example("train", index) for index in range(SAMPLED)]
        found: dict[str, set[int]] = {}
        for example in examples:
            for name, patches in example.patches.items():
                found.setdefault(name, set()).add(len(patches))
        return Parts(text=any(example.prompt for example in examples), patches=found)

    def _refuse(self, wrong: bool, asked: str) -> None:
        if wrong:
            raise StudyFileError(f"task '{self._task.name}' is asked with {asked}, and nothing else")

    def _patches(self, name: str, given: Any) -> np.ndarray:
        several = list(given) if isinstance(given, list | tuple) else [given]
        make = {IMAGE: self._image, PICTURE: self._picture, AUDIO: self._audio, SOUND: self._sound}[name]
        return np.concatenate([make(np.asarray(one)) for one in several])

    def _image(self, pixels: np.ndarray) -> np.ndarray:
        side = isqrt(self._task.suite.encoders[IMAGE] // CHANNELS)
        return image_patches(self._pixels(pixels, side), side)

    def _picture(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import Image

        from trainers.tasks.datasets.picture_views import cut, middle

        setting = self._task.suite.image
        assert setting is not None, "a suite has this encoder where it has the setting"
        levels = np.rint(self._pixels(pixels, 1) * 255).astype(np.uint8)
        return cut(middle(Image.fromarray(levels), setting), setting)

    def _sound(self, sound: np.ndarray) -> np.ndarray:
        from trainers.tasks.datasets import sound_views
        from trainers.tasks.datasets.pair_task import AddedPairs
        from trainers.tasks.datasets.sounds import KEPT_BANDS, KEPT_RATE, to_levels

        task, setting = self._task, self._task.suite.sound
        assert setting is not None, "a suite has this encoder where it has the setting"
        if sound.ndim == 1 and sound.dtype.kind == "f" and sound.size:
            longest = len(sound) / KEPT_RATE
            sound = to_levels(sound, KEPT_RATE, max(longest, setting.seconds))
        if sound.ndim != 2 or sound.shape[1] != KEPT_BANDS or sound.dtype != np.uint8 or not len(sound):
            raise StudyFileError(
                f"task '{task.name}' hears float samples (n,) at {KEPT_RATE} Hz, or levels"
                f" (frames, {KEPT_BANDS}) uint8, got {sound.dtype} of shape {sound.shape}"
            )
        if len(sound) > setting.frames and isinstance(task, AddedPairs):
            raise StudyFileError(
                f"task '{task.name}' hears sounds of {setting.seconds:g} s at most, got"
                f" {len(sound) / FRAMES_PER_SECOND:.1f} s"
            )
        return sound_views.cut(sound_views.loudest(sound, setting), setting)

    def _pixels(self, pixels: np.ndarray, side: int) -> np.ndarray:
        """An image (height, width, 3) in [0, 1], of sides that `side` divides."""
        task = self._task
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], CHANNELS, axis=2)
        tiled = (
            pixels.ndim == 3
            and pixels.size > 0
            and pixels.shape[2] == CHANNELS
            and not any(size % side for size in pixels.shape[:2])
        )
        if not tiled or pixels.dtype.kind not in "uif":
            sides = f" of sides that {side} divides" if side > 1 else ""
            raise StudyFileError(
                f"task '{task.name}' sees images (height, width, 3){sides},"
                f" got {pixels.dtype} of shape {pixels.shape}"
            )
        scaled = pixels if pixels.dtype.kind == "f" else pixels / 255
        if scaled.min() < 0 or scaled.max() > 1:
            raise StudyFileError(
                f"task '{task.name}' sees floats in [0, 1] or whole numbers to 255,"
                f" got {pixels.min():g} to {pixels.max():g}"
            )
        return scaled

    def _audio(self, sound: np.ndarray) -> np.ndarray:
        from trainers.tasks.datasets import sounds as added
        from trainers.tasks.datasets.pair_task import AddedPairs
        from trainers.tasks.datasets.tasks import LabelledSounds
        from trainers.tasks.families.sounds import tasks as shipped

        task = self._task
        bands = shipped.BANDS
        frames = task.suite.encoders[AUDIO] // bands
        how = added if isinstance(task, LabelledSounds | AddedPairs) else shipped
        if sound.ndim == 1 and sound.dtype.kind == "f" and len(sound) >= how.FRAME:
            sound = log_mel(sound, how.RATE, bands, how.FRAME, how.HOP, how.LIMITS)
        if sound.ndim != 2 or sound.shape[1] != bands or len(sound) % frames:
            raise StudyFileError(
                f"task '{task.name}' hears float samples (n,) at {how.RATE} Hz, or log-mel (frames, {bands})"
                f" with a multiple of {frames} frames, got {sound.dtype} of shape {sound.shape}"
            )
        return audio_patches(sound.astype(np.float32), frames)
