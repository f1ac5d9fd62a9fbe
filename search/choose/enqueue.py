"""Add a person's candidate to a study that exists: workers train it before they propose others.

The candidate is inserted without a trial, in one transaction that locks the study's row, so that two people
may enqueue at once and a study does not finish in between.
"""

from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.exc import IntegrityError

from search.choose.given import Given
from search.choose.optuna_samplers import distributions
from search.choose.propose import Proposal, Proposer
from search.choose.provenance import ENQUEUED
from search.choose.snapshot import take_snapshot
from search.database.storage import reachable, settle
from search.database.tables import candidates, studies
from search.store.claims import insert_candidate
from search.store.events import add_event
from search.store.studies import Study
from space.errors import StudyFileError
from space.start import StartPoint, check_point


class Enqueued(NamedTuple):
    """What became of a person's candidate.

    Attributes:
        proposal: the candidate.
        known: origin of the same candidate, which the study had before; None if it is new.
        finished: whether the study is finished, so that it has to be launched again.
    """

    proposal: Proposal
    known: str | None
    finished: bool


def enqueue(engine: Engine, url: str, study: Study, point: StartPoint) -> Enqueued:
    """Add a candidate to a study.

    Args:
        engine: the database, open for writing.
        url: its URL.
        study: the study.
        point: what is given of the candidate; the rest is drawn.

    Raises:
        StudyFileError: the study's space, limits or tasks do not fit the candidate, or it was deleted.
        StorageError: the database cannot be used.
    """
    config = study.config
    problem = Proposer(config, study.suite).problem
    check_point(point, config.space, study.suite, config.limits, "candidate", config.rungs.whole_tokens)
    given = Given(point, problem)
    with reachable(url):
        of_parameters = distributions(problem.parameters)
        view = take_snapshot(engine, config.study, config.search.seed)
        found = given.whole
        if found is None:
            # the number of candidates is part of the seed, so that a partial one is drawn anew each time
            rng = np.random.default_rng([problem.seed, len(view.candidates), 1])
            found = given.proposal(view, problem, rng)
        if found is None:
            raise StudyFileError(
                "candidate: a new one holds these values, and the study has tried all that do"
            )
        proposal = Proposal(found.candidate, found.params, found.cost, ENQUEUED)
        while True:
            try:
                with engine.begin() as connection:
                    known, finished = _insert(connection, config.study, proposal, of_parameters)
                break
            except IntegrityError:  # a worker took the ordinal meanwhile, or proposed the same candidate
                continue
        settle(engine, url, wait=False)
    return Enqueued(proposal, known, finished)


def _insert(
    connection: Connection, study: str, proposal: Proposal, of_parameters: dict[str, str]
) -> tuple[str | None, bool]:
    """Insert a candidate, if the study does not have it.

    Returns:
        The origin of the same candidate, None if there was none; and whether the study is finished.
    """
    of_study = studies.c.name == study  # the update comes first: it locks the study's row
    locked = update(studies).where(of_study).values(stop_requested=studies.c.stop_requested)
    if not connection.execute(locked).rowcount:
        raise StudyFileError(f"study '{study}' was deleted meanwhile")
    finished = connection.scalar(select(studies.c.finished_at).where(of_study)) is not None
    own = candidates.c.study == study
    same = select(candidates.c.origin).where(own, candidates.c.candidate == proposal.candidate.id)
    known = connection.scalar(same.where(candidates.c.ordinal >= 0))
    if known is not None:
        return known, finished
    last: Any = connection.scalar(select(func.max(candidates.c.ordinal)).where(own))
    row = proposal.row(0 if last is None else max(last + 1, 0), of_parameters)
    insert_candidate(connection, study, row)
    add_event(connection, study, "enqueued", f"candidate {proposal.candidate.id} was enqueued")
    return None, finished
