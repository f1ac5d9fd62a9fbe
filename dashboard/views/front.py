"""The front: every trial's score against its cost, the best for each budget, the selected trial."""

import pandas as pd
import streamlit as st

from dashboard import load, selection, units, zoom
from dashboard.figures import style
from dashboard.figures.front import front_figure, trial_at
from dashboard.views import parts
from search.read.rows import FrontRow, TrialRow
from space.objectives import COSTS, score_title, score_words
from space.words import counted

TABLE = "front_table"
INTERVAL = "± 95%"
SELECTED = "Selected at"
PICKS = {"best": "the best score", "knee": "the most score for its cost"}


def render() -> None:
    """Draw the page."""
    study = parts.study_in_view(
        "Front",
        "Each point is a trial; the front has the best scores for their cost. Click a point to select it,"
        " drag to zoom, double-click to reset.",
    )
    parts.live_strip(study)
    if study.suite.weights:
        st.caption(f"Score: {score_words(study.suite)}.")
    _chart_and_detail(study)


@st.fragment
def _chart_and_detail(study: load.Study) -> None:
    selected = selection.trial()
    colors = parts.palette()
    cost = _cost(study)
    shown = f"{study.name} {cost}"  # each axis has a zoom of its own
    view = zoom.view(shown, (study.key, selected, colors.name))
    if study.why_no_front is not None:
        st.info(study.why_no_front)
    with st.container(key="split_front"):
        left, right = st.columns([2.6, 1], gap="medium")
        with right:  # before the chart, which takes longer to send
            if selected is not None and study.has(selected):
                parts.trial_card(study, selected)
            else:
                _nothing_selected(study, selected)
        if study.scored:
            figure = front_figure(
                study.trials,
                study.front,
                study.rungs,
                selected,
                study.marks,
                view,
                palette=colors,
                cost=cost,
                score=score_title(study.suite),
            )
            left.plotly_chart(
                figure,
                theme=None,
                key=zoom.CHART,
                on_select=lambda: _point_clicked(study),
                selection_mode="points",
                config=style.CONFIG,
            )
    _table(study)
    zoom.listen(shown)


def _cost(study: load.Study) -> str:
    """The cost along the x axis; one of two is chosen."""
    costs = study.objectives.costs
    if len(costs) == 1:
        return costs[0]
    titles = {name: COSTS[name].heading for name in costs}
    chosen = st.segmented_control(
        "Cost along the x axis",
        list(costs),
        default=costs[0],
        format_func=titles.__getitem__,
        key="front_cost",
    )
    return costs[0] if chosen is None else chosen


def _point_clicked(study: load.Study) -> None:
    points = st.session_state[zoom.CHART].selection.points
    number = trial_at(points[0]) if points else None
    if number is not None:  # a redrawn chart reports an empty selection, too
        selection.choose_trial(study.name, number)


def _nothing_selected(study: load.Study, selected: int | None) -> None:
    wrong = selection.wrong_trial() if selected is None else str(selected)
    if wrong is not None:
        st.info(f"Study {study.name} has no trial {wrong}.")
    if not study.front:
        return
    parts.heading("No trial selected", "Click a point, or a row of the table.")
    for pick, number in study.picks.items():
        parts.heading("", f"{pick}: {PICKS[pick]}, trial {number}")
        parts.export_box(study.detail(number))


def _table(study: load.Study) -> None:
    if not study.front:
        return
    parts.heading("On the front, best score first")
    trials = {trial.number: trial for trial in study.trials}
    marks = study.marks
    confirmed = any(row.split == "report" for row in study.front)
    rows = [_table_row(row, trials[row.trial], marks, confirmed) for row in study.front]
    key = f"{TABLE}_{selection.trial()}"  # a new key clears the table's selection after a click on the chart

    def row_clicked() -> None:
        cells = st.session_state[key].selection["cells"]
        if cells:
            selection.choose_trial(study.name, int(rows[cells[0][0]]["Trial"]))

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key=key,
        on_select=row_clicked,
        selection_mode="single-cell",
        column_config={
            "Score": st.column_config.NumberColumn(format="%.3f"),
            INTERVAL: st.column_config.NumberColumn(format="%.3f"),
            SELECTED: st.column_config.NumberColumn(format="%.3f"),
            "FLOPs per token": st.column_config.NumberColumn(format="compact"),
            "Active params": st.column_config.NumberColumn(format="compact"),
            "Total params": st.column_config.NumberColumn(format="compact"),
            "Tokens": st.column_config.NumberColumn(format="compact"),
            **parts.cost_columns(study.objectives.costs),
        },
    )


def _table_row(row: FrontRow, trial: TrialRow, marks: dict[int, str], confirmed: bool) -> dict[str, object]:
    """A row of the table; `confirmed` adds two columns about confirmed means."""
    seeds = counted(row.seeds, "fresh seed") if row.split == "report" else "no"
    return {
        "Trial": row.trial,
        "Mark": marks.get(row.trial, ""),
        "Score": row.score,
        INTERVAL: units.half_interval(row),
        **({"Confirmed": seeds, SELECTED: row.selected_score} if confirmed else {}),
        "Above half": f"{row.above()} of {len(row.tasks)}",
        "FLOPs per token": row.flops_per_token,
        "Active params": row.active_params,
        "Total params": row.total_params,
        **{COSTS[name].heading: value for name, value in row.costs.items()},
        "Architecture": trial.description.label,
        "Rung": row.rung,
        "Tokens": row.tokens,
        "Candidate": row.candidate,
    }
