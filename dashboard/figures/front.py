"""Score against a cost: every finished trial, the front's staircase, the selected trial.

With two costs the front has no staircase in a plane: its candidates are marked, without a line.
Each point carries its trial's number in its `customdata`, from which `trial_at` answers a click.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard import units
from dashboard.figures import style
from dashboard.figures.hover import hover
from search.pareto import staircase
from search.read.rows import FrontRow, TrialRow
from space.objectives import COSTS

SPARSE_SYMBOL, DENSE_SYMBOL, CONFIRMED_SYMBOL = "circle", "diamond", "x-thin-open"
FLOPS = "flops_per_token"
SCORE = "mean fraction of the expert"
View = tuple[tuple[float, float], tuple[float, float]]  # log10 of a cost, and score, low to high
TICKS = (  # decades in view -> marks within each of them
    (1, (1, 1.5, 2, 3, 4, 5, 7)),
    (2, (1, 2, 3, 5)),
    (3, (1, 2, 5)),
    (float("inf"), (1,)),
)
COLUMNS = {  # column of a point's `customdata` -> its value
    "number": attrgetter("number"),
    "active": attrgetter("active_params"),
    "total": attrgetter("total_params"),
}
SVG_POINTS = 1500  # beyond this many points WebGL draws faster than SVG


def front_figure(
    trials: Sequence[TrialRow],
    front: Sequence[FrontRow],
    rungs: Sequence[int],
    selected: int | None = None,
    marks: dict[int, str] | None = None,
    view: View | None = None,
    height: int = 520,
    palette: style.Palette = style.LIGHT,
    cost: str = FLOPS,
    score: str = SCORE,
) -> go.Figure:
    """Draw a study.

    Args:
        trials: all trials; those without a score are not drawn.
        front: trials on the front.
        rungs: trunk tokens at each rung.
        selected: number of the trial to mark, together with its candidate's other rungs.
        marks: trial number -> label of its point, such as "best" or "knee".
        view: the range to show; None shows all points.
        height: in pixels.
        palette: colours.
        cost: name of the objective along the x axis.
        score: what the score is, along the y axis.
    """
    scored = [t for t in trials if t.state == "done" and t.score is not None]
    if not scored:
        return style.notice("No trial has been scored.", height, palette)
    figure = style.blank(height, palette, hovermode="closest", clickmode="event+select", dragmode="zoom")
    searched = [t for t in scored if t.split == "select"]
    crowded = len(scored) > SVG_POINTS
    draw = (
        figure.add_scattergl if crowded else figure.add_scatter
    )  # one kind for all traces, so that they are drawn in order
    colors = style.rung_colors(len(rungs), palette)
    for sparse in (True, False):
        for rung, tokens in enumerate(rungs):
            members = [t for t in searched if t.rung == rung and t.description.sparse == sparse]
            if members:
                strength = (rung + 1) / len(rungs)
                look = _look(members[0], colors[rung], strength, crowded, palette)
                draw(**_points(members, tokens, cost), **look)
    _add_confirmations(draw, scored, palette, cost)
    _add_front(draw, front, scored, palette, cost)
    _add_selection(draw, scored, selected, palette, cost)
    for number, words in (marks or {}).items():
        _add_mark(figure, front, number, words, palette, cost)
    _label_axes(figure, view or _everything(scored, front, cost), cost, score)
    figure.add_hline(y=0, line={"color": palette.muted, "width": 1, "dash": "dot"}, layer="below")
    return figure


def trial_at(point: dict) -> int | None:
    """Number of the trial of a point in a selection event; None if the point is not a trial."""
    data = point.get("customdata")
    if not data:
        return None
    place = list(COLUMNS).index("number")
    return int(data[str(place)] if isinstance(data, dict) else data[place])  # packed rows are objects


def front_steps(front: Sequence[FrontRow], most: float, cost: str = FLOPS) -> tuple[list[float], list[float]]:
    """Costs and scores of the staircase's corners, cheapest first, extended to a cost of `most`."""
    corners = staircase([(row.score, row.objectives[cost]) for row in front])
    costs, scores = corners[:, 1].tolist(), corners[:, 0].tolist()
    return [*costs, max(most, costs[-1])], [*scores, scores[-1]]


