"""The list of studies, each with its progress, best score and compute."""

import streamlit as st

from dashboard import load, pages, units
from dashboard.views import parts
from search.read.remarks import state
from search.read.rows import StudyStatus, StudySummary
from space.errors import PathfrontError

SHOWN = 25


def render() -> None:
    """Draw the page."""
    parts.heading(
        "Studies",
        "Each study searches architectures and task mixtures together; open one to see its front.",
        "page",
    )
    url = load.storage()
    found = load.studies(url)
    if not found:
        parts.invite()
        parts.try_again()
        return
    latest = found[0].name
    if len(found) > SHOWN:
        words = st.text_input("Find a study", placeholder="part of a name")
        found = [summary for summary in found if words.lower() in summary.name.lower()]
        st.caption(f"{min(len(found), SHOWN)} of {len(found)} studies, the latest launch first.")
    _live_cards(url, found[:SHOWN], latest)


def _live_cards(url: str, shown: list[StudySummary], latest: str) -> None:
    names = [summary.name for summary in shown]

    def busy(now: dict[str, StudySummary]) -> bool:
        return any(now[name].running for name in names if name in now)

    before = busy({summary.name: summary for summary in shown})

    def cards() -> None:
        now = {summary.name: summary for summary in load.studies(url)}
        if busy(now) != before or next(iter(now), None) != latest:
            st.rerun()
        for name in names:
            if name in now:
                _card(url, now[name])

    parts.refreshing(load.BUSY_SECONDS if before else load.IDLE_SECONDS, cards)


def _card(url: str, summary: StudySummary) -> None:
    with st.container(border=True):
        left, right = st.columns([1, 4], vertical_alignment="center")
        with left, st.container(gap=None):
            pages.link("front", f"**{summary.name}**", summary.name)
            described = st.empty()
        try:
            status = load.status(url, summary.name)
        except PathfrontError as error:  # of this study alone; the others are shown
            right.error(str(error))
            return
        described.caption(f"suite {summary.suite} · {state(status)}")
        right.html(_numbers(summary, status))


def _numbers(summary: StudySummary, status: StudyStatus) -> str:
    stats = [
        ("Best score", units.signed(summary.best_score)),
        ("Candidates", f"{summary.candidates:,}"),
        ("Trials done", f"{status.states.get('done', 0):,}"),
        ("Running", f"{summary.running:,}"),
        ("Failed", f"{summary.failed:,}"),
        ("Compute spent", units.flops(summary.training_flops)),
        ("Training time", units.duration(summary.wall_seconds)),
        ("Started (UTC)", units.moment(summary.created_at)),
        ("Towards the stop rule", f"{status.fraction_done:.0%}"),
    ]
    halted = [] if status.halted is None else [f"halted: {status.halted}"]
    return parts.stats_html(stats) + parts.remarks_html(halted) + parts.bar_html(status.fraction_done)
