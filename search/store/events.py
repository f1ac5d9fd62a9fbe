"""The log of a study in the table `pf_events`: what happened, when, and to which candidate."""

from sqlalchemy import Connection, insert

from search.database.tables import clock, events
from search.store.claims import Claim


def add_event(connection: Connection, study: str, kind: str, text: str, claim: Claim | None = None) -> None:
    """Add an event within a transaction.

    Args:
        connection: the transaction.
        study: the study's name.
        kind: a word such as "proposed", "failed" or "launched".
        text: one line for people.
        claim: the attempt that the event is about, if it is about one.
    """
    about = {} if claim is None else {"candidate": claim.candidate, "rung": claim.rung}
    connection.execute(insert(events).values(study=study, at=clock(), kind=kind, text=text, **about))
