"""Which candidates are trained again with fresh seeds, and where these confirmations stand.

The choice goes by the search's own scores alone, so that the same study always confirms the same candidates,
whatever the confirmations say. What is wanted is a row of `pf_confirmations`; it becomes a trial once a
worker claims it. `wanted`, `control` and `chosen` only read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, and_, func, insert, or_, select, update
from sqlalchemy.sql.expression import exists

from search.database.storage import reachable
from search.database.tables import candidates, clock, confirmations, studies, trials
from search.store.events import add_event
from search.store.finalists import Finalist, front_of, selected_rungs
from space.candidate import CandidateConfig
from space.confirm import Confirm, fresh_seeds
from space.cost import price
from space.description import describe
from space.errors import NotFoundError, StudyFileError
from space.mixture import TaskMixture
from space.ranges import MIXTURE_PREFIX
from space.records import SuiteRecord
from space.study import LARGEST_SEED, StudyConfig
from space.words import counted

OF_TRIAL = and_(*(confirmations.c[name] == trials.c[name] for name in ("study", "candidate", "rung", "seed")))


class Wanted(NamedTuple):
    """A confirmation: a candidate that is to be trained to the top rung with a fresh seed.

    Attributes:
        place: order of training at each seed, from 0.
        control_of: the candidate that it is the uniform control of; None for others.
    """

    candidate: str
    rung: int
    seed: int
    place: int
    control_of: str | None = None


@dataclass(frozen=True)
class Plan:
    """Confirmations to want.

    Attributes:
        wanted: all of them, those that are wanted already included.
        missing: those that are not wanted yet.
        control: row of `pf_candidates` of the uniform control, without study, ordinal and time; None if there
            is no control, or the study has this candidate already.
        flops_per_token: candidate -> its cost.
    """

    wanted: tuple[Wanted, ...]
    missing: tuple[Wanted, ...]
    control: dict[str, Any] | None
    flops_per_token: dict[str, float]


class Standing(NamedTuple):
    """Where a study's confirmations stand.

    Attributes:
        only: whether workers train confirmations only.
        waiting: those that no worker has begun, in the order of training.
        under_way: number of those that run or will be retried.
    """

    only: bool
    waiting: tuple[Wanted, ...]
    under_way: int


def chosen(connection: Connection, study: str, top_rung: int, confirm: Confirm) -> list[Finalist]:
    """The candidates to confirm: the front of those scored at the top rung, the best scores first.

    Args:
        connection: the database.
        study: name of the study.
        top_rung: its last rung.
        confirm: how many.
    """
    at_top = [row for row in selected_rungs(connection, study) if row.rung == top_rung]
    return front_of(at_top)[: confirm.top]


def of_trials(connection: Connection, study: str, numbers: Sequence[int]) -> list[Finalist]:
    """The candidates of given trials, the best scores first.

    Raises:
        NotFoundError: there is no such trial.
        StudyFileError: the candidate of one was never scored.
    """
    selected = {row.candidate: row for row in selected_rungs(connection, study)}
    found: dict[str, Finalist] = {}
    for number in numbers:
        named = select(trials.c.candidate).where(trials.c.study == study, trials.c.number == number)
        candidate = connection.scalar(named)
        if candidate is None:
            raise NotFoundError(f"study '{study}' has no trial {number}; see: pathfront trials {study}")
        if candidate not in selected:
            raise StudyFileError(
                f"a candidate with a score is confirmed, and that of trial {number} has none from the search"
            )
        found[candidate] = selected[candidate]
    return sorted(found.values(), key=lambda row: (-row.score, row.number))


def plan(
    connection: Connection,
    config: StudyConfig,
    suite: SuiteRecord,
    confirm: Confirm,
    numbers: Sequence[int] = (),
) -> Plan:
    """Plan the confirmations of a study; nothing is written.

    Args:
        connection: the database.
        config: the study.
        suite: its tasks.
        confirm: how many candidates, with how many seeds, and whether with the uniform control.
        numbers: trials whose candidates are confirmed, instead of the best ones.

    Raises:
        NotFoundError: no candidate was scored at the top rung, or there is no such trial.
        StudyFileError: the candidate of a given trial was never scored.
    """
    study, top_rung = config.study, len(config.rungs.tokens) - 1
    if numbers:
        picked = of_trials(connection, study, numbers)
    else:
        picked = chosen(connection, study, top_rung, confirm)
        if not picked:
            raise NotFoundError(
                f"no candidate of study '{study}' has a score above its floor at the top rung"
                f" ({config.rungs.tokens[top_rung]:,} tokens), so there is none to confirm"
            )
    known = {
        row.candidate: row
        for row in connection.execute(select(candidates).where(candidates.c.study == study))
    }
    best = known[picked[0].candidate]
    control = control_row(config, suite, best) if confirm.uniform else None
    members: list[tuple[str, str | None]] = [(row.candidate, None) for row in picked]
    costs = {name: known[name].flops_per_token for name, _ in members}
    if control is not None and control["candidate"] not in costs:
        members.append((control["candidate"], best.candidate))
        costs[control["candidate"]] = best.flops_per_token
    seeds = fresh_seeds(config.search.seed, confirm.seeds, LARGEST_SEED)
    wanted = tuple(
        Wanted(name, top_rung, seed, place, of) for seed in seeds for place, (name, of) in enumerate(members)
    )
    rows = connection.execute(
        select(confirmations.c.candidate, confirmations.c.rung, confirmations.c.seed).where(
            confirmations.c.study == study
        )
    )
    before = {tuple(row) for row in rows}
    return Plan(
        wanted=wanted,
        missing=tuple(each for each in wanted if (each.candidate, each.rung, each.seed) not in before),
        control=None if control is None or control["candidate"] in known else control,
        flops_per_token=costs,
    )


def control_row(config: StudyConfig, suite: SuiteRecord, best: Any) -> dict[str, Any] | None:
    """The uniform mixture with everything else as in a candidate, as a row of `pf_candidates`.

    A cap on repetition holds for it, too.

    Args:
        config: the study.
        suite: its tasks.
        best: the candidate's row of `pf_candidates`.

    Returns:
        The row without study, ordinal and time; None if the study searches no mixture, or if the candidate
        has the uniform one.
    """
    if not any(name.startswith(MIXTURE_PREFIX) for name in config.space.parameters(suite)):
        return None
    searched = CandidateConfig.model_validate(best.config)
    (logits,) = config.space.controls(suite)
    shares = config.space.mixture.shares(suite, config.rungs.whole_tokens)
    mixture = TaskMixture.uniform(suite.tasks) if shares.caps is None else shares.mixture(logits)
    uniform = searched.model_copy(update={"mixture": mixture})
    if uniform.mixture == searched.mixture:
        return None
    params, distributions = dict(best.params), dict(best.distributions)
    made = config.space.candidate({**params, **logits}, suite, shares)
    if made is not None and made.mixture == uniform.mixture:
        params |= logits
    else:  # the space does not hold the uniform mixture: Optuna gets the other parameters only
        params = {name: value for name, value in params.items() if not name.startswith(MIXTURE_PREFIX)}
        distributions = {name: distributions[name] for name in params}
    cost = price(uniform.architecture, suite)
    costs = ("flops_per_token", "active_params", "total_params", "training_bytes")
    return {
        "candidate": uniform.id,
        "config": uniform.model_dump(mode="json"),
        "params": params,
        "distributions": distributions,
        "origin": f"control; uniform mixture of {best.candidate}",
        "description": describe(uniform).model_dump(mode="json"),
        **{name: getattr(cost, name) for name in costs},
    }


def want(
    connection: Connection,
    config: StudyConfig,
    suite: SuiteRecord,
    confirm: Confirm,
    numbers: Sequence[int] = (),
) -> Plan:
    """Plan the confirmations of a study, and insert those that are not wanted yet.

    It locks the study's row, so that of several workers one plans and the others find it done.

    Args:
        connection: a transaction that has written nothing yet.
        config: as in `plan`, like the others.
        suite: likewise.
        confirm: likewise.
        numbers: likewise.

    Returns:
        The plan as it was before the rows were inserted.

    Raises:
        NotFoundError: as `plan` does.
        StudyFileError: likewise.
    """
    study = config.study
    locked = update(studies).where(studies.c.name == study).values(stop_requested=studies.c.stop_requested)
    connection.execute(locked)
    planned = plan(connection, config, suite, confirm, numbers)
    if planned.control is not None:
        least = connection.scalar(select(func.min(candidates.c.ordinal)).where(candidates.c.study == study))
        row = {**planned.control, "study": study, "ordinal": min(least or 0, 0) - 1, "created_at": clock()}
        connection.execute(insert(candidates).values(row))
    for each in planned.missing:
        row = {**each._asdict(), "study": study, "chosen_at": clock()}
        connection.execute(insert(confirmations).values(row))
    if planned.missing:
        names = {each.candidate for each in planned.missing}
        text = f"{counted(len(planned.missing), 'confirmation')} of {counted(len(names), 'candidate')} wanted"
        add_event(connection, study, "confirming", text)
    return planned


def want_at_end(engine: Engine, url: str, config: StudyConfig, suite: SuiteRecord) -> bool:
    """Plan the confirmations that `stop.confirm` asks for, when nothing else is left to do.

    Args:
        engine: the database.
        url: its URL.
        config: the study.
        suite: its tasks.

    Returns:
        Whether confirmations are waiting or under way, so that the study does not end yet.

    Raises:
        StorageError: the database cannot be used.
    """
    if config.stop.confirm is None:
        return False
    try:
        with reachable(url), engine.begin() as connection:
            want(connection, config, suite, config.stop.confirm)
            now = standing(connection, config.study)
            return bool(now.waiting or now.under_way)
    except NotFoundError:
        return False  # nothing is good enough to confirm


def standing(connection: Connection, study: str) -> Standing:
    """Where a study's confirmations stand."""
    only = connection.scalar(select(studies.c.confirming).where(studies.c.name == study))
    columns = [confirmations.c[name] for name in Wanted._fields]
    begun = trials.c.final.label("final")
    found = connection.execute(
        select(*columns, begun)
        .outerjoin(trials, OF_TRIAL)
        .where(confirmations.c.study == study, or_(begun.is_(None), begun.is_(False)))
        .order_by(confirmations.c.seed, confirmations.c.place, confirmations.c.candidate)
    ).all()
    return Standing(
        only=bool(only),
        waiting=tuple(
            Wanted(row.candidate, row.rung, row.seed, row.place, row.control_of)
            for row in found
            if row.final is None
        ),
        under_way=sum(row.final is not None for row in found),
    )


def end_confirming(engine: Engine, url: str, study: str) -> None:
    """Let the search go on at the next launch, once no confirmation is left to train."""
    left = (
        select(confirmations.c.seed)
        .outerjoin(trials, OF_TRIAL)
        .where(confirmations.c.study == study, or_(trials.c.final.is_(None), trials.c.final.is_(False)))
    )
    over = and_(studies.c.name == study, studies.c.confirming.is_(True), ~exists(left))
    with reachable(url), engine.begin() as connection:
        if connection.execute(update(studies).where(over).values(confirming=False)).rowcount:
            add_event(connection, study, "confirmed", "every confirmation has ended")
