"""The list of studies: how far each is, what it has found and what it has spent."""

import streamlit as st

from dashboard import load, pages, selection, units
from dashboard.views import parts
from search.rows import StudySummary

SHOWN = 25


def render() -> None:
    """Draw the page."""
    selection.forget()
    parts.heading(
        "Studies",
        "Each study searches architectures and task mixtures together; open one to see its front.",
        "page",
    )
    url = load.storage()
    found = load.studies(url)
    if not found:
        parts.invite()
        return
    if len(found) > SHOWN:
        words = st.text_input("Find a study", placeholder="part of a name")
        found = [summary for summary in found if words.lower() in summary.name.lower()]
        st.caption(f"{min(len(found), SHOWN)} of {len(found)} studies, the latest launch first.")
    _live_cards(url, found[:SHOWN])


def _live_cards(url: str, shown: list[StudySummary]) -> None:
    names = [summary.name for summary in shown]
    busy = any(summary.running for summary in shown)

    @st.fragment(run_every=load.BUSY_SECONDS if busy else load.IDLE_SECONDS)
    def cards() -> None:
        now = {summary.name: summary for summary in load.studies(url)}
        if any(summary.running for summary in now.values()) != busy or list(now)[:1] != names[:1]:
            st.rerun()
        for name in names:
            if name in now:
                _card(url, now[name])

    cards()


def _card(url: str, summary: StudySummary) -> None:
    status = load.status(url, summary.name)
    with st.container(border=True):
        left, right = st.columns([1, 4], vertical_alignment="center")
        with left, st.container(gap=None):
            pages.link("front", f"**{summary.name}**", summary.name)
            st.caption(f"suite {summary.suite} · {parts.state_words(status).lower()}")
        right.html(
            parts.stats_html(
                [
                    ("Best score", units.signed(summary.best_score)),
                    ("Candidates", f"{summary.candidates}"),
                    ("Trials done", f"{status.states.get('done', 0)}"),
                    ("Running", f"{summary.running}"),
                    ("Failed", f"{summary.failed}"),
                    ("Compute spent", units.flops(summary.training_flops)),
                    ("Training time", units.duration(summary.wall_seconds)),
                    ("Started (UTC)", units.moment(summary.created_at)),
                    ("Towards the stop rule", f"{status.fraction_done:.0%}"),
                ]
            )
            + f'<div class="pf-bar"><i style="width:{100 * status.fraction_done:.1f}%"></i></div>'
        )
