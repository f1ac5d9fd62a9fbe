"""One log per candidate and seed, continued when a trial resumes: curve, scores and hyperparameters.

The losses of the trunk are `loss` and `loss/<task>`, those of a decay branch `decay/loss` and
`decay/loss/<task>`; each rung ends with `score`, `score_stderr`, `score/<task>` and `score/domain/<domain>`.
The step is the optimizer's, counted over the candidate's whole life.
"""

import csv
import inspect
import io
import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from space.candidate import CandidateConfig
from space.contract import Budget
from space.cost import price
from space.errors import StudyFileError, nearest, one_line
from space.files import write_atomically
from space.plugins import load_object
from space.records import SuiteRecord
from space.scores import Scorecard
from trainers.lightning import CSVLogger, Logger, TensorBoardLogger
from trainers.module import Schedule

LOGGERS = ("csv", "none", "tensorboard")
RESUMES = ("version", "run_id", "id", "experiment_key")  # arguments by which loggers take up a run
ENDS = ("finish", "end")  # methods by which trackers close a run
METRICS_FILE, HYPERPARAMETERS_FILE = "metrics.csv", "hparams.yaml"


class CsvLog(Logger):
    """`metrics.csv` and `hparams.yaml` in a folder; unlike Lightning's own it appends to existing files.

    Args:
        folder: where the two files go.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._waiting: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """Empty: the folder identifies the run."""
        return ""

    @property
    def version(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def log_dir(self) -> str:
        """Where the files are."""
        return str(self.folder)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write `hparams.yaml`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values = dict(params) if isinstance(params, dict) else vars(params)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_atomically(self.folder / HYPERPARAMETERS_FILE, text)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row, which `save` writes."""
        self._waiting.append({"step": step, **metrics})

    def save(self) -> None:
        """Write pending rows; if there are new columns, rewrite the file."""
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, []
        path = self.folder / METRICS_FILE
        known = _columns(path)
        columns = list(dict.fromkeys([*known, *(name for row in rows for name in row)]))
        if columns != known:
            self._rewrite([*_rows(path), *rows], columns)
            return
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, columns).writerows(rows)

    def forget(self, stays: Callable[[dict[str, str]], bool]) -> None:
        """Drop rows that will be written again, and a truncated last row."""
        path = self.folder / METRICS_FILE
        if path.is_file():
            self._rewrite([row for row in _rows(path) if stays(row)], _columns(path))

    def _rewrite(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / METRICS_FILE, text.getvalue())


def _columns(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def _rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and None not in row]


def make_logger(budget: Budget) -> Logger | bool:
    """The Lightning logger that a budget names, of the run of its log folder and seed; False for none.

    Raises:
        StudyFileError: there is no such logger, it cannot be made, or it has no folder to write to.
    """
    if budget.logger == "none":
        return False
    if budget.log_dir is None:
        raise StudyFileError(f"logger: '{budget.logger}' writes to a folder, and the trial has none")
    folder, run = Path(budget.log_dir), f"seed{budget.seed}"
    kind = None if budget.logger in LOGGERS else _logger_class(budget.logger)
    try:
        if budget.logger == "csv" or kind is CSVLogger:
            return CsvLog(folder / run)
        if budget.logger == "tensorboard" or kind is TensorBoardLogger:
            return TensorBoardLogger(folder, name="", version=run, default_hp_metric=False)
        assert kind is not None, "the other loggers are classes"
        return kind(save_dir=str(folder), **_taken_up(kind, folder / f"{run}.json"))
    except (ImportError, TypeError) as error:
        raise StudyFileError(f"logger: '{budget.logger}' cannot be made: {one_line(error)}") from None


def _taken_up(kind: Callable[..., Logger], note: Path) -> dict[str, Any]:
    """The argument that makes a logger continue the run of an earlier attempt."""
    if not note.is_file():
        return {}
    known = inspect.signature(kind).parameters
    name = next((name for name in RESUMES if name in known), None)
    return {} if name is None else {name: json.loads(note.read_text(encoding="utf-8"))["version"]}


