"""Reopen a study so that its workers train confirmations, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import update

from search.database.storage import open_writer, reachable
from search.database.tables import clock, studies
from search.read.confirmation import require_idle
from search.store.confirmations import Plan, plan, standing, want
from search.store.environment import Environment
from search.store.events import add_event
from search.store.studies import join_environment, load_study
from space.confirm import Confirm
from space.words import counted


@dataclass(frozen=True)
class Reopened:
    """What was reopened.

    Attributes:
        plan: the confirmations, as they were before.
        left: how many are to be trained now; with 0, the study was not reopened.
    """

    plan: Plan
    left: int


def reopen(
    url: str,
    study: str,
    confirm: Confirm,
    numbers: Sequence[int],
    environment: Environment,
    accept_changes: bool = False,
    engine_name: str | None = None,
) -> Reopened:
    """Store which confirmations are wanted, and reopen a study so that workers train them.

    Args:
        url: the database's URL.
        study: name of the study.
        confirm: how many candidates, with how many seeds, and whether with the uniform control.
        numbers: trials whose candidates are confirmed, instead of the best ones.
        environment: versions, data and code here.
        accept_changes: whether data and code may differ from those of earlier trials.
        engine_name: the engine to run on; None for the study's.

    Raises:
        NotFoundError: there is no such study or trial, or no candidate to confirm.
        StudyFileError: the study still runs, or its data or code differ here.
        StorageError: the database cannot be used.
    """
    engine = open_writer(url, create=False)
    try:
        with reachable(url):
            known = load_study(engine, url, study)
            with engine.connect() as connection:  # before anything is written
                require_idle(connection, study, standing(connection, study).only)
                plan(connection, known.config, known.suite, confirm, numbers)
            join_environment(engine, study, known.environment, environment, accept_changes)
            config = known.config
            if engine_name is not None:
                config = config.model_copy(update={"engine": engine_name})
            with engine.begin() as connection:
                planned = want(connection, config, known.suite, confirm, numbers)
                now = standing(connection, study)
                require_idle(connection, study, now.only)
                left = len(now.waiting) + now.under_way
                if left:
                    changes = {
                        "config": config.model_dump(mode="json"),
                        "launched_at": clock(),
                        "stop_requested": False,
                        "halted": None,
                        "confirming": True,
                    }
                    connection.execute(update(studies).where(studies.c.name == study).values(changes))
                    add_event(connection, study, "launched", f"{counted(left, 'confirmation')} to train")
    finally:
        engine.dispose()
    return Reopened(planned, left)
