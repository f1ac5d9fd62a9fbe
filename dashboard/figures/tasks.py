"""Figures of the front per task: fractions of the expert, tasks above each threshold, mixtures."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.figures import style
from dashboard.figures.hover import hover
from search.read.rows import FrontRow
from space.records import SuiteRecord

ROW, HEAD, LINE_HEIGHT = 26, 80, 15  # pixels of a row of a table-like figure, its axes, a line of text
LEGEND_ROW, LEGEND_HEAD = 24, 70  # pixels that a legend needs so that it does not scroll
CURVES = 350  # pixels of the curves without their legend
THRESHOLDS = np.linspace(0, 1, 101)
LINE = 11  # letters of a line of a task's name over its column
LETTER = 6.6  # pixels of one
NARROW = 560  # pixels of all columns of the map on a page of 800
MOST_UPRIGHT = 48  # columns that have room for their names upright
MOST_BARS = len(style.LIGHT.categories)


def tasks_by_domain(suite: SuiteRecord) -> list[str]:
    """Tasks of a suite with those of a domain side by side, domains in the order of their first task."""
    domains = list(dict.fromkeys(suite.records[task].domain for task in suite.tasks))
    return sorted(suite.tasks, key=lambda task: domains.index(suite.records[task].domain))


def heat_map(
    front: Sequence[FrontRow],
    suite: SuiteRecord,
    selected: int | None = None,
    palette: style.Palette = style.LIGHT,
) -> go.Figure:
    """Fractions of the expert, front x tasks; colours are clipped to [0, 1], numbers are not.

    If a suite has very many tasks, a column is the mean over the tasks of a family within a domain.
    """
    if not front:
        return style.notice("No trial is on the front.", palette=palette)
    columns = _columns(suite)
    names = [name for _, name in columns]
    fractions = np.array([[_mean(row, tasks) for tasks in columns.values()] for row in front])
    upright = not _fit_flat(names)
    head = HEAD + round(LETTER * max(map(len, names))) if upright else HEAD + _lines(names) * LINE_HEIGHT
    figure = style.blank(head + ROW * len(front) + 30, palette)
    figure.add_heatmap(
        x=[[domain for domain, _ in columns], names if upright else [in_lines(name) for name in names]],
        y=_labels(front, selected),
        z=np.clip(fractions, 0, 1),
        text=[["" if np.isnan(value) else f"{value:z.2f}" for value in row] for row in fractions],
        texttemplate="%{text}",
        textfont={"size": 11 if upright else 13},
        zmin=0,
        zmax=1,
        colorscale=list(palette.fraction),
        xgap=2,
        ygap=2,
        colorbar={
            "thickness": 12,
            "tickvals": [0, 0.5, 1],
            "ticktext": ["floor", "half", "expert"],
            "outlinewidth": 0,
        },
        **hover(
            "<b>%{y}</b><br>{task}<br>{fraction:.3f} of the expert",
            {"task": [names] * len(front), "fraction": fractions},
        ),
    )
    figure.update_yaxes(autorange="reversed", ticks="", type="category", showgrid=False)
    figure.update_xaxes(
        side="top",
        ticks="",
        showgrid=False,
        showdividers=True,
        dividercolor=palette.faint,
        tickangle=-90 if upright else 0,
    )
    figure.update_layout(margin={"l": 90, "r": 16, "t": head - 32, "b": 16})
    return figure


def tasks_above(fractions: Sequence[float], thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """How many fractions lie above each threshold. Shape (thresholds,)."""
    return (np.asarray(fractions, dtype=float)[None, :] > thresholds[:, None]).sum(axis=1)


def threshold_curves(
    front: Sequence[FrontRow], highlighted: dict[int, str], palette: style.Palette = style.LIGHT
) -> go.Figure:
    """Number of tasks above each fraction of the expert, one line per trial (Reed 2022, figure 5).

    Args:
        front: the front's trials.
        highlighted: trial number -> its name in the legend, such as "best"; the others are faint.
        palette: colours.
    """
    if not front:
        return style.notice("No trial is on the front.", palette=palette)
    figure = style.blank(CURVES, palette, hovermode="closest")
    colors = iter((palette.front, palette.blue, palette.selected))
    faint = [row for row in front if row.trial not in highlighted]
    for i, row in enumerate(faint):
        _add_curve(
            figure, row, {"color": palette.faint, "width": 1.2}, "other trials of the front", "other", i == 0
        )
    for row in front:
        if row.trial in highlighted:
            name = f"trial {row.trial}, {highlighted[row.trial]}"
            _add_curve(figure, row, {"color": next(colors), "width": 2.5}, name, str(row.trial), True)
    figure.add_vline(x=0.5, line={"color": palette.muted, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="Threshold: fraction of the expert", range=[0, 1], tickformat=".1f")
    figure.update_yaxes(
        title_text="Tasks above it", range=[0, len(front[0].tasks) + 0.3], tickformat="d", dtick=_step(front)
    )
    style.legend_below(figure, CURVES, 2)
    return figure


def mixture_bars(
    front: Sequence[FrontRow],
    suite: SuiteRecord,
    selected: int | None = None,
    palette: style.Palette = style.LIGHT,
) -> go.Figure:
    """Each front trial's shares of input tokens, stacked to 1; by domain if a suite has many tasks."""
    if not front:
        return style.notice("No trial is on the front.", palette=palette)
    tasks = tasks_by_domain(suite)
    group = {task: task if len(tasks) <= MOST_BARS else suite.records[task].domain for task in tasks}
    names = list(dict.fromkeys(group.values()))
    colors = style.category_colors(names, palette)
    height = max(LEGEND_HEAD + LEGEND_ROW * len(names), HEAD + ROW * len(front))
    figure = style.blank(height, palette, barmode="stack", bargap=0.25)
    for name in names:
        shares = [sum(row.mixture.get(t, 0.0) for t in tasks if group[t] == name) for row in front]
        figure.add_bar(
            x=shares,
            y=_labels(front, selected),
            orientation="h",
            name=name,
            marker={"color": colors[name], "line": {"color": palette.ground, "width": 1}},
            hovertemplate="<b>%{y}</b><br>" + name + ": %{x:.1%} of the tokens<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", ticks="", type="category", showgrid=False)
    figure.update_xaxes(title_text="Share of the input tokens", range=[0, 1], tickformat=".0%")
    figure.update_layout(legend={"traceorder": "normal"}, margin={"l": 90, "t": 8})
    return figure


