"""Hover boxes of Plotly traces: their template names columns, and the numbering is done here.

Plotly finds the extra values of a point by position in `customdata`. A template that counts positions by hand
breaks when a column is added.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

FIELD = re.compile(r"(?<!%)\{(\w+)(:[^}]*)?\}")


def hover(template: str, columns: Mapping[str, Any], dtype: type = object) -> dict[str, Any]:
    """The arguments of a trace that give each point a hover box.

    Args:
        template: text of the box. `{name}` and `{name:.3f}` stand for a column; `%{x}` and `%{y}` are
            Plotly's own.
        columns: name -> values, all of one shape, one value per point.
        dtype: of the values that travel to the browser.

    Returns:
        `customdata`, of the columns' shape with one more axis for the columns, and `hovertemplate`.

    Raises:
        KeyError: the template names a column that is not there.
    """
    place = {name: position for position, name in enumerate(columns)}

    def numbered(found: re.Match[str]) -> str:
        return f"%{{customdata[{place[found[1]]}]{found[2] or ''}}}"

    text = FIELD.sub(numbered, template) + "<extra></extra>"
    data = np.stack([np.asarray(values, dtype=dtype) for values in columns.values()], axis=-1)
    return {"customdata": data, "hovertemplate": text}
