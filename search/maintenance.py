"""Change a study between its launches: allow failed trials to be tried again, or delete the study.

Both change only what no worker holds. A deletion that was interrupted is finished by the next one: files are
deleted first, while the rows that name them still exist, and the study's own row last.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, and_, delete, func, inspect, select, update

from search.database import tables
from search.database.storage import artifacts_home, open_writer, optuna_storage, reachable, settle, shown
from search.database.tables import candidates, checkpoints, studies, trials
from search.read import queries
from search.read.rows import WorkerRow
from search.store.artifacts import located
from search.store.claims import KEY
from search.store.events import add_event
from search.store.ledger import REOPENED, step
from search.store.optuna_trials import close_storage, delete_study, has_study
from search.store.removal import StudyRemoval, exists
from search.store.studies import DELETING, load_study
from space.errors import NotFoundError, PathfrontError, StorageError, StudyFileError, nearest
from space.words import counted

OPTUNAS = "studies"  # Optuna's table; only whether it exists is read
_ROWS = (
    *("events", "curves", "routing", "task_scores", "checkpoints", "trials"),
    *("confirmations", "candidates", "workers", "tokenizers"),
)


@dataclass(frozen=True)
class Retried:
    """What a retry changed.

    Attributes:
        trials: failed trials that may be tried again.
        forgotten: checkpoints without files whose rows were deleted.
        opened: whether the study was halted or finished, and resumes at its next launch.
    """

    trials: int
    forgotten: int
    opened: bool


@dataclass(frozen=True)
class Deleted:
    """What a deletion freed.

    Attributes:
        trials: how many there were.
        files: of the study, its logs included.
        bytes: their size.
        left: folders that were kept, since files in them may belong to another study.
    """

    trials: int
    files: int
    bytes: int
    left: tuple[str, ...]


def retry(url: str, study: str, number: int | None = None, forget_checkpoints: bool = False) -> Retried:
    """Allow trials that failed permanently to be tried again; running ones are never changed.

    Args:
        url: the database's URL.
        study: name of the study.
        number: of one trial; None for all.
        forget_checkpoints: also delete the rows of checkpoints without files; their trials start over.

    Raises:
        NotFoundError: there is no such study or trial.
        StudyFileError: the named trial did not fail.
        PathfrontError: rows of checkpoints would be deleted while a worker is alive.
        StorageError: the database or the artifacts cannot be used.
    """
    engine = open_writer(url, create=False)
    try:
        with reachable(url):
            load_study(engine, url, study)
            with engine.connect() as connection:
                alive = queries.alive_workers(connection, study)
                if number is not None:
                    _require_failed(connection, study, number)
            if alive and forget_checkpoints:
                raise PathfrontError(
                    f"rows of checkpoints are deleted while no worker is alive, and {_are(alive)}"
                )
            gone = _gone(engine, url, study) if forget_checkpoints else None
            return _retry(engine, study, number, gone, alive)
    finally:
        engine.dispose()


def _require_failed(connection: Connection, study: str, number: int) -> None:
    state = connection.scalar(
        select(queries.state_now).where(trials.c.study == study, trials.c.number == number)
    )
    if state is None:
        raise NotFoundError(
            f"study '{study}' has no trial {number}{queries.numbers(connection, study, number)}"
        )
    if state != "failed":
        raise StudyFileError(f"only a failed trial can be tried again, and trial {number} is {state}")


def _retry(
    engine: Engine,
    study: str,
    number: int | None,
    gone: list[dict[str, object]] | None,
    alive: list[WorkerRow],
) -> Retried:
    failed = and_(trials.c.study == study, trials.c.state == "failed", trials.c.final)
    if number is not None:
        failed = and_(failed, trials.c.number == number)
    of_study = studies.c.name == study
    with engine.begin() as connection:
        searched = connection.execute(
            select(trials.c.number).where(failed, trials.c.split == "select")
        ).first()
        changed = connection.execute(update(trials).where(failed).values(REOPENED)).rowcount
        for row in gone or ():
            connection.execute(delete(checkpoints).filter_by(**row))
        closed = and_(of_study, studies.c.halted.is_not(None) | studies.c.finished_at.is_not(None))
        halted = and_(of_study, studies.c.halted.is_not(None))
        reopens = closed if changed or gone else halted
        values = {"halted": None, "finished_at": None}
        if changed and searched is None and not gone:  # confirmations only: a finished search stays finished
            values = {"halted": None, "confirming": True}
        opened = connection.execute(update(studies).where(reopens).values(values)).rowcount
        if not alive and (changed or gone or opened):
            connection.execute(update(studies).where(of_study).values(stop_requested=False))
        if changed:
            add_event(connection, study, "retried", f"{counted(changed, 'failed trial')} may be tried again")
        if gone is not None:
            text = f"{counted(len(gone), 'checkpoint')} removed from the database: their files are gone"
            add_event(connection, study, "forgot", text)
    return Retried(changed, len(gone or ()), bool(opened))


def _gone(engine: Engine, url: str, study: str) -> list[dict[str, object]]:
    """Keys of the checkpoints without files."""
    key = [checkpoints.c[name] for name in (*KEY, "kind", "tokens")]
    with engine.connect() as connection:
        rows = connection.execute(select(*key, checkpoints.c.uri).where(checkpoints.c.study == study)).all()
    home = artifacts_home(url)
    missing = [row for row in rows if not exists(located(row.uri, home))]
    return [{column.name: getattr(row, column.name) for column in key} for row in missing]


@dataclass(frozen=True)
class Deletion:
    """A study that may be deleted, and what is deleted with it."""

    study: str
    candidates: int
    trials: int
    files: StudyRemoval


def plan_deletion(url: str, study: str, artifacts: str, forget_checkpoints: bool = False) -> Deletion:
    """Find what a deletion would delete, after its checks; nothing is changed.

    Args:
        url: the database's URL.
        study: name of the study.
        artifacts: where its checkpoints go; finds the logs of a study without checkpoints.
        forget_checkpoints: whether its files may be deleted already.

    Raises:
        NotFoundError: there is no such study.
        StudyFileError: it is not one of Pathfront's.
        PathfrontError: a worker of it is alive.
        StorageError: the database or the artifacts cannot be used, or its files are missing.
    """
    engine = open_writer(url, create=False)
    try:
        with reachable(url):
            _require(engine, url, study)
            with engine.connect() as connection:
                _require_idle(connection, study)
                counts = [
                    connection.scalar(select(func.count()).select_from(table).where(table.c.study == study))
                    for table in (candidates, trials)
                ]
                uris = list(connection.scalars(select(checkpoints.c.uri).where(checkpoints.c.study == study)))
                row = connection.execute(
                    select(studies.c.artifacts_id, studies.c.halted).where(studies.c.name == study)
                ).one()
    finally:
        engine.dispose()
    home = artifacts_home(url)
    files = StudyRemoval(study, row.artifacts_id, artifacts, [located(uri, home) for uri in uris])
    missing = files.missing()
    if missing and not forget_checkpoints and row.halted != DELETING:
        raise StorageError(
            f"the {counted(len(uris), 'checkpoint')} of study '{study}' lay in '{missing[0]}', and it is not"
            " there: bring it back, or add --forget-checkpoints if it is deleted already"
        )
    return Deletion(study, counts[0] or 0, counts[1] or 0, files)


def delete_all(url: str, what: Deletion) -> Deleted:
    """Delete a study: its files, Optuna's study, its rows.

    Raises:
        PathfrontError: a worker of it is alive.
        StorageError: the database or the artifacts cannot be used; the same call resumes the deletion.
    """
    engine = open_writer(url, create=False)
    try:
        with reachable(url):
            with engine.begin() as connection:  # the update comes first: it locks the study's row
                of_study = studies.c.name == what.study
                halted = {"halted": DELETING, "stop_requested": True}
                connection.execute(update(studies).where(of_study).values(halted))
                _require_idle(connection, what.study)
            step("marked")
            removed = what.files.remove()
            step("files removed")
            _delete_optunas(engine, url, what.study)
            step("Optuna's study deleted")
            for name in _ROWS:
                table = tables.metadata.tables[f"pf_{name}"]
                with engine.begin() as connection:
                    connection.execute(delete(table).where(table.c.study == what.study))
                step(f"{name} deleted")
            with engine.begin() as connection:
                connection.execute(delete(studies).where(studies.c.name == what.study))
        settle(engine, url)
    finally:
        engine.dispose()
    return Deleted(what.trials, removed.files, removed.bytes, removed.left)


def _delete_optunas(engine: Engine, url: str, study: str) -> None:
    if not inspect(engine).has_table(OPTUNAS):
        return  # killed before its first study was made
    storage = optuna_storage(url)
    try:
        delete_study(storage, study)
    finally:
        close_storage(storage)


def _require(engine: Engine, url: str, study: str) -> None:
    """Check that a study is one of Pathfront's.

    Raises:
        NotFoundError: there is none of this name.
        StudyFileError: it is in Optuna's tables only.
    """
    with engine.connect() as connection:
        names = connection.scalars(select(studies.c.name)).all()
    if study in names:
        return
    if inspect(engine).has_table(OPTUNAS):
        storage = optuna_storage(url)
        try:
            foreign = has_study(storage, study)
        finally:
            close_storage(storage)
        if foreign:
            raise StudyFileError(
                f"only studies of Pathfront's are changed here, and '{study}' in '{shown(url)}' is another"
                " program's"
            )
    raise NotFoundError(f"no study '{study}' in '{shown(url)}'{nearest(study, names)}")


def _require_idle(connection: Connection, study: str) -> None:
    """Check that no worker is alive.

    Raises:
        PathfrontError: one is.
    """
    alive = queries.alive_workers(connection, study)
    if alive:
        raise PathfrontError(
            f"a study is deleted while no worker is alive, and {_are(alive)}; stop them, or wait until their"
            " leases end where they were killed"
        )


def _are(alive: list[WorkerRow]) -> str:
    verb = "is" if len(alive) == 1 else "are"
    names = ", ".join(f"{row.worker} (seen {row.seen_seconds:.0f} s ago)" for row in alive)
    return f"{counted(len(alive), 'worker')} {verb}: {names}"
