"""An export in use: it generates text, acts in environments and answers questions.

What it does equals what the evaluator (`pathfront eval`) makes it do in the same episodes.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from space.candidate import CandidateConfig
from space.errors import NotFoundError, StudyFileError, nearest
from space.recipe import CARD_FILE, Recipe
from space.scores import Scorecard
from trainers.data import load_corpora
from trainers.evaluate import ModelPolicy, Part, prompts
from trainers.exports.load import check_tokenizer, full_scorecard, load_decoder
from trainers.generate import generate
from trainers.model.decoder import Decoder
from trainers.runtime import autocast, torch_device
from trainers.tasks.base import ActionSpec, Task
from trainers.tasks.interface import ControlInterface, QuestionInterface
from trainers.tasks.registry import load_task
from trainers.tasks.tokenizer import suite_tokenizer
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk

MOST_NEW_TOKENS = 1_000_000


class _Turn(NamedTuple):
    """The part of a session that a policy uses."""

    spec: ActionSpec
    local: np.ndarray

    def action_local(self) -> np.ndarray:
        return self.local


class Episode:
    """One episode of a task of control; the policy remembers what it has seen and done.

    Args:
        policy: the policy.
        task: name of the task.
        number: of the episode; where episodes begin with a demonstration, it says with which.
    """

    def __init__(self, policy: "ExportedPolicy", task: str, number: int = 0) -> None:
        self._model = policy.player(task, number)
        self._model.begin(1)
        self._policy, self._task, self._number = policy, task, number
        self._begun = False

    def act(self, observation: Any) -> int | np.ndarray:
        """Choose the next action.

        Args:
            observation: as the task's environment gives it. Or a session of the task itself (own tasks too),
                for which the ids of the action are returned, as its `act` takes them.

        Returns:
            A choice, or floats in the environment's units, (size,).

        Raises:
            StudyFileError: the observation does not fit the task, or the task is not one of control.
        """
        if hasattr(observation, "observe") and hasattr(observation, "action_local"):
            return self._answer(observation.observe(), observation)
        control = self._policy.control(self._task)
        seen = control.observed(observation, first=not self._begun)
        local = sequence.action_local(seen, control.spec.length)
        return control.action(self._answer(seen, _Turn(control.spec, local)))

    def _answer(self, seen: Chunk, turn: Any) -> np.ndarray:
        self._begun = True
        with self._policy.precision():
            return self._model.act([self._number], [seen], [turn])[0]


class ExportedPolicy:
    """An export that is ready to use, made by `load_policy`.

    Attributes:
        folder: the export.
        recipe: the content of its `config.yaml`.
        decoder: the network, on its device.
    """

    def __init__(self, folder: Path, recipe: Recipe, decoder: Decoder) -> None:
        self.folder = folder
        self.recipe = recipe
        self.decoder = decoder.eval()
        self._tokenizer = suite_tokenizer(recipe.suite)
        self._episodes: dict[str, Episode] = {}
        self._numbers: dict[str, int] = {}
        self._load = cache(self._open)
        self.control: Callable[[str], ControlInterface] = cache(
            lambda task: ControlInterface(self.task(task))
        )
        self._question = cache(lambda task: QuestionInterface(self.task(task)))

    @property
    def config(self) -> CandidateConfig:
        """Architecture, mixture and learning rate."""
        return self.recipe.candidate

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that it was trained on."""
        return self.recipe.suite.tasks

    @property
    def card(self) -> str:
        """The text of the export's card; empty if it has none."""
        path = self.folder / CARD_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @property
    def scorecard(self) -> Scorecard | None:
        """Scores of the full training on the report episodes; None if there was none.

        Raises:
            CheckpointError: the training is not finished, or the scorecard is damaged.
        """
        return full_scorecard(self.folder)

    def generate(
        self, prompt: str = "", max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> str:
        """Continue a text.

        Args:
            prompt: the text; empty to begin one.
            max_new_tokens: SentencePiece pieces to generate at most.
            temperature: 0 takes the likeliest piece each time, 1 draws from the model's distribution.
            seed: of the draws.

        Returns:
            The continuation, without the prompt.

        Raises:
            StudyFileError: an argument is out of range, or the export was trained on no text.

        Example:
            >>> from search.api import load_export
            >>> policy = load_export("tiny-best")
            >>> text = policy.generate("def ", max_new_tokens=8)
            >>> text == policy.generate("def ", max_new_tokens=8)
            True
            >>> isinstance(policy.generate("def ", 8, temperature=1.0), str)
            True
        """
        if type(max_new_tokens) is not int or not 0 <= max_new_tokens <= MOST_NEW_TOKENS:
            raise StudyFileError(
                f"max_new_tokens: a whole number from 0 to {MOST_NEW_TOKENS}, got {max_new_tokens!r}"
            )
        if not 0 <= temperature < np.inf:
            raise StudyFileError(f"temperature: a number from 0, got {temperature!r}")
        if "text" not in {record.modality for record in self.recipe.suite.records.values()}:
            raise StudyFileError(f"generate: none of the tasks of '{self.folder}' is one of text")
        rng = np.random.default_rng(seed)
        pieces = self._tokenizer.encode(prompt)
        with self.precision():
            made = generate(self.decoder, pieces, max_new_tokens, temperature, rng)
        before = self._tokenizer.decode(pieces)  # decoded alone, the new pieces would lose a space in between
        return self._tokenizer.decode(np.concatenate([pieces, made]))[len(before) :]

    def act(self, task: str, observation: Any) -> int | np.ndarray:
        """Choose the next action in the task's present episode; `reset` begins another one.

        Args:
            task: a task of control.
            observation: as the task's environment gives it, such as a Gymnasium observation; see
                `Episode.act`.

        Returns:
            A choice, or floats in the environment's units, (size,). It lasts for
            `control(task).repeat` environment steps.

        Raises:
            NotFoundError: the export was not trained on that task.
            StudyFileError: the observation does not fit the task, or the task is not one of control.

        Example:
            >>> from gymnasium.envs.classic_control.cartpole import CartPoleEnv
            >>> from search.api import load_export
            >>> policy = load_export("tiny-best")
            >>> env = CartPoleEnv()
            >>> seen, _ = env.reset(seed=0)
            >>> policy.reset("cartpole")
            >>> for _ in range(3):
            ...     seen, *_ = env.step(policy.act("cartpole", seen))
            >>> policy.act("cartpole", seen[:3])
            Traceback (most recent call last):
            space.errors.StudyFileError: task 'cartpole' observes numbers of shape (4,), got ...
        """
        if task not in self._episodes:
            self.reset(task)
        return self._episodes[task].act(observation)

    def reset(self, task: str) -> None:
        """Begin a new episode of a task.

        Raises:
            NotFoundError: the export was not trained on that task.
        """
        number = self._numbers.get(task, -1) + 1
        self._episodes[task] = self.episode(task, number)
        self._numbers[task] = number

    def episode(self, task: str, number: int = 0) -> Episode:
        """An episode of its own, to play several side by side.

        Args:
            task: a task of control.
            number: of the episode.

        Raises:
            NotFoundError: the export was not trained on that task.
        """
        self.task(task)
        return Episode(self, task, number)

    def answer(
        self, task: str, text: str = "", *, image: Any = None, audio: Any = None, features: Any = None
    ) -> str | float:
        """Answer a question.

        Args:
            task: a task of questions.
            text: the question's words, such as "colour of circle"; none where all questions are the same.
            image: (height, width, 3) or (height, width), whole numbers to 255 or floats in [0, 1]; a list of
                images where a question has several.
            audio: samples (n,) at 8 kHz, or log-mel (frames, bands) in [-1, 1]; a list for several.
            features: of a table's row, (features,).

        Returns:
            The answer's text; a number where the task estimates one.

        Raises:
            NotFoundError: the export was not trained on that task.
            StudyFileError: the task is not asked so.

        Example:
            >>> import numpy as np
            >>> from search.api import load_export
            >>> policy = load_export("tiny-best")
            >>> policy.answer("digits", image=np.zeros((8, 8))) in [str(digit) for digit in range(10)]
            True
        """
        question = self._question(task)
        chunk = question.question(text, image, audio, features)
        local = question.local
        if local is None:
            local = sequence.action_local(chunk, question.spec.length)
        player = self.player(task)
        player.begin(1)
        turn: Any = _Turn(question.spec, local)
        with self.precision():
            ids = player.act([0], [chunk], [turn])[0]
        return question.answer(ids)

    def task(self, name: str) -> Task:
        """One of the tasks that it was trained on.

        Raises:
            NotFoundError: it is none of them, or cannot be found here.
        """
        return self._load(name)

    def player(self, task: str, number: int = 0) -> ModelPolicy:
        """A policy for episodes of a task up to a number, without memory of any."""
        suite = self.recipe.suite
        prompt = None
        if suite.prompted:
            part = Part(task, self.task(task), number + 1)
            prompt = prompts([part], "report", load_corpora(suite), suite.context // 2)
        return ModelPolicy(self.decoder, prompt)

    def precision(self) -> Any:
        """The context in which the network runs."""
        return autocast(self.decoder.device, self.recipe.precision)

    def _open(self, name: str) -> Task:
        if name not in self.tasks:
            raise NotFoundError(f"the export '{self.folder}' has no task '{name}'{nearest(name, self.tasks)}")
        return load_task(name, self.recipe.suite)


def load_policy(folder: Path, device: str = "auto") -> ExportedPolicy:
    """Load an export: the weights of its full training if there are any, else the exported ones.

    Args:
        folder: the export.
        device: "cpu", "cuda" or "auto".

    Raises:
        NotFoundError: the folder is not an export, or has no weights yet.
        CheckpointError: a file in the folder is missing or damaged, or its tokenizer is not the suite's.
        StudyFileError: there is no such kind of device.
        MachineError: there is no such device here.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise StudyFileError(f"device is auto, cpu or cuda, got {device!r}")
    recipe = Recipe.read(folder)
    check_tokenizer(folder, recipe)
    decoder = load_decoder(folder, recipe).to(torch_device(device))
    return ExportedPolicy(folder, recipe, decoder)
