"""The look that all figures share: colours that colour-blind readers can tell apart, a quiet white template.

Colours after Okabe and Ito 2008, https://jfly.uni-koeln.de/color/.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

INK = "#1f2933"
MUTED = "#6b7785"
GRID = "#e8ecf1"
FAINT = "#c3ccd6"
FRONT = "#d55e00"
BLUE = "#0b5cad"
GREEN = "#009e73"
PURPLE = "#8e4a9e"
SELECTED = "#111111"

RUNGS = ["#a9c4e0", "#5f98d0", BLUE]  # few tokens to many
FRACTION = ["#f7f9fb", "#dbe8f5", "#b5d1ea", "#5b9bd1", "#0b4a8f"]  # floor to expert
LOAD = ["#a6611a", "#e6cfa8", "#f7f7f7", "#9fd3ca", "#01665e"]  # unused to overloaded
CATEGORIES = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a800", "#5c4b8a",
    "#7f7f7f", "#8c564b", "#66c2a5", "#1f2933",
)  # fmt: skip

FONT = "Source Sans, Source Sans Pro, Inter, system-ui, sans-serif"
CONFIG = {"displayModeBar": False, "doubleClick": "autosize"}


def rung_colors(count: int) -> list[str]:
    """One colour a rung, pale for the first and strong for the last."""
    if count == 1:
        return [BLUE]
    sampled = sample_colorscale(RUNGS, [rung / (count - 1) for rung in range(count)])
    return [str(color) for color in sampled]


def category_colors(names: Sequence[str]) -> dict[str, str]:
    """Name -> colour, in the order of the names; colours repeat beyond twelve."""
    return {name: CATEGORIES[i % len(CATEGORIES)] for i, name in enumerate(names)}


def blank(height: int, **layout: Any) -> go.Figure:
    """An empty figure in the shared look; `height` in pixels."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 16, "t": 16, "b": 52},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": FONT, "size": 13, "color": INK},
        hoverlabel={
            "bgcolor": "white",
            "bordercolor": FAINT,
            "font": {"color": INK, "size": 13},
            "align": "left",
        },
        legend={"font": {"size": 12}, "bgcolor": "rgba(255,255,255,0.85)"},
        **layout,
    )
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": FAINT,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": FAINT,
        "title": {"font": {"size": 13, "color": MUTED}, "standoff": 10},
        "automargin": True,
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def notice(text: str, height: int = 160) -> go.Figure:
    """A figure that says in words why there is nothing to draw."""
    figure = blank(height)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=text, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    figure.update_annotations(font={"color": MUTED, "size": 14})
    return figure