def _logger_class(path: str) -> Callable[..., Logger]:
    """The class at `package.module.Class` or `package.module:Class`."""
    rule = f"logger: one of {', '.join(LOGGERS)}, or the path of a Lightning logger's class"
    module, _, name = path.replace(":", ".").rpartition(".")
    if not module:
        raise StudyFileError(f"{rule}, got '{path}'{nearest(path, LOGGERS)}")
    found = load_object(f"{module}:{name}", rule, StudyFileError)
    if not (isinstance(found, type) and issubclass(found, Logger)):
        raise StudyFileError(f"{rule}, got '{path}'")
    return found


class RunLog:
    """The log of one attempt at a trial; a context that closes the tracker's run at its end.

    Args:
        candidate: what is trained.
        suite: what on.
        budget: names the logger and its folder.

    Raises:
        StudyFileError: there is no such logger, it cannot be made, or it has no folder to write to.
    """

    def __init__(self, candidate: CandidateConfig, suite: SuiteRecord, budget: Budget) -> None:
        self.logger = make_logger(budget)
        self._budget = budget
        self._hyperparameters = hyperparameters(candidate, suite, budget)

    def start(self, schedule: Schedule, step: int) -> None:
        """Write the hyperparameters, and drop what an earlier attempt has logged after a step."""
        logger = self.logger
        if not isinstance(logger, Logger):
            return
        if isinstance(logger, CsvLog):
            logger.forget(lambda row: _stays(row, schedule, step))
        logger.log_hyperparams(self._hyperparameters)
        if not isinstance(logger, CsvLog | TensorBoardLogger):
            assert self._budget.log_dir is not None, "a logger has a folder"
            note = Path(self._budget.log_dir) / f"seed{self._budget.seed}.json"
            note.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(note, json.dumps({"version": logger.version}))

    def scores(self, card: Scorecard, step: int) -> None:
        """Write the scores that a trial ends with."""
        logger = self.logger
        if not isinstance(logger, Logger):
            return
        values = {"score": card.score, "score_stderr": card.stderr}
        values |= {f"score/domain/{name}": value for name, value in card.domains.items()}
        values |= {f"score/{name}": task.fraction for name, task in card.tasks.items()}
        logger.log_metrics(values, step)
        if isinstance(logger, TensorBoardLogger):  # its table of hyperparameters wants a result beside them
            logger.log_hyperparams(self._hyperparameters, {"score": card.score}, step)
        logger.save()
        logger.finalize("success")

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close a tracker's run, so that the next trial of this process opens one of its own."""
        if not isinstance(self.logger, Logger) or isinstance(self.logger, CsvLog | TensorBoardLogger):
            return
        experiment = getattr(self.logger, "experiment", None)
        for name in ENDS:
            end = getattr(experiment, name, None)
            if callable(end):
                end()
                return


def hyperparameters(candidate: CandidateConfig, suite: SuiteRecord, budget: Budget) -> dict[str, Any]:
    """Hyperparameters of a candidate as flat names and plain values."""
    cost = price(candidate.architecture, suite)
    return {
        "candidate": candidate.id,
        **candidate.architecture.model_dump(mode="json"),
        **candidate.model_dump(mode="json", exclude={"architecture", "mixture"}),
        **{f"mixture/{name}": weight for name, weight in candidate.mixture.weights.items()},
        "suite": suite.name,
        "seed": budget.seed,
        "precision": budget.precision,
        "flops_per_token": cost.flops_per_token,
        "active_params": cost.active_params,
        "total_params": cost.total_params,
    }


def _stays(row: Mapping[str, str], schedule: Schedule, start: int) -> bool:
    """Whether a row belongs to steps that an attempt from a step on does not repeat."""
    step = int(row["step"])
    if row.get("score"):
        return step < schedule.steps
    if row.get("decay/loss"):  # those of earlier rungs stay
        return step <= max(start, schedule.trunk_steps)
    return step <= start
