"""Pathfront from Python: launch a study, read it, export a trial, use an export.

The command line is a thin layer over these functions. They raise the exceptions of `space.errors`, with the
messages that the command line prints.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from search.database.storage import resolve_url
from search.read.frame import trial_frame
from search.read.remarks import no_front
from search.read.results import Reader
from search.read.rows import FrontRow, StudyStatus, TrialDetail, TrialRow
from space.errors import NotFoundError, StudyFileError
from space.growth import TargetSize
from space.recipe import Recipe
from space.records import SuiteRecord
from space.start import read_given
from space.study import MOST_WORKERS, StudyConfig, parse, read_study

if TYPE_CHECKING:
    from pandas import DataFrame

    from trainers.exports.policy import ExportedPolicy

MOST_TRIALS = 2**31 - 1  # largest 32-bit integer of a database

Progress = Callable[[StudyStatus], object]


def launch(
    study: Mapping[str, Any] | str | Path,
    *,
    storage: str | None = None,
    artifacts: str | Path | None = None,
    workers: int | None = None,
    engine: str | None = None,
    warm_from: str | None = None,
    accept_changes: bool = False,
    progress: bool | Progress = True,
) -> "Study":
    """Run a study on this machine, or resume it, until it ends.

    Ctrl-C, in a notebook too, lets running trials reach a checkpoint; a second one stops at once. The same
    call resumes the study. Outside the main thread, signals are left alone.

    Args:
        study: the keys of a study file, the path of one, or the name of one that ships.
        storage: URL of the database; else `PATHFRONT_STORAGE`, else `sqlite:///pathfront.db`.
        artifacts: where checkpoints are stored; else `PATHFRONT_ARTIFACTS`, else beside the database.
        workers: trials side by side; else the study's.
        engine: where workers run, a name or `package.module:Class`; else the study's.
        warm_from: another study of the database, whose scores are a prior of this one.
        accept_changes: whether to resume even if data or code differ from earlier trials.
        progress: True shows progress on stderr, False nothing; a function is called with the study's status
            about twice a second.

    Returns:
        The study, which has ended. Its front is empty if no candidate is above its floor.

    Raises:
        StudyFileError: the study breaks a rule, or differs from a stored one of the same name.
        NotFoundError: there is no such file, task or module.
        StorageError: the database or the artifacts cannot be used.
        Interrupted: Ctrl-C or SIGTERM stopped it; it is saved at checkpoints.
        PathfrontError: it cannot be run, or was halted because its first trials all failed alike.

    Example:
        >>> tiny = {
        ...     "study": "tiny",
        ...     "suite": ["python-docs", "digits", "cartpole"],
        ...     "space": {"depth": 1, "width": {"choices": [32, 48]}, "experts": {"choices": [1, 2]}},
        ...     "rungs": {"tokens": [16_384]},
        ...     "stop": {"candidates": 2},
        ... }
        >>> study = launch(tiny, workers=1, progress=False)
        >>> len(study)
        2
        >>> launch(tiny, progress=False).status().finished  # nothing is left to do
        True
        >>> launch({**tiny, "rung": 1})
        Traceback (most recent call last):
        space.errors.StudyFileError: rung: unknown key; did you mean 'rungs'?
    """
    from search.engines.engines import with_engine
    from search.operations.launch import run_study
    from search.operations.warm import warmed

    if workers is not None and (type(workers) is not int or not 1 <= workers <= MOST_WORKERS):
        raise StudyFileError(f"workers: a whole number from 1 to {MOST_WORKERS}, got {workers!r}")
    url = resolve_url(storage)
    config = warmed(with_engine(_config(study, url), engine), warm_from, url)
    told = progress if callable(progress) else None

    def tick(reader: Reader) -> None:
        if told is not None:
            told(reader.status(config.study))

    place = None if artifacts is None else str(artifacts)
    reader = run_study(config, url, workers, place, accept_changes, tick, quiet=progress is not True)
    return Study(reader, config.study)


def open_study(name: str, storage: str | None = None) -> "Study":
    """Open a study to read it, also while it runs; nothing is written or created.

    Args:
        name: the study.
        storage: URL of the database; else `PATHFRONT_STORAGE`, else `sqlite:///pathfront.db`.

    Raises:
        NotFoundError: there is no such database or study.
        StorageError: the database cannot be reached, or another version of Pathfront wrote it.

    Example:
        >>> with open_study("tiny") as study:
        ...     for trial in study:
        ...         print(trial.number, trial.state, trial.score is not None)
        0 done True
        1 done True
    """
    reader = Reader(resolve_url(storage))
    try:
        reader.config(name)
    except BaseException:
        reader.close()
        raise
    return Study(reader, name)


def load_export(folder: str | Path, device: str = "auto") -> "ExportedPolicy":
    """Load an export to use it: the weights of its full training if there are any, else the exported ones.

    Nothing is unpickled.

    Args:
        folder: a folder that `Study.export` or `pathfront export` wrote.
        device: "cpu", "cuda" or "auto".

    Returns:
        A policy that generates text, acts and answers; see `trainers.exports.policy`.

    Raises:
        NotFoundError: it is no export, or a larger model that is not trained yet.
        CheckpointError: a file is damaged, or its tokenizer is not that of this installation.
        MachineError: there is no such device.

    Example:
        >>> policy = load_export("tiny-best")
        >>> policy.tasks
        ('python-docs', 'digits', 'cartpole')
    """
    from trainers.exports.policy import load_policy

    return load_policy(Path(folder), device)


class Study:
    """A study in a database, to be read; made by `open_study` and `launch`.

    Every call reads what the database holds at that moment. Iteration gives the trials, and `len` counts
    them. As a context manager it closes its connections at the end of the block.

    Attributes:
        name: the study's.
        reader: the database.
    """

    def __init__(self, reader: Reader, name: str) -> None:
        self.reader = reader
        self.name = name

    def __enter__(self) -> Self:
        """Keep the connections for the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def __iter__(self) -> Iterator[TrialRow]:
        return iter(self.trials())

    def __len__(self) -> int:
        return len(self.trials())

    def __repr__(self) -> str:
        return f"<study '{self.name}'>"

    def close(self) -> None:
        """Close the connections to the database."""
        self.reader.close()

    @property
    def url(self) -> str:
        """URL of the database."""
        return self.reader.url

    @property
    def config(self) -> StudyConfig:
        """The study's configuration, as its study file has it."""
        return self.reader.config(self.name)

    @property
    def suite(self) -> SuiteRecord:
        """The tasks, with the references that were frozen when the study was created."""
        return self.reader.suite(self.name)

    @property
    def best(self) -> FrontRow:
        """The candidate with the best score on the front.

        Raises:
            NotFoundError: the front is empty; the message says why.
        """
        front = self.front()
        if not front:
            raise NotFoundError(no_front(self.reader, self.name))
        return front[0]

    def status(self) -> StudyStatus:
        """Progress, workers, failures and compute.

        Example:
            >>> open_study("tiny").status().candidates
            2
        """
        return self.reader.status(self.name)

    def trials(self) -> list[TrialRow]:
        """All trials by number; those that have none yet are left out."""
        return self.reader.trials(self.name)

    def trial(self, number: int) -> TrialDetail:
        """All details of one trial: configuration, scores, curves, checkpoints.

        Raises:
            StudyFileError: it is no number of a trial.
            NotFoundError: there is no such trial.

        Example:
            >>> sorted(open_study("tiny").trial(0).tasks)
            ['cartpole', 'digits', 'python-docs']
        """
        return self.reader.trial(self.name, _number(number))

    def front(self, max_flops: float | None = None) -> list[FrontRow]:
        """The Pareto front of score and FLOPs per token, best score first.

        Args:
            max_flops: only candidates of at most that many FLOPs per token.

        Example:
            >>> front = open_study("tiny").front()
            >>> [row.score for row in front] == sorted((row.score for row in front), reverse=True)
            True
        """
        return self.reader.front(self.name, max_flops)

    def to_frame(self) -> "DataFrame":
        """The trials as a pandas DataFrame, indexed by number.

        Its columns are those of `trials`, one a knob (`space.NAME`), one a share of the input tokens
        (`mixture.TASK`) and one a fraction of the expert (`task.TASK`; NaN until the trial is done).

        Example:
            >>> frame = open_study("tiny").to_frame()
            >>> frame[["space.depth", "mixture.digits", "task.cartpole"]].shape
            (2, 3)
        """
        rows, suite = self.trials(), self.suite
        scores = self.reader.task_scores(self.name, [row.number for row in rows])
        return trial_frame(rows, scores, self.reader.candidates(self.name), suite.tasks)

    def export(
        self,
        folder: str | Path,
        pick: str | int = "best",
        *,
        max_flops: float | None = None,
        hf: bool = False,
    ) -> "Export":
        """Export a trial as a folder for full training, or for `load_export`.

        Args:
            folder: the new folder; it must not exist.
            pick: "best" or "knee" of the front, or the number of a done trial.
            max_flops: pick only among candidates of at most that many FLOPs per token.
            hf: whether to add a folder for transformers.

        Raises:
            StudyFileError: the arguments contradict each other, or the folder exists.
            MachineError: the folder cannot be made.
            NotFoundError: there is no such trial, or the front is empty.
            CheckpointError: the trial's weights are damaged, or it has none.
            StorageError: its weights are missing, or their store cannot be reached.

        Example:
            >>> export = open_study("tiny").export("tiny-best", pick=1)
            >>> export.recipe.origin.trial
            1
        """
        from search.operations.export import export_trial

        named, trial = (pick, None) if isinstance(pick, str) else (None, _number(pick))
        export_trial(self.reader, self.name, Path(folder), named, trial, max_flops, hf)
        return Export(Path(folder))

    def export_larger(
        self,
        folder: str | Path,
        size: TargetSize,
        pick: str | int = "best",
        *,
        tokens: int | None = None,
        max_flops: float | None = None,
    ) -> "Export":
        """Export a larger model of a trial's shape, without weights, with its predicted score.

        Args:
            folder: the new folder; it must not exist.
            size: of the larger model: FLOPs per token, or a multiple of the trial's.
            pick: "best" or "knee" of the front, or the number of a done trial.
            tokens: input tokens at which its score is predicted; else 1, 3 and 10 times the trial's.
            max_flops: pick only among candidates of at most that many FLOPs per token.

        Raises:
            StudyFileError: the arguments contradict each other, the folder exists, or the size cannot be met.
            MachineError: the folder cannot be made.
            NotFoundError: there is no such trial, or the front is empty.

        Example:
            >>> from space.growth import TargetSize
            >>> larger = open_study("tiny").export_larger("tiny-4x", TargetSize(4, relative=True), pick=1)
            >>> larger.recipe.grown.factor > 2
            True
        """
        from search.operations.export import export_larger

        named, trial = (pick, None) if isinstance(pick, str) else (None, _number(pick))
        export_larger(self.reader, self.name, Path(folder), size, tokens, named, trial, max_flops)
        return Export(Path(folder))


@dataclass(frozen=True)
class Export:
    """A folder that an export was written to."""

    folder: Path

    @property
    def recipe(self) -> Recipe:
        """The content of its `config.yaml`: candidate, suite, and the trial that it comes from."""
        return Recipe.read(self.folder)

    def load(self, device: str = "auto") -> "ExportedPolicy":
        """Load it; see `load_export`."""
        return load_export(self.folder, device)


def _config(study: Mapping[str, Any] | str | Path, url: str) -> StudyConfig:
    """Read and check a study: keys, a file, or the name of one that ships."""
    from search.operations.tokenizers import resolving

    resolve = resolving(url)
    if not isinstance(study, Mapping):
        return read_study(str(study), resolve)
    data = read_given(study, Path(), StudyFileError)
    config = parse(StudyConfig, resolve(data, StudyFileError), StudyFileError)
    config.check()
    return config


def _number(trial: int) -> int:
    """A trial's number, checked.

    Raises:
        StudyFileError: it cannot be one.
    """
    if type(trial) is bool or not hasattr(trial, "__index__") or not 0 <= trial <= MOST_TRIALS:
        raise StudyFileError(f"a trial is a whole number from 0 to {MOST_TRIALS}, got {trial!r}")
    return trial.__index__()