def _points(trials: list[TrialRow], tokens: int, cost: str) -> dict[str, Any]:
    """Data of a trace: the trials of one rung, all sparse or all dense.

    Single precision halves what travels to the browser; whole numbers up to 16.7 million are exact.
    """
    return {
        "x": np.array([t.objectives[cost] for t in trials], dtype=np.float32),
        "y": np.array([t.score for t in trials], dtype=np.float32),
        "text": [t.candidate for t in trials],
        "hovertext": [t.description.label for t in trials],
        **hover(
            "<b>Trial {number}</b> · candidate %{text}<br>"
            f"score %{{y:.3f}} · %{{x:.3s}}{COSTS[cost].unit} {COSTS[cost].words}<br>"
            "%{hovertext}<br>"
            "{active:.3s} active of {total:.3s} parameters<br>"
            f"trained on {units.short(tokens)} tokens",
            {name: [value(t) for t in trials] for name, value in COLUMNS.items()},
            np.float32,
        ),
        "name": f"{units.short(tokens)} tokens",
    }


def _look(
    trial: TrialRow, color: str, strength: float, crowded: bool, palette: style.Palette
) -> dict[str, Any]:
    """Style of a trace; `strength` is 1 at the last rung and less below, `crowded` makes points small."""
    kind = "Sparse" if trial.description.sparse else "Dense"
    opacity = 0.5 + 0.5 * strength
    return {
        "mode": "markers",
        "legendgroup": kind,
        "legendgrouptitle": {"text": kind, "font": {"size": 12, "color": palette.muted}},
        "marker": {
            "color": color,
            "symbol": SPARSE_SYMBOL if trial.description.sparse else DENSE_SYMBOL,
            "size": (4 if crowded else 6) + 4 * strength,
            "opacity": opacity,
            "line": {"width": 0 if crowded else 0.8, "color": palette.ground},
        },
        "selected": {"marker": {"opacity": opacity}},
        "unselected": {"marker": {"opacity": opacity}},
    }


def _add_confirmations(
    draw: Callable[..., object], scored: Sequence[TrialRow], palette: style.Palette, cost: str
) -> None:
    """Each confirmation as a cross: the front holds their mean."""
    members = [t for t in scored if t.split == "report"]
    if not members:
        return
    draw(
        **{**_points(members, members[0].tokens, cost), "name": "one fresh seed, report episodes"},
        mode="markers",
        marker={"symbol": CONFIRMED_SYMBOL, "size": 7, "color": palette.muted},
        legendgroup="confirmed",
        legendgrouptitle={"text": "Confirmations", "font": {"size": 12, "color": palette.muted}},
    )


def _add_front(
    draw: Callable[..., object],
    front: Sequence[FrontRow],
    scored: Sequence[TrialRow],
    palette: style.Palette,
    cost: str,
) -> None:
    """The candidates on the front with their intervals, and the staircase if there is one cost."""
    if not front:
        return
    plane = len(front[0].costs) == 1
    title = "Best for its compute" if cost == FLOPS else "Best for its cost"
    group = {"text": title if plane else "Best for its costs", "font": {"size": 12, "color": palette.muted}}
    name = "front, 95% intervals"
    if plane:
        costs, scores = front_steps(front, max(t.objectives[cost] or 0.0 for t in scored), cost)
        draw(
            x=costs,
            y=scores,
            mode="lines",
            line={"shape": "hv", "color": palette.front, "width": 2},
            name=name,
            legendgroup="front",
            legendgrouptitle=group,
            hoverinfo="skip",
        )
    sparse = {t.number: t.description.sparse for t in scored}
    half = [units.half_interval(row) for row in front]
    draw(
        x=[row.objectives[cost] for row in front],
        y=[row.score for row in front],
        error_y={"array": half, "color": palette.front, "thickness": 1, "width": 3},
        mode="markers",
        marker={
            "symbol": [SPARSE_SYMBOL if sparse[row.trial] else DENSE_SYMBOL for row in front],
            "size": 14,
            "color": "rgba(0,0,0,0)",
            "line": {"color": palette.front, "width": 2},
        },
        name="95% intervals of the front" if plane else name,
        showlegend=not plane,
        legendgroup="front",
        legendgrouptitle=group,
        hoverinfo="skip",
    )


