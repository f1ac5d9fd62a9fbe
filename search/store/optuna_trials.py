"""The study as Optuna sees it: one RUNNING trial for each attempt under way, told once how it ended.

Only Optuna's public API is used, and never inside a transaction of ours. The ledger has always committed
before anything here is called; whatever a killed worker left undone here is mended from the ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row

from search.database.storage import optuna_storage, reachable
from space.errors import StorageError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

LABEL = "pathfront:label"
METRICS = ("score", "flops_per_token")
DIRECTIONS = ("maximize", "minimize")


class OptunaTrials:
    """The trials of one study in Optuna's tables.

    Args:
        url: the database's URL.
        study: the study's name; Optuna's study exists already.
    """

    def __init__(self, url: str, study: str) -> None:
        self._url = url
        self._name = study
        self._unsure = False  # whether the last trial was added, since the database stopped answering
        self._open()

    def create(
        self,
        label: str,
        params: Mapping[str, Any],
        distributions: Mapping[str, str],
        attrs: Mapping[str, Any],
    ) -> int:
        """Add a RUNNING trial that bears a label.

        Args:
            label: names candidate, rung, seed and attempt.
            params: Optuna's parameters.
            distributions: parameter -> Optuna's distribution as JSON.
            attrs: user attributes beside the label.

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
        if not self._unsure or label not in self.running():  # else an earlier try has added it after all
            self._unsure = True
            with reachable(self._url):
                self._study.add_trial(trial)
        running = self.running()
        self._unsure = False
        if (
            label not in running
        ):  # trial ids of PostgreSQL may commit out of order, and Optuna's cache skips one
            self.close()
            self._open()
            running = self.running()
        if label not in running:
            raise StorageError(f"Optuna's study '{self._name}' does not hold the trial '{label}' just added")
        return running[label]

    def running(self) -> dict[str, int]:
        """Label -> number of the trials that are RUNNING."""
        from optuna.trial import TrialState

        with reachable(self._url):
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {trial.user_attrs[LABEL]: trial.number for trial in trials if LABEL in trial.user_attrs}

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """End a trial: COMPLETE with values, FAIL with None; one that has ended already stays as it is.

        Raises:
            StorageError: the trial cannot be told.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        with reachable(self._url):
            try:
                self._study.tell(number, values, state=state, skip_if_finished=True)
            except (ValueError, UpdateFinishedTrialError):
                if self._is_running(number):
                    raise  # else another worker told it in the same moment

    def mend(
        self, untold: Sequence[Row[Any]], trials_of: Callable[[set[str]], Mapping[Any, Row[Any]]]
    ) -> None:
        """Tell how attempts ended of which Optuna does not know it, and which were taken over.

        Args:
            untold: rows of the ledger whose last attempt ended and was not told.
            trials_of: candidates -> rows of their trials by (candidate, rung, seed); asked after Optuna was.

        Raises:
            StorageError: a trial cannot be told.
        """
        running = self.running()
        known = trials_of({attempt_of(label)[0] for label in running})
        for label, number in running.items():
            *key, attempt = attempt_of(label)
            row = known.get(tuple(key))
            if row is None or attempt > row.attempt or (attempt == row.attempt and row.state == "running"):
                continue
            self.tell(number, _values(row) if attempt == row.attempt else None)
        for row in untold:  # whose trial Optuna does not list as RUNNING: most likely told before
            if row.number is not None and row.number not in running.values():
                self.tell(row.number, _values(row))

    def _is_running(self, number: int) -> bool:
        return number in self.running().values()

    def _open(self) -> None:
        import optuna

        self._storage = optuna_storage(self._url)
        with reachable(self._url):
            sampler = optuna.samplers.RandomSampler()  # never asked: proposals are not made here
            self._study = optuna.load_study(study_name=self._name, storage=self._storage, sampler=sampler)

    def close(self) -> None:
        """Let the database go."""
        close_storage(self._storage)


def _values(row: Row[Any]) -> list[float] | None:
    """What Optuna is told of a trial's last attempt: its values, or None where it failed."""
    return [row.score, row.flops_per_token] if row.state == "done" else None


def label_of(candidate: str, rung: int, seed: int, attempt: int) -> str:
    """What names an attempt in Optuna's study."""
    return f"{candidate}/{rung}/{seed}/{attempt}"


def attempt_of(label: str) -> tuple[str, int, int, int]:
    """Candidate, rung, seed and attempt of a label."""
    candidate, rung, seed, attempt = label.split("/")
    return candidate, int(rung), int(seed), int(attempt)


def close_storage(storage: "RDBStorage") -> None:
    """Close a storage's connections."""
    storage.remove_session()
    storage.engine.dispose()


def create_study(storage: "RDBStorage", study: str) -> None:
    """Create Optuna's study in its tables, if it is not there."""
    import warnings

    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # metric names
        made = optuna.create_study(
            study_name=study, storage=storage, directions=list(DIRECTIONS), load_if_exists=True
        )
        if made.metric_names is None:
            made.set_metric_names(list(METRICS))


def has_study(storage: "RDBStorage", study: str) -> bool:
    """Whether Optuna's tables hold a study of this name."""
    import optuna

    return study in optuna.get_all_study_names(storage)


def delete_study(storage: "RDBStorage", study: str) -> None:
    """Delete Optuna's study with all its trials; nothing happens if there is none."""
    import optuna

    if has_study(storage, study):
        optuna.delete_study(study_name=study, storage=storage)
