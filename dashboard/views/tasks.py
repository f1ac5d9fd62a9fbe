"""The front task by task: a heat map, the number of tasks above each threshold, and the mixtures."""

import streamlit as st

from dashboard import load, selection
from dashboard.figures.tasks import heat_map, mixture_bars, threshold_curves
from dashboard.views import parts
from search.read.rows import FrontRow

MOST_ROWS = 40


def render() -> None:
    """Draw the page."""
    study = parts.study_in_view(
        "Tasks",
        "What the trials on the front reach on each task, as a fraction of the expert: 0 is the floor.",
    )
    parts.live_strip(study)
    if study.why_no_front is not None:
        st.info(study.why_no_front)
        return
    front = study.front[:MOST_ROWS]
    if len(study.front) > MOST_ROWS:
        st.caption(f"The best {MOST_ROWS} of {len(study.front)} trials on the front.")
    selected, colors = selection.trial(), parts.palette()
    parts.chart(heat_map(front, study.suite, selected, colors), "tasks_heat_map")
    with st.container(key="split_tasks"):
        left, right = st.columns(2, gap="medium")
    with left:
        parts.heading(
            "Tasks above each threshold", "How many tasks pass a fraction of the expert; dotted: half."
        )
        parts.chart(threshold_curves(front, _highlighted(study, front, selected), colors), "tasks_thresholds")
    with right:
        parts.heading("Mixtures", "Share of the training tokens that each task got.")
        parts.chart(mixture_bars(front, study.suite, selected, colors), "tasks_mixtures")


def _highlighted(study: load.Study, front: list[FrontRow], selected: int | None) -> dict[int, str]:
    names = dict(study.marks)
    if selected is not None and any(row.trial == selected for row in front):
        names.setdefault(selected, "selected")
    return names
