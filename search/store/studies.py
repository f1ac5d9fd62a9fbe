"""Create, resume and read studies. A study is resumed only with the same specification.

The ledger's row is written first and Optuna's study second, so that the next launch completes what a killed
launcher left undone.
"""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel
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
from search.database.tables import candidates, clock, studies, trials
from search.store.environment import Environment, conflicts
from search.store.events import add_event
from search.store.optuna_trials import close_storage, create_study, has_study
from search.store.tokenizers import put_tokenizer
from space.errors import NotFoundError, StorageError, StudyFileError, nearest
from space.parsing import Model, parse
from space.records import SuiteRecord
from space.study import SCHEMA_VERSION, StudyConfig

Part = TypeVar("Part", bound=BaseModel)

MAY_CHANGE = (
    *("stop", "workers", "engine", "device", "trials_per_gpu", "devices_per_trial"),
    *("strategy", "loaders", "compile", "logger", "checkpoint_seconds", "keep", "stall_minutes"),
)
DELETING = "being deleted"  # value of `pf_studies.halted` while a study is deleted


@dataclass(frozen=True)
class Study:
    """A study as its row in the database describes it.

    Attributes:
        created: whether this launch created it.
        environment: what its trials are trained with; None if no launch has stored that.
    """

    config: StudyConfig
    suite: SuiteRecord
    created: bool = False
    environment: Environment | None = None


def create_or_resume(
    url: str,
    config: StudyConfig,
    environment: Environment | None = None,
    accept_changes: bool = False,
    suite: SuiteRecord | None = None,
    tokenizer: bytes | None = None,
) -> Study:
    """Create a study, or resume one that has the same specification, and mark it as launched.

    Args:
        url: the database's URL; a SQLite file is created if it does not exist.
        config: the study. The keys in `MAY_CHANGE` may differ from the last launch.
        environment: versions, data and code here; None leaves what the study holds.
        accept_changes: whether data and code may differ from those of earlier trials.
        suite: what `planned` returned for this configuration, if it was called; else the configuration
            is checked here.
        tokenizer: the model of the study's own tokenizer, if it has one.

    Returns:
        The study, with the suite that it was created with.

    Raises:
        StudyFileError: a study of this name has another specification, other data or other code, or belongs
            to another program; or its tokenizer's model is missing.
        StorageError: the database cannot be used.
    """
    suite = suite or config.check()
    with one_launcher(url):
        return _create_or_resume(url, config, suite, tokenizer, environment, accept_changes)


