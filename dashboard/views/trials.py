"""All trials of a study in any state, with the errors of failed ones."""

import pandas as pd
import streamlit as st

from dashboard import load, selection, units
from dashboard.views import parts
from search.choose.provenance import provenance
from search.read.rows import ListedTrial, StudyStatus
from space.objectives import COSTS

TABLE = "trials_table"
ALL = "all"
HEIGHT = 560  # pixels of the table
ORDER = ("done", "running", "failed", "paused", "lost")


def render() -> None:
    """Draw the page."""
    study = parts.study_in_view(
        "All trials", "Every trial, running and failed ones included. Click a row to select it."
    )
    parts.live_strip(study)
    now = load.status(study.url, study.name)
    rows = study.listing(load.listing_key(now))
    _follow(study, load.listing_key(now))
    if not rows:
        st.info("No trial has started yet; each one appears here when it starts.")
        return
    states = {state: sum(row.state == state for row in rows) for state in ORDER}
    chosen = st.segmented_control("State", [ALL, *ORDER], default=ALL, key="trials_state")
    st.caption(", ".join(f"{count:,} {state}" for state, count in states.items() if count))
    shown = [row for row in rows if chosen in (ALL, None, row.state)]
    selected = selection.trial()
    if selected is None or not study.has(selected):
        if selection.TRIAL in selection.address():
            st.info(f"Study {study.name} has no trial {selection.address()[selection.TRIAL]}.")
        _table(study, shown)
        _proposals(now)
        return
    with st.container(key="split_trials"):
        left, right = st.columns([2.6, 1], gap="medium")
    with left:
        _table(study, shown)
        _proposals(now)
    with right:
        parts.trial_card(study, selected)


def _proposals(now: StudyStatus) -> None:
    """How many candidates each rule proposed, and its latest reason."""
    parts.heading(
        "How candidates were proposed",
        "The rule that proposed them, how many it proposed, and the reason that it gave last.",
    )
    st.html(parts.facts_html(proposals_in_words(now)))


def proposals_in_words(now: StudyStatus) -> list[tuple[str, str]]:
    """Rule -> its share of the candidates and its latest reason, in words."""
    return [
        (rule, f"{count:,} of {now.candidates:,} ({count / now.candidates:.0%}){_because(now, rule)}")
        for rule, count in now.origins.items()
    ]


def _because(now: StudyStatus, rule: str) -> str:
    return f": {now.reasons[rule]}" if rule in now.reasons else ""


def _follow(study: load.Study, key: str) -> None:
    """Draw the page again when a trial begins; the live strip does so when one ends."""

    def watch() -> None:
        if load.listing_key(load.status(study.url, study.name)) != key:
            st.rerun()

    parts.refreshing(load.poll_seconds(load.status(study.url, study.name)), watch)


def _table(study: load.Study, rows: list[ListedTrial]) -> None:
    key = f"{TABLE}_{selection.trial()}"  # a new key clears the table's selection after a selection elsewhere

    def row_clicked() -> None:
        cells = st.session_state[key].selection["cells"]
        number = rows[cells[0][0]].number if cells else None
        if number is not None:
            selection.choose_trial(study.name, number)

    marks = study.marks
    st.dataframe(
        pd.DataFrame([_row(row, marks) for row in rows]),
        hide_index=True,
        height=min(HEIGHT, 36 * (len(rows) + 1) + 2),
        key=key,
        on_select=row_clicked,
        selection_mode="single-cell",
        column_config={
            "Score": st.column_config.NumberColumn(format="%.3f"),
            "± 95%": st.column_config.NumberColumn(format="%.3f"),
            "Tokens": st.column_config.NumberColumn(format="compact"),
            "FLOPs per token": st.column_config.NumberColumn(format="compact"),
            **parts.cost_columns(study.objectives.costs),
        },
    )


def _row(row: ListedTrial, marks: dict[int, str]) -> dict[str, object]:
    failed = row.state in ("failed", "lost")
    return {
        "Trial": row.number,
        "State": row.state,
        "Mark": "" if row.number is None else marks.get(row.number, ""),
        "Score": row.score,
        "± 95%": None if row.stderr is None else units.Z95 * row.stderr,
        "Rung": row.rung,
        "Tokens": row.progress_tokens if row.state != "done" else row.tokens,
        "FLOPs per token": row.flops_per_token,
        **{COSTS[name].heading: value for name, value in row.objectives.items() if name in COSTS},
        "Attempt": row.attempt,
        "Error": row.error or "" if failed else "",
        "Architecture": row.description.label,
        "Proposed by": provenance(row.origin).rule,
        "Candidate": row.candidate,
        "Log": row.log or "" if failed else "",
    }