def _add_curve(figure: go.Figure, row: FrontRow, line: dict, name: str, group: str, legend: bool) -> None:
    figure.add_scatter(
        x=THRESHOLDS,
        y=tasks_above(list(row.tasks.values())),
        mode="lines",
        line={"shape": "hv", **line},
        name=name,
        legendgroup=group,
        showlegend=legend,
        hovertemplate=f"<b>trial {row.trial}</b><br>%{{y}} tasks above %{{x:.2f}}<extra></extra>",
    )


def _fit_flat(names: Sequence[str]) -> bool:
    """Whether the names, in lines, fit over their columns on a narrow page."""
    widest = max(len(line) for name in names for line in in_lines(name).split("<br>"))
    return widest * LETTER < NARROW / len(names)


def _lines(names: Sequence[str]) -> int:
    return max(in_lines(name).count("<br>") + 1 for name in names)


def in_lines(name: str) -> str:
    """A task's name in lines of about `LINE` letters, broken after hyphens."""
    lines = [""]
    for part in name.replace("-", "-\n").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > LINE:
            lines.append("")
        lines[-1] += part
    return "<br>".join(lines)


def _columns(suite: SuiteRecord) -> dict[tuple[str, str], list[str]]:
    """Domain and name of each column -> its tasks."""
    columns: dict[tuple[str, str], list[str]] = {}
    for task in tasks_by_domain(suite):
        record = suite.records[task]
        name = task if len(suite.tasks) <= MOST_UPRIGHT else record.family
        columns.setdefault((record.domain, name), []).append(task)
    return columns


def _mean(row: FrontRow, tasks: Sequence[str]) -> float:
    """Mean fraction over tasks; NaN if one is missing."""
    return float(np.mean([row.tasks.get(task, np.nan) for task in tasks]))


def _labels(front: Sequence[FrontRow], selected: int | None) -> list[str]:
    return [f"<b>▸ trial {row.trial}</b>" if row.trial == selected else f"trial {row.trial}" for row in front]


def _step(front: Sequence[FrontRow]) -> int:
    return max(1, round(len(front[0].tasks) / 8))
