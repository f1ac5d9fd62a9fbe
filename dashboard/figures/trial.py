"""Figures of one trial: scores with intervals, mixture, training curves, expert load."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard import units
from dashboard.figures import style
from dashboard.figures.hover import hover
from dashboard.figures.tasks import tasks_by_domain
from search.read.rows import CurvePoint
from space.records import SuiteRecord
from space.scores import HALF, TaskScore

BAR, HEAD = 30, 64  # pixels of a bar, and of the axes
CURVES = 330  # pixels of the curves without their legend
MANY_ROWS = 16  # of a map, which are lower from there on
MOST_NUMBERED = 8  # experts whose columns have room for a number on a narrow page


def score_bars(
    scores: Mapping[str, TaskScore], suite: SuiteRecord, palette: style.Palette = style.LIGHT
) -> go.Figure:
    """Fraction of the expert on each task with its 95% interval; hovering shows raw values."""
    tasks = [task for task in tasks_by_domain(suite) if task in scores]
    if not tasks:
        return style.notice("Not scored.", palette=palette)
    figure = style.blank(HEAD + BAR * len(tasks), palette)
    figure.add_bar(
        x=[scores[t].fraction for t in tasks],
        y=tasks,
        orientation="h",
        error_x={
            "array": [units.Z95 * scores[t].fraction_stderr for t in tasks],
            "color": palette.ink,
            "thickness": 1.2,
            "width": 4,
        },
        marker={"color": [palette.blue if scores[t].fraction > HALF else palette.rungs[0] for t in tasks]},
        **hover(
            "<b>%{y}</b> ({domain})<br>%{x:.3f} ± {half:.3f} of the expert<br>"
            "{metric} {value:.3f} ± {value_half:.3f}, n = {n}<br>± is the 95% interval",
            {
                "domain": [suite.records[t].domain for t in tasks],
                "half": [units.Z95 * scores[t].fraction_stderr for t in tasks],
                "metric": [suite.records[t].metric for t in tasks],
                "value": [scores[t].value for t in tasks],
                "value_half": [units.Z95 * scores[t].stderr for t in tasks],
                "n": [scores[t].n for t in tasks],
            },
        ),
        showlegend=False,
    )
    for x, words in ((0, "floor"), (HALF, "half"), (1, "expert")):
        figure.add_vline(x=x, line={"color": palette.muted, "width": 1, "dash": "solid" if x == 0 else "dot"})
        figure.add_annotation(
            x=x,
            y=1,
            yref="paper",
            yanchor="bottom",
            text=words,
            showarrow=False,
            font={"size": 12, "color": palette.muted},
        )
    low = min([0.0, *(scores[t].fraction - units.Z95 * scores[t].fraction_stderr for t in tasks)])
    high = max([1.0, *(scores[t].fraction + units.Z95 * scores[t].fraction_stderr for t in tasks)])
    figure.update_xaxes(
        range=[max(low, -1.5) - 0.04, min(high, 2) + 0.04], title_text="Fraction of the expert, 95% interval"
    )
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False, ticksuffix=" ")
    figure.update_layout(margin={"t": 28}, bargap=0.35)
    return figure


def share_bars(
    mixture: Mapping[str, float],
    epochs: Mapping[str, float],
    suite: SuiteRecord,
    palette: style.Palette = style.LIGHT,
) -> go.Figure:
    """Share of the input tokens of each task beside the uniform share, with its number of epochs."""
    tasks = [task for task in tasks_by_domain(suite) if task in mixture]
    if not tasks:
        return style.notice("The mixture names no task of this suite.", palette=palette)
    figure = style.blank(HEAD + BAR * len(tasks), palette)
    figure.add_bar(
        x=[mixture[t] for t in tasks],
        y=tasks,
        orientation="h",
        marker={"color": palette.green},
        hovertemplate="<b>%{y}</b><br>%{x:.1%} of the input tokens<extra></extra>",
        showlegend=False,
    )
    uniform = 1 / len(tasks)
    most = max(uniform, *(mixture[t] for t in tasks))
    figure.add_vline(x=uniform, line={"color": palette.ink, "width": 1, "dash": "dot"})
    for task in tasks:  # in a separate column to the right of all bars and of the line
        seen = f" · seen {_times(epochs[task])}" if task in epochs else ""
        figure.add_annotation(
            x=1.04 * most, y=task, xanchor="left", showarrow=False, text=f"{mixture[task]:.0%}{seen}"
        )
    figure.add_annotation(
        x=uniform, y=1, yref="paper", yanchor="bottom", text="uniform", showarrow=False,
        font={"size": 12, "color": palette.muted},
    )  # fmt: skip
    figure.update_xaxes(
        title_text="Share of the input tokens",
        tickformat=".0%",
        range=[0, 1.7 * most],
    )
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False, ticksuffix=" ")
    figure.update_layout(margin={"t": 28}, bargap=0.35)
    return figure


def loss_curves(
    curves: Sequence[CurvePoint],
    rungs: Sequence[int],
    suite: SuiteRecord,
    palette: style.Palette = style.LIGHT,
) -> go.Figure:
    """Training loss over the candidate's tokens at all its rungs, in total and per task."""
    if not curves:
        return style.notice("No training curve was recorded.", palette=palette)
    points = sorted(curves, key=lambda point: (point.tokens, point.rung))
    figure = style.blank(CURVES, palette, hovermode="x unified")
    tasks = [t for t in tasks_by_domain(suite) if any(t in point.task_losses for point in points)]
    colors = style.category_colors(tasks, palette)
    for task in tasks:
        members = [point for point in points if task in point.task_losses]
        figure.add_scatter(
            x=[point.tokens for point in members],
            y=[point.task_losses[task] for point in members],
            mode="lines",
            line={"color": colors[task], "width": 1.3},
            name=task,
        )
    figure.add_scatter(
        x=[point.tokens for point in points],
        y=[point.loss for point in points],
        mode="lines+markers" if len(points) < 3 else "lines",
        line={"color": palette.ink, "width": 2.5},
        name="total",
    )
    for rung, tokens in enumerate(rungs):
        if rung <= max(point.rung for point in points):
            figure.add_vline(x=tokens, line={"color": palette.faint, "width": 1, "dash": "dot"})
            figure.add_annotation(
                x=tokens, y=1, yref="paper", yanchor="bottom", text=f"rung {rung}", showarrow=False,
                font={"size": 12, "color": palette.muted},
            )  # fmt: skip
    figure.update_traces(hovertemplate="%{y:.3f}")
    figure.update_xaxes(
        title_text="Trunk tokens of the candidate's life", tickformat="~s", rangemode="tozero"
    )
    figure.update_yaxes(title_text="Training loss (nats per token)", rangemode="tozero")
    figure.update_layout(margin={"t": 28})
    style.legend_below(figure, CURVES, 1 + len(tasks) // 3)
    return figure


def load_map(
    routing: Mapping[str, Sequence[Sequence[float]]], palette: style.Palette = style.LIGHT
) -> go.Figure:
    """Load of each expert by layer and domain, relative to an even share.

    1 is balanced, 0 is an expert that the domain does not use.

    Args:
        routing: domain -> (layers, experts), shares of its visits; rows of dense layers may be empty.
        palette: colours.
    """
    layers = max((len(load) for load in routing.values()), default=0)
    rows = {
        f"layer {layer}, {domain}": np.asarray(load[layer], dtype=float)
        for layer in range(layers)
        for domain, load in routing.items()
        if sum(load[layer]) > 0
    }
    if not rows:
        return style.notice("Every layer is dense: there are no experts to load.", palette=palette)
    width = max(len(row) for row in rows.values())
    even = np.full((len(rows), width), np.nan)
    for index, row in enumerate(rows.values()):
        even[index, : len(row)] = row / row.sum() * len(row)
    figure = style.blank(HEAD + 76 + (30 if len(rows) <= MANY_ROWS else 18) * len(rows), palette)
    figure.add_heatmap(
        x=[str(expert) for expert in range(width)],
        y=list(rows),
        z=np.clip(even, 0, 2),
        customdata=even,
        text=[["" if np.isnan(v) else f"{v:.2f}" for v in row] for row in even],
        texttemplate="%{text}" if width <= MOST_NUMBERED else None,
        zmin=0,
        zmax=2,
        colorscale=list(palette.load),
        xgap=2,
        ygap=2,
        colorbar={
            "thickness": 12,
            "outlinewidth": 0,
            "tickvals": [0, 1, 2],
            "ticktext": ["0 unused", "1 even", "2 or more"],
        },
        hovertemplate="%{y}, expert %{x}<br>%{customdata:.2f} times an even share<extra></extra>",
    )
    figure.update_xaxes(title_text="Expert", ticks="", showgrid=False, type="category")
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False, type="category")
    return figure


def _times(epochs: float) -> str:
    return f"{units.short(epochs)} times"
