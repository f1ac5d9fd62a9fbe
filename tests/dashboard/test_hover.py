"""Templates of hover boxes name their columns, so that a new column changes no value."""

import numpy as np
import pytest

from dashboard.figures import front
from dashboard.figures.hover import hover


def shown(made, index):
    """A template with the extra values of a point in the place of the columns."""
    text = made["hovertemplate"]
    for position, value in enumerate(made["customdata"][index]):
        text = text.replace(f"%{{customdata[{position}]}}", str(value))
    return text


def test_columns_may_be_in_any_order():
    template, columns = "{metric}: {value}, x %{x}", {"value": [0.5, 0.75], "metric": ["return", "accuracy"]}
    other_way = {"metric": columns["metric"], "value": columns["value"]}
    for made in (hover(template, columns), hover(template, other_way)):
        assert shown(made, 0) == "return: 0.5, x %{x}<extra></extra>"
        assert shown(made, 1) == "accuracy: 0.75, x %{x}<extra></extra>"


def test_formats_are_kept_and_maps_have_one_more_axis():
    made = hover("{a:.3f}", {"b": np.zeros((2, 3)), "a": np.ones((2, 3))})
    assert made["hovertemplate"] == "%{customdata[1]:.3f}<extra></extra>"
    assert made["customdata"].shape == (2, 3, 2)


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(KeyError, match="nothing"):
        hover("{nothing}", {"a": [1]})


def test_a_click_finds_the_number_in_any_column(monkeypatch):
    monkeypatch.setattr(front, "COLUMNS", dict(reversed(front.COLUMNS.items())))
    place = list(front.COLUMNS).index("number")
    assert place > 0
    row = [0.0] * len(front.COLUMNS)
    row[place] = 12.0
    assert front.trial_at({"customdata": row}) == 12
    assert front.trial_at({"customdata": {str(i): value for i, value in enumerate(row)}}) == 12
