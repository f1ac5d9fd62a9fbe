"""Optuna's study: one RUNNING trial for each attempt in progress, finished once with its result.

Only Optuna's public API is used, and never inside a transaction of the ledger. The ledger commits before
anything here is called; what a killed worker left undone is completed from the ledger.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row

from search.database.storage import optuna_storage, reachable
from space.errors import StorageError
from space.objectives import Objectives

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

LABEL = "pathfront:label"


class OptunaTrials:
    """The trials of one study in Optuna's tables.

    Args:
        url: the database's URL.
        study: the study's name; Optuna's study exists already.
    """

    def __init__(self, url: str, study: str) -> None:
        self._url = url
        self._name = study
        self._unsure = False  # whether the database stopped answering while a trial was added
        self._open()

    def create(
        self,
        label: str,
        params: Mapping[str, Any],
        distributions: Mapping[str, str],
        attrs: Mapping[str, Any],
    ) -> int:
        """Add a RUNNING trial with a label.

        Args:
            label: candidate, rung, seed and attempt; see `label_of`.
            params: Optuna's parameters.
            distributions: parameter -> Optuna's distribution as JSON.
            attrs: user attributes in addition to the label.

        Returns:
            The trial's number.

        Raises:
            StorageError: the trial cannot be added or found.
        """
        from optuna.distributions import json_to_distribution
        from optuna.trial import TrialState, create_trial

        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions={name: json_to_distribution(text) for name, text in distributions.items()},
            user_attrs={LABEL: label, **attrs},
        )
        if not self._unsure or label not in self.running():  # else an earlier try did add it
            self._unsure = True
            with reachable(self._url):
                self._study.add_trial(trial)
        running = self.running()
        self._unsure = False
        if label not in running:  # PostgreSQL may commit ids out of order, and Optuna's cache then skips one
            self.close()
            self._open()
            running = self.running()
        if label not in running:
            raise StorageError(f"Optuna's study '{self._name}' does not hold the trial '{label}' just added")
        return running[label]

    def running(self) -> dict[str, int]:
        """Label -> number of all RUNNING trials."""
        from optuna.trial import TrialState

        with reachable(self._url):
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {trial.user_attrs[LABEL]: trial.number for trial in trials if LABEL in trial.user_attrs}

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """End a trial; one that has ended already is not changed.

        Args:
            number: the trial's number.
            values: of the study's objectives for COMPLETE, None for FAIL.

        Raises:
            StorageError: the result cannot be reported.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        with reachable(self._url):
            try:
                self._study.tell(number, values, state=state, skip_if_finished=True)
            except (ValueError, UpdateFinishedTrialError):
                if self._is_running(number):
                    raise  # else another worker ended it at the same moment

    def _is_running(self, number: int) -> bool:
        return number in self.running().values()

    def _open(self) -> None:
        import optuna

        self._storage = optuna_storage(self._url)
        with reachable(self._url):
            sampler = optuna.samplers.RandomSampler()  # never used: candidates are proposed elsewhere
            self._study = optuna.load_study(study_name=self._name, storage=self._storage, sampler=sampler)

    def close(self) -> None:
        """Close the connections to the database."""
        close_storage(self._storage)


def untold_results(
    running: Mapping[str, int],
    known: Mapping[Any, Row[Any]],
    untold: Sequence[Row[Any]],
    costs: Mapping[str, Sequence[float]],
) -> Iterator[tuple[int, list[float] | None]]:
    """How trials ended that Optuna does not know about: attempts that ended, or that were taken over.

    Args:
        running: label -> number of Optuna's RUNNING trials.
        known: (candidate, rung, seed) -> row of the ledger, read after `running`.
        untold: rows of the ledger whose last attempt ended and is not marked as told.
        costs: candidate -> its costs that are objectives of the study.

    Yields:
        The number of a trial, and its values or None for a failure, as `OptunaTrials.tell` takes them.
    """
    for label, number in running.items():
        *key, attempt = attempt_of(label)
        row = known.get(tuple(key))
        if row is None or attempt > row.attempt or (attempt == row.attempt and row.state == "running"):
            continue
        yield number, _values(row, costs) if attempt == row.attempt else None
    for row in untold:  # most trials that are not RUNNING were told before; telling twice changes nothing
        if row.number is not None and row.number not in running.values():
            yield row.number, _values(row, costs)


def candidates_of(labels: Iterable[str]) -> set[str]:
    """The candidates that labels name."""
    return {attempt_of(label)[0] for label in labels}


def _values(row: Row[Any], costs: Mapping[str, Sequence[float]]) -> list[float] | None:
    """Optuna's values of a trial whose last attempt was scored; None where it was not."""
    return [row.score, *costs[row.candidate]] if row.state == "done" else None


def label_of(candidate: str, rung: int, seed: int, attempt: int) -> str:
    """The label of an attempt in Optuna's study."""
    return f"{candidate}/{rung}/{seed}/{attempt}"


def attempt_of(label: str) -> tuple[str, int, int, int]:
    """Candidate, rung, seed and attempt that a label names."""
    candidate, rung, seed, attempt = label.split("/")
    return candidate, int(rung), int(seed), int(attempt)


def close_storage(storage: "RDBStorage") -> None:
    """Close a storage's connections."""
    storage.remove_session()
    storage.engine.dispose()


def create_study(storage: "RDBStorage", study: str, objectives: Objectives) -> None:
    """Create Optuna's study, if it does not exist.

    A study without trials is made again if it has other objectives: its specification may still change. It
    has no names of them where a launcher was killed before it set them.
    """
    import warnings

    import optuna

    names, directions = list(objectives.names), list[Any](objectives.directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # metric names
        if has_study(storage, study):
            known = optuna.load_study(study_name=study, storage=storage)
            same = len(known.directions) == len(directions) and known.metric_names in (None, names)
            if not same and not known.get_trials():
                optuna.delete_study(study_name=study, storage=storage)
        made = optuna.create_study(
            study_name=study, storage=storage, directions=directions, load_if_exists=True
        )
        if made.metric_names is None:
            made.set_metric_names(names)


def has_study(storage: "RDBStorage", study: str) -> bool:
    """Whether Optuna has a study of this name."""
    import optuna

    return study in optuna.get_all_study_names(storage)


def delete_study(storage: "RDBStorage", study: str) -> None:
    """Delete Optuna's study with all its trials, if it exists."""
    import optuna

    if has_study(storage, study):
        optuna.delete_study(study_name=study, storage=storage)