def _create_or_resume(
    url: str,
    config: StudyConfig,
    suite: SuiteRecord,
    tokenizer: bytes | None,
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
                created = _create(engine, config, suite, tokenizer)
                known = _row(engine, config.study)
            else:
                created = False
            assert known is not None
            study = _parse(known, config.study)
            if _is_empty(engine, config.study):
                _replace(engine, config, suite, tokenizer)
                study = replace(study, config=config, suite=suite)
            else:
                compare(study.config, config)
                config = study.config.model_copy(update={key: getattr(config, key) for key in MAY_CHANGE})
            if environment is not None:
                join_environment(engine, config.study, study.environment, environment, accept_changes)
            confirms = bool(known["confirming"] and known["finished_at"]) and study.config.stop == config.stop
            _launch(engine, config, "created and launched" if created else "launched again", confirms)
            create_study(optuna, config.study, config.objectives)
            settle(engine, url, wait=False)
        return Study(config, study.suite, created)
    finally:
        engine.dispose()
        close_storage(optuna)


@dataclass(frozen=True)
class Planned:
    """What a launch will run.

    Attributes:
        config: the specification. Keys that the study's file leaves out have the stored study's values, so
            that a default of a later version changes no study that is under way.
        suite: the stored study's suite, if the study exists and has a candidate; else the one that `config`
            names.
        kept: those keys, dotted, with the stored values, where today's default is another.
    """

    config: StudyConfig
    suite: SuiteRecord
    kept: Mapping[str, Any]


def planned(url: str, config: StudyConfig) -> Planned:
    """What a launch of a study will run. Nothing is written.

    Args:
        url: the database's URL.
        config: the study, which `read_study` has checked.

    Raises:
        StudyFileError: the study exists and has another specification.
        StorageError: the database cannot be used.
    """
    try:
        engine = open_reader(url)
    except NotFoundError:
        return Planned(config, config.suite_record(), {})
    try:
        with reachable(url):
            known = _row(engine, config.study)
            if known is None or _is_empty(engine, config.study):
                return Planned(config, config.suite_record(), {})
        study = _parse(known, config.study)
        compare(study.config, config)
        filled = _filled(config, study.config)
        before, after = (_flat(c.model_dump(mode="json")) for c in (config, filled))
        kept = {key: value for key, value in after.items() if before.get(key) != value}
        return Planned(filled, study.suite, kept)
    finally:
        engine.dispose()


def load_study(engine: Engine, url: str, name: str) -> Study:
    """Read a study.

    Raises:
        NotFoundError: there is no study of this name.
        StorageError: it was written by another version of Pathfront.
    """
    with reachable(url):
        row = _row(engine, name)
        if row is not None:
            return _parse(row, name)
        with engine.connect() as connection:
            names = connection.execute(select(studies.c.name)).scalars().all()
    raise NotFoundError(f"no study '{name}' in '{shown(url)}'{nearest(name, names)}")


def finish_study(engine: Engine, url: str, name: str, why: str, known: int | None = None) -> bool:
    """Mark a study as finished, with an event; only the first worker's call has an effect.

    Args:
        engine: the database.
        url: its URL.
        name: the study.
        why: the text of the event.
        known: candidates that the worker knows of; None if it does not matter.

    Returns:
        Whether the study is finished: not if a candidate was enqueued that the worker does not know of.
    """
    unfinished = (studies.c.name == name) & studies.c.finished_at.is_(None)
    proposed = (candidates.c.study == name) & (candidates.c.ordinal >= 0)  # without controls of confirmations
    of_study = select(func.count()).select_from(candidates).where(proposed)
    with reachable(url), engine.connect() as connection, connection.begin() as transaction:
        if connection.execute(update(studies).where(unfinished).values(finished_at=clock())).rowcount:
            if known is not None and (connection.scalar(of_study) or 0) > known:
                transaction.rollback()
                return False
            add_event(connection, name, "finished", why)
    return True


def _create(engine: Engine, config: StudyConfig, suite: SuiteRecord, tokenizer: bytes | None) -> bool:
    row = {
        "artifacts_id": secrets.token_hex(6),
        "name": config.study,
        "config": config.model_dump(mode="json"),
        "suite": suite.model_dump(mode="json"),
        "stop_requested": False,
    }
    try:
        with engine.begin() as connection:
            connection.execute(insert(studies).values(**row, created_at=clock(), launched_at=clock()))
            put_tokenizer(connection, config.study, suite, tokenizer)
    except IntegrityError:
        return False  # another launcher was faster
    return True


def _is_empty(engine: Engine, name: str) -> bool:
    """Whether a study has no candidate, so that its specification may still change."""
    proposed = select(func.count()).select_from(candidates).where(candidates.c.study == name)
    with engine.connect() as connection:
        return not connection.scalar(proposed)


def _replace(engine: Engine, config: StudyConfig, suite: SuiteRecord, tokenizer: bytes | None) -> None:
    """Replace the specification of a study without candidates."""
    changes = {"config": config.model_dump(mode="json"), "suite": suite.model_dump(mode="json")}
    with engine.begin() as connection:
        connection.execute(update(studies).where(studies.c.name == config.study).values(changes))
        put_tokenizer(connection, config.study, suite, tokenizer)


def join_environment(
    engine: Engine, name: str, known: Environment | None, here: Environment, accept_changes: bool
) -> None:
    """Store what a study's trials are trained with; refuse other data or code once a trial was scored.

    Raises:
        StudyFileError: data or code differ, and `accept_changes` is false.
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
            add_event(connection, name, "changed", "; ".join(differ))
        values = {"environment": here.model_dump(mode="json")}
        connection.execute(update(studies).where(studies.c.name == name).values(values))


def _launch(engine: Engine, config: StudyConfig, text: str, confirms: bool) -> None:
    """Mark a study as launched; with `confirms`, its search stays finished."""
    changes = {
        "config": config.model_dump(mode="json"),
        "launched_at": clock(),
        "stop_requested": False,
        "halted": None,
    }
    if not confirms:
        changes |= {"finished_at": None, "ran_seconds": 0.0, "confirming": False}
    with engine.begin() as connection:
        connection.execute(update(studies).where(studies.c.name == config.study).values(changes))
        add_event(connection, config.study, "launched", text)


def _row(engine: Engine, name: str) -> Mapping[str, Any] | None:
    with engine.connect() as connection:
        row = connection.execute(select(studies).where(studies.c.name == name)).mappings().first()
    return dict(row) if row is not None else None


def _parse(row: Mapping[str, Any], name: str) -> Study:
    if row["halted"] == DELETING:
        raise StudyFileError(f"study '{name}' is half deleted; finish that first: pathfront delete {name}")
    environment = row["environment"]
    return Study(
        parse_config(row["config"], name),
        parse_suite(row["suite"], name),
        environment=None if environment is None else _parse_stored(Environment, environment, name),
    )


def parse_config(data: Mapping[str, Any], name: str) -> StudyConfig:
    """Read a stored study's configuration.

    Args:
        data: `pf_studies.config`.
        name: the study's name.

    Raises:
        StorageError: another version of Pathfront wrote it.
    """
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise _other_version(
            name,
            f"this one reads schema version {SCHEMA_VERSION}, and '{name}' has {version}; use the one that"
            " made it",
        )
    return _parse_stored(StudyConfig, data, name)


def parse_suite(data: Mapping[str, Any], name: str) -> SuiteRecord:
    """Read a stored study's suite.

    Args:
        data: `pf_studies.suite`.
        name: the study's name.

    Raises:
        StorageError: another version of Pathfront wrote it.
    """
    return _parse_stored(SuiteRecord, data, name)


def _parse_stored(model: type[Model], data: object, name: str) -> Model:
    return parse(model, data, lambda why: _other_version(name, why), stored=True)


def _other_version(name: str, why: str) -> StorageError:
    return StorageError(f"study '{name}' was written by another version of Pathfront: {why}")


def compare(old: StudyConfig, new: StudyConfig) -> None:
    """Refuse a specification that differs from the study's in a key that may not change.

    Keys that were never given to `new` are not compared, because their defaults may be another version's.

    Raises:
        StudyFileError: a key differs; the message names the first one.
    """
    new = _filled(new, old)
    before, after = (_flat(c.model_dump(mode="json", exclude=set(MAY_CHANGE))) for c in (old, new))
    for key in sorted(before | after):
        if before.get(key) != after.get(key):
            raise StudyFileError(
                f"{key}: a study keeps its specification, and '{new.study}' has {before.get(key)!r},"
                f" got {after.get(key)!r}; name a new study, or go back"
            )


def _filled(new: Part, old: Part, but: Collection[str] = MAY_CHANGE) -> Part:
    """Copy a specification, with the values of an earlier one for fields that were not given."""
    values = {}
    for name in set(type(new).model_fields) - set(but):
        given, stored = getattr(new, name), getattr(old, name)
        if name not in new.model_fields_set:
            values[name] = stored
        elif isinstance(given, BaseModel) and type(given) is type(stored):
            values[name] = _filled(given, stored, ())
    return new.model_copy(update=values)


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
