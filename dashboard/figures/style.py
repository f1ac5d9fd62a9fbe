"""The style of all figures: a plain template and two palettes that colour-blind readers can distinguish.

Categories after Okabe and Ito 2008, https://jfly.uni-koeln.de/color/.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale


@dataclass(frozen=True)
class Palette:
    """The colours of a scheme.

    Attributes:
        rungs: few tokens to many.
        fraction: floor to expert.
        load: unused to overloaded.
        categories: one per task.
    """

    name: str
    ground: str
    ink: str
    muted: str
    grid: str
    faint: str
    front: str
    blue: str
    green: str
    selected: str
    rungs: tuple[str, ...]
    fraction: tuple[str, ...]
    load: tuple[str, ...]
    categories: tuple[str, ...]


LIGHT = Palette(
    name="light",
    ground="#ffffff",
    ink="#1f2933",
    muted="#66727f",
    grid="#e8ecf1",
    faint="#c3ccd6",
    front="#d55e00",
    blue="#0b5cad",
    green="#009e73",
    selected="#111111",
    rungs=("#a9c4e0", "#5f98d0", "#0b5cad"),
    fraction=("#f7f9fb", "#dbe8f5", "#b5d1ea", "#5b9bd1", "#0b4a8f"),
    load=("#a6611a", "#e6cfa8", "#f7f7f7", "#9fd3ca", "#01665e"),
    categories=(
        "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a800", "#5c4b8a",
        "#7f7f7f", "#8c564b", "#66c2a5", "#1f2933",
    ),
)  # fmt: skip
DARK = Palette(
    name="dark",
    ground="#11161d",
    ink="#e3e8ee",
    muted="#9aa6b3",
    grid="#252d37",
    faint="#475260",
    front="#ff9044",
    blue="#5aa9f0",
    green="#2fbf94",
    selected="#f4f6f8",
    rungs=("#4f7499", "#5f9bd6", "#8accff"),
    fraction=("#182029", "#1f3850", "#2a5c8c", "#4b95d3", "#b4dcff"),
    load=("#e0964a", "#77522a", "#262d36", "#23645d", "#4fd0c0"),
    categories=(
        "#3b9ddb", "#e69f00", "#1fb58b", "#d98bb5", "#8fd0f5", "#f0783c", "#cfc31f", "#9a86d6",
        "#a3a3a3", "#c28778", "#9be0c8", "#e3e8ee",
    ),
)  # fmt: skip

FONT = "Source Sans, Source Sans Pro, Inter, system-ui, sans-serif"
AXIS, LEGEND_ROW = 60, 22  # pixels of an axis with its title, and of a row of a legend below it
CONFIG = {"displayModeBar": False, "doubleClick": "autosize"}


def rung_colors(count: int, palette: Palette = LIGHT) -> list[str]:
    """One colour per rung, from faint for the first to strong for the last."""
    if count == 1:
        return [palette.blue]
    sampled = sample_colorscale(list(palette.rungs), [rung / (count - 1) for rung in range(count)])
    return [str(color) for color in sampled]


def category_colors(names: Sequence[str], palette: Palette = LIGHT) -> dict[str, str]:
    """Name -> colour, in the order of the names; colours repeat beyond twelve."""
    colors = palette.categories
    return {name: colors[i % len(colors)] for i, name in enumerate(names)}


def blank(height: int, palette: Palette = LIGHT, **layout: Any) -> go.Figure:
    """An empty figure in the shared look; `height` in pixels."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 16, "t": 16, "b": 52},
        paper_bgcolor=palette.ground,
        plot_bgcolor=palette.ground,
        font={"family": FONT, "size": 13, "color": palette.ink},
        hoverlabel={
            "bgcolor": palette.ground,
            "bordercolor": palette.faint,
            "font": {"color": palette.ink, "size": 13},
            "align": "left",
        },
        legend={"font": {"size": 12}, "bgcolor": "rgba(0,0,0,0)"},
        **layout,
    )
    axis = {
        "gridcolor": palette.grid,
        "zeroline": False,
        "linecolor": palette.faint,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": palette.faint,
        "title": {"font": {"size": 13, "color": palette.muted}, "standoff": 10},
        "automargin": True,
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def legend_below(figure: go.Figure, height: int, rows: int) -> None:
    """Put the legend below the axis title, where it covers no points.

    Args:
        figure: a figure.
        height: of the figure without the legend, in pixels.
        rows: of the legend on a narrow page.
    """
    figure.update_layout(
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
        },
        margin={"b": AXIS + LEGEND_ROW * rows},
        height=height + LEGEND_ROW * rows,
    )


def notice(text: str, height: int = 160, palette: Palette = LIGHT) -> go.Figure:
    """A figure with a text that explains why there is nothing to draw."""
    figure = blank(height, palette)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=text, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    figure.update_annotations(font={"color": palette.muted, "size": 14})
    return figure