def _add_selection(
    draw: Callable[..., object],
    scored: Sequence[TrialRow],
    selected: int | None,
    palette: style.Palette,
    cost: str,
) -> None:
    chosen = next((t for t in scored if t.number == selected), None)
    if chosen is None:
        return
    own = (t for t in scored if t.candidate == chosen.candidate and t.split == chosen.split)
    path = sorted(own, key=lambda t: t.rung)
    draw(
        x=[t.objectives[cost] for t in path],
        y=[t.score for t in path],
        mode="lines",
        line={"color": palette.selected, "width": 1, "dash": "dot"},
        showlegend=False,
        hoverinfo="skip",
        name="rungs of the selected candidate",
    )
    draw(
        x=[chosen.objectives[cost]],
        y=[chosen.score],
        mode="markers",
        marker={
            "symbol": "circle",
            "size": 22,
            "color": "rgba(0,0,0,0)",
            "line": {"color": palette.selected, "width": 2.5},
        },
        name=f"trial {chosen.number}, selected",
        legendgroup="selected",
        hoverinfo="skip",
    )


def _add_mark(
    figure: go.Figure,
    front: Sequence[FrontRow],
    number: int,
    words: str,
    palette: style.Palette,
    cost: str,
) -> None:
    row = next((row for row in front if row.trial == number), None)
    if row is not None:
        figure.add_annotation(
            x=np.log10(row.objectives[cost]),
            y=row.score,
            text=words,
            showarrow=False,
            xanchor="right",
            xshift=-12,
            yshift=13,
            font={"color": palette.front, "size": 13},
        )


def _everything(scored: Iterable[TrialRow], front: Sequence[FrontRow], cost: str) -> View:
    """A view of all trials and of the front's intervals, with a margin at each side."""
    costs = np.log10(np.array([t.objectives[cost] for t in scored], dtype=float))
    ends = [row.score + side * units.half_interval(row) for row in front for side in (-1, 1)]
    scores = np.array([*(t.score for t in scored), *ends])
    low, high = costs.min(), costs.max()
    least, most = scores.min(), max(scores.max(), 0.0)  # the floor is in view even if all scores are below it
    pad, rise = 0.06 * max(high - low, 0.3), 0.07 * max(most - least, 0.05)
    left = 2.8 * pad  # room for "best, knee" at the cheapest point, beside an open panel, too
    return (low - left, high + pad), (least - rise, most + rise)


def _label_axes(figure: go.Figure, view: View, cost: str, score: str) -> None:
    low, high = view[0]
    decades = high - low
    leads = next(marks for width, marks in TICKS if decades < width)
    powers = range(int(np.floor(low)), int(np.ceil(high)))
    ticks = [lead * 10.0**power for power in powers for lead in leads]
    figure.update_xaxes(
        type="log",
        range=[low, high],
        title_text=f"{COSTS[cost].axis} (log scale)",
        tickformat=".3~s",
        tickvals=ticks if decades > 0.4 else None,
    )
    figure.update_yaxes(
        range=list(view[1]),
        title_text=f"Score: {score} (0 floor, 1 expert)",
        tickformat=".3~f",
    )
