"""The mean measure over training FLOPs, drawn as SVG: one panel for each family, one line for each method."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contest.runs import BUDGET, GRID

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")
OURS, CEILING = "pathfront", "oracle"  # methods that stand out: a thick red line, and a dotted grey one
WIDE, HIGH, GAP, LEFT, TOP = 260, 200, 30, 45, 40
ENTRY = 150  # width of an entry of the legend
MOST = 1.4  # of the measure that is shown
TICKS_X, TICKS_Y = (0.1, 0.3, 1, 3, 10), (0, 0.5, 1.0)


def plot(lines: Sequence[dict[str, Any]], corner: str, path: Path) -> None:
    """Draw the results of a contest.

    Args:
        lines: of one setting with one number of workers.
        corner: of the hypervolume.
        path: SVG file to write.
    """
    families = sorted({line["family"] for line in lines})
    methods = sorted({line["method"] for line in lines})
    below = TOP + HIGH
    per_row = max(1, len(families) * (WIDE + GAP) // ENTRY)
    size = LEFT + len(families) * (WIDE + GAP), below + 60 + 16 * -(-len(methods) // per_row)
    strokes = _strokes(methods)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11" width="{size[0]}"'
        f' height="{size[1]}">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="{below + 34}">training FLOPs in mean full random trainings;'
        " 1 is what 200 random trainings reach</text>",
    ]
    for column, family in enumerate(families):
        x0 = LEFT + column * (WIDE + GAP)
        parts += _axes(x0, family)
        for method in sorted(methods, key=lambda name: name == OURS):  # on top of the others
            curves = [of[corner]["curve"] for of in lines if (of["family"], of["method"]) == (family, method)]
            if curves:
                where = zip(_x(x0, GRID), _y(np.mean(curves, axis=0)), strict=True)
                points = " ".join(f"{x:.1f},{y:.1f}" for x, y in where)
                parts.append(f'<polyline points="{points}" fill="none" {strokes[method]}/>')
    for place, method in enumerate(methods):
        x, y = LEFT + ENTRY * (place % per_row), below + 54 + 16 * (place // per_row)
        parts.append(f'<line x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}" {strokes[method]}/>')
        parts.append(f'<text x="{x + 30}" y="{y}">{method}</text>')
    path.write_text("\n".join([*parts, "</svg>"]), encoding="utf-8")


def _axes(x0: float, family: str) -> list[str]:
    parts = [f'<text x="{x0}" y="{TOP - 12}" font-weight="bold">{family}</text>']
    for value in TICKS_Y:
        y = float(_y(np.array(value)))
        parts.append(f'<line x1="{x0}" x2="{x0 + WIDE}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>')
        parts.append(f'<text x="{x0 - 24}" y="{y + 4:.1f}">{value:g}</text>')
    places = [(float(_x(x0, value)), value) for value in TICKS_X]
    return parts + [f'<text x="{x - 6:.1f}" y="{TOP + HIGH + 16}">{value:g}</text>' for x, value in places]


def _x(x0: float, spent: Any) -> Any:
    return x0 + WIDE * np.log(np.asarray(spent) / GRID[0]) / np.log(BUDGET / GRID[0])


def _y(value: np.ndarray) -> np.ndarray:
    return TOP + HIGH * (1 - np.clip(value, 0, MOST) / MOST)


def _strokes(methods: Sequence[str]) -> dict[str, str]:
    """How the line of each method is drawn."""
    others = [method for method in methods if method not in (OURS, CEILING)]
    found = {
        method: f'stroke="{COLOURS[place % len(COLOURS)]}" stroke-width="1.4"'
        + (' stroke-dasharray="4 3"' if place >= len(COLOURS) else "")
        for place, method in enumerate(others)
    }
    return {
        **found,
        OURS: 'stroke="#d62728" stroke-width="2.8"',
        CEILING: 'stroke="#666" stroke-width="1.4" stroke-dasharray="2 3"',
    }
