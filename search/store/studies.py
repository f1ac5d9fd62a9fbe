"""Studies: created once, resumed only under the same specification.

The ledger's row comes first and Optuna's study second, so that a launcher killed in between is mended by the
next launch.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Engine, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.database.storage import (
    one_launcher,
    open_reader,
    open_writer,
    optuna_storage,
    reachable,
    settle,
    shown,
)
from search.database.tables import candidates, clock, events, studies, trials
from search.store.environment import Environment, conflicts
from search.store.optuna_trials import close_storage, create_study, has_study
from space.errors import NotFoundError, StorageError, StudyFileError, nearest
from space.knobs import STORED
from space.records import SuiteRecord
from space.study import SCHEMA_VERSION, StudyConfig

MAY_CHANGE = (
    "stop",
    "workers",
    "engine",
    "logger",
    "checkpoint_seconds",
    "device",
    "trials_per_gpu",
    "keep",
    "stall_minutes",
)
DELETING = "being deleted"  # `pf_studies.halted` from the first step of a deletion on


@dataclass(frozen=True)
class Study:
    """A study as its row holds it."""

    config: StudyConfig
    suite: SuiteRecord
    created: bool = False
    environment: Environment | None = None


def create_or_resume(
    url: str, config: StudyConfig, environment: Environment | None = None, accept_changes: bool = False
) -> Study:
    """Create a study, or take one up again under the same specification and mark it as launched.

    Args:
        url: the database's URL; a SQLite file is made where there is none.
        config: what to run. Keys that say where, how long or how visibly it runs may differ from last time.
        environment: versions, data and code here; None to leave what the study holds.
        accept_changes: whether data and code may differ from those of earlier trials.

    Returns:
        The study; its suite is the one that it was created with.

    Raises:
        StudyFileError: a study of this name has another specification, other data or other code, or is none
            of Pathfront's.
        StorageError: the database cannot be used.
    """
    suite = config.check()
    with one_launcher(url):
        return _create_or_resume(url, config, suite, environment, accept_changes)


def _create_or_resume(
    url: str,
    config: StudyConfig,
    suite: SuiteRecord,
    environment: Environment | None,
    accept_changes: bool,
) -> Study:
    engine = open_writer(url)
    optuna = optuna_storage(url, create=True)
    try:
        with reachable(url):
            known = _row(engine, config.study)
            if known is None:
                if has_study(optuna, config.study):
                    raise StudyFileError(
                        f"study: no other study of the database bears its name, and '{config.study}' is"
                        f" another program's in '{shown(url)}'; choose another name or another --storage"
                    )
                created = _create(engine, config, suite)
                known = _row(engine, config.study)
            else:
                created = False
            assert known is not None
            study = _parse(known, config.study)
            if _is_empty(engine, config.study):
                study = _replace(engine, study, config, suite)
            else:
                compare(study.config, config)
                config = study.config.model_copy(update={key: getattr(config, key) for key in MAY_CHANGE})
            if environment is not None:
                _join(engine, config.study, study.environment, environment, accept_changes)
            _launch(engine, config, "created and launched" if created else "launched again")
            create_study(optuna, config.study)
            settle(engine, url, wait=False)
        return Study(config, study.suite, created)
    finally:
        engine.dispose()
        close_storage(optuna)


def planned_suite(url: str, config: StudyConfig) -> SuiteRecord:
    """The suite that a launch will train on, found without writing anything.

    Returns:
        That of the study, if it exists and has tried a candidate; else the one that the file names now.

    Raises:
        StudyFileError: the study exists and has another specification.
        StorageError: the database cannot be used.
    """
    try:
        engine = open_reader(url)
    except NotFoundError:
        return config.check()
    try:
        with reachable(url):
            known = _row(engine, config.study)
            if known is None or _is_empty(engine, config.study):
                return config.check()
        study = _parse(known, config.study)
        compare(study.config, config)
        return study.suite
    finally:
        engine.dispose()


def load_study(engine: Engine, url: str, name: str) -> Study:
    """Read a study.

    Raises:
        NotFoundError: there is none of this name.
        StorageError: it was written by another version of Pathfront.
    """
    with reachable(url):
        row = _row(engine, name)
        if row is not None:
            return _parse(row, name)
        with engine.connect() as connection:
            names = connection.execute(select(studies.c.name)).scalars().all()
    raise NotFoundError(f"no study '{name}' in '{shown(url)}'{nearest(name, names)}")


def finish_study(engine: Engine, url: str, name: str, why: str) -> None:
    """Note that nothing is left to do; only the first worker to see it does."""
    unfinished = (studies.c.name == name) & studies.c.finished_at.is_(None)
    with reachable(url), engine.begin() as connection:
        if connection.execute(update(studies).where(unfinished).values(finished_at=clock())).rowcount:
            _note(connection, name, "finished", why)


def _create(engine: Engine, config: StudyConfig, suite: SuiteRecord) -> bool:
    row = {
        "artifacts_id": secrets.token_hex(6),
        "name": config.study,
        "config": config.model_dump(mode="json"),
        "suite": suite.model_dump(mode="json"),
    }
    try:
        with engine.begin() as connection:
            connection.execute(
                insert(studies).values(**row, created_at=clock(), launched_at=clock(), stop_requested=False)
            )
    except IntegrityError:
        return False  # another launcher was faster
    return True


def _is_empty(engine: Engine, name: str) -> bool:
    """Whether a study has never tried a candidate, so that its specification binds nothing."""
    with engine.connect() as connection:
        return not connection.scalar(
            select(func.count()).select_from(candidates).where(candidates.c.study == name)
        )


def _replace(engine: Engine, study: Study, config: StudyConfig, suite: SuiteRecord) -> Study:
    """Give an empty study another specification."""
    changes = {"config": config.model_dump(mode="json"), "suite": suite.model_dump(mode="json")}
    with engine.begin() as connection:
        connection.execute(update(studies).where(studies.c.name == config.study).values(changes))
    return replace(study, config=config, suite=suite)


def _join(
    engine: Engine, name: str, known: Environment | None, here: Environment, accept_changes: bool
) -> None:
    """Note what a study's trials are trained with; refuse other data or code once a trial was scored.

    Raises:
        StudyFileError: data or code differ, and nobody accepted that.
    """
    differ = [] if known is None else conflicts(known, here)
    if known is not None and not differ:
        return
    scored = and_(trials.c.study == name, trials.c.state == "done")
    with engine.begin() as connection:
        count = connection.scalar(select(func.count()).select_from(trials).where(scored)) or 0
        if differ and count and not accept_changes:
            raise StudyFileError(
                f"study '{name}' has {count} trials scored with other data or code"
                f" ({'; '.join(differ)}), and scores of both cannot be compared; name a new study, or launch"
                " with --accept-changes"
            )
        if differ and known is not None:
            before = known.model_dump(mode="json")
            unmarked = and_(scored, trials.c.environment.is_(None))
            connection.execute(update(trials).where(unmarked).values(environment=before))
            _note(connection, name, "changed", "; ".join(differ))
        values = {"environment": here.model_dump(mode="json")}
        connection.execute(update(studies).where(studies.c.name == name).values(values))


def _launch(engine: Engine, config: StudyConfig, text: str) -> None:
    changes = {
        "config": config.model_dump(mode="json"),
        "launched_at": clock(),
        "finished_at": None,
        "stop_requested": False,
        "halted": None,
        "ran_seconds": 0.0,
    }
    with engine.begin() as connection:
        connection.execute(update(studies).where(studies.c.name == config.study).values(changes))
        _note(connection, config.study, "launched", text)


def _row(engine: Engine, name: str) -> Mapping[str, Any] | None:
    with engine.connect() as connection:
        row = connection.execute(select(studies).where(studies.c.name == name)).mappings().first()
    return dict(row) if row is not None else None


def _parse(row: Mapping[str, Any], name: str) -> Study:
    if row["halted"] == DELETING:
        raise StudyFileError(f"study '{name}' is half deleted; finish that first: pathfront delete {name}")
    version = row["config"].get("schema_version")
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"this Pathfront reads studies of schema version {SCHEMA_VERSION}, and '{name}' has {version};"
            " use the Pathfront that made it"
        )
    try:
        environment = row["environment"]
        return Study(
            StudyConfig.model_validate(row["config"], context=STORED),
            SuiteRecord.model_validate(row["suite"]),
            environment=None if environment is None else Environment.model_validate(environment),
        )
    except ValidationError as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"study '{name}' was written by another version of Pathfront: {reason}") from None


def compare(old: StudyConfig, new: StudyConfig) -> None:
    """Refuse a specification that differs from the study's; keys that may change are left out.

    Raises:
        StudyFileError: it names the first key that differs.
    """
    before, after = (_flat(c.model_dump(mode="json", exclude=set(MAY_CHANGE))) for c in (old, new))
    for key in sorted(before | after):
        if before.get(key) != after.get(key):
            raise StudyFileError(
                f"{key}: a study keeps its specification, and '{new.study}' has {before.get(key)!r},"
                f" got {after.get(key)!r}; name a new study, or go back"
            )


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _note(connection: Any, study: str, kind: str, text: str) -> None:
    connection.execute(insert(events).values(study=study, at=clock(), kind=kind, text=text))
