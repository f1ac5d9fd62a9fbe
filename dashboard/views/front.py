"""The front: every trial's score against its compute, the best for each budget, the selected trial."""

import pandas as pd
import streamlit as st

from dashboard import load, pages, selection, units, zoom
from dashboard.figures import style
from dashboard.figures.front import front_figure, trial_at
from dashboard.views import parts
from search.rows import FrontRow, TrialRow

TABLE = "front_table"
HALF = 0.5


def render() -> None:
    """Draw the page."""
    study = parts.study_in_view(
        "Front",
        "Each point is a trial, the line joins the best for their compute. Click a point to look at it,"
        " drag to zoom, double-click to see all.",
    )
    parts.live_strip(study)
    _chart_and_detail(study)


@st.fragment
def _chart_and_detail(study: load.Study) -> None:
    selected = selection.trial()
    view = zoom.view(study.name, (study.key, selected))
    left, right = st.columns([2.6, 1], gap="medium")
    with right:  # before the chart, which takes longer to travel
        row = next((t for t in study.trials if t.number == selected), None)
        if row is None:
            _nothing_selected(study, selected)
        else:
            _selected(study, row)
    with left:
        st.plotly_chart(
            front_figure(study.trials, study.front, study.rungs, selected, study.marks, view),
            theme=None,
            key=zoom.CHART,
            on_select=_point_clicked,
            selection_mode="points",
            config=style.CONFIG,
        )
    _table(study)
    zoom.listen(study.name)


def _point_clicked() -> None:
    points = st.session_state[zoom.CHART].selection.points
    number = trial_at(points[0]) if points else None
    if number is not None:  # an empty selection is also what a redrawn chart reports
        selection.choose_trial(number)


def _nothing_selected(study: load.Study, selected: int | None) -> None:
    if selected is not None:
        st.info(f"Study {study.name} has no trial {selected}.")
    parts.heading("No trial selected", "Click a point, or take one from the front at once:")
    for pick, words in (("best", "the best score"), ("knee", "the most score for its compute")):
        parts.heading("", f"{pick}: {words}")
        st.code(study.command("export", f"--pick {pick} -o best/"), language=None, wrap_lines=True)


def _selected(study: load.Study, row: TrialRow) -> None:
    detail = study.detail(row.number)
    above = sum(score.fraction > HALF for score in detail.tasks.values())
    with st.container(border=True, key="detail"):
        parts.heading(f"Trial {row.number}" + (" · on the front" if detail.on_front else ""))
        facts = [
            ("Candidate", row.candidate),
            ("Score", units.signed(row.score, row.stderr)),
            ("Above half", f"{above} of {len(detail.tasks)} tasks" if detail.tasks else row.state),
            ("Compute", f"{units.flops(row.flops_per_token)} per token"),
            ("Architecture", parts.shape(row)),
            ("Parameters", f"{units.short(row.active_params)} active of {units.short(row.total_params)}"),
            ("Trained", f"{units.short(row.tokens)} tokens, rung {row.rung}"),
            ("Learning rate", f"{detail.config.learning_rate:.3g}"),
            ("Proposed by", row.origin),
        ]
        st.html(parts.facts_html(facts))
        pages.link("trial", "**Everything about this trial →**", study.name, row.number)
        st.code(detail.export_command, language=None, wrap_lines=True)
        st.button("Clear the selection", on_click=selection.choose_trial, args=(None,), type="tertiary")


def _table(study: load.Study) -> None:
    if not study.front:
        return
    parts.heading("On the front, best score first")
    trials = {trial.number: trial for trial in study.trials}
    rows = [_table_row(row, trials[row.trial], study.marks) for row in study.front]
    key = f"{TABLE}_{selection.trial()}"  # a click on the chart lets the table's own choice go

    def row_clicked() -> None:
        cells = st.session_state[key].selection["cells"]
        if cells:
            selection.choose_trial(int(rows[cells[0][0]]["Trial"]))

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key=key,
        on_select=row_clicked,
        selection_mode="single-cell",
        column_config={
            "Score": st.column_config.NumberColumn(format="%.3f"),
            "± s.e.": st.column_config.NumberColumn(format="%.3f"),
            "FLOPs per token": st.column_config.NumberColumn(format="compact"),
            "Active params": st.column_config.NumberColumn(format="compact"),
            "Total params": st.column_config.NumberColumn(format="compact"),
            "Tokens": st.column_config.NumberColumn(format="compact"),
        },
    )


def _table_row(row: FrontRow, trial: TrialRow, marks: dict[int, str]) -> dict[str, object]:
    return {
        "Trial": row.trial,
        "Mark": marks.get(row.trial, ""),
        "Score": row.score,
        "± s.e.": row.score_stderr,
        "Above half": f"{row.above(HALF)} of {len(row.tasks)}",
        "FLOPs per token": row.flops_per_token,
        "Active params": row.active_params,
        "Total params": row.total_params,
        "Architecture": parts.shape(trial),
        "Rung": row.rung,
        "Tokens": row.tokens,
        "Candidate": row.candidate,
    }
