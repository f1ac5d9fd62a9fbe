import numpy as np
import pytest

from dashboard.figures import trial as figures
from dashboard.figures.style import BLUE
from search.rows import CurvePoint


@pytest.fixture
def detail(study):
    return study.detail(study.front[0].trial)


def test_score_bars_show_95_percent_intervals(detail, study):
    bars = figures.score_bars(detail.tasks, study.suite).data[0]
    for task, fraction, half in zip(bars.y, bars.x, bars.error_x.array, strict=True):
        assert fraction == detail.tasks[task].fraction
        assert half == pytest.approx(1.96 * detail.tasks[task].fraction_stderr)
    dark = [color == BLUE for color in bars.marker.color]
    assert dark == [detail.tasks[task].fraction > 0.5 for task in bars.y]


def test_shares_say_how_often_data_was_seen(detail, study):
    bars = figures.share_bars(detail.config.mixture.weights, detail.epochs, study.suite).data[0]
    assert sum(bars.x) == pytest.approx(1, abs=1e-4)
    assert all("seen 0.5 times" in text for text in bars.text)


def test_loss_curves_rise_in_tokens_over_all_rungs(detail, study):
    figure = figures.loss_curves(detail.curves, study.rungs, study.suite)
    total = next(trace for trace in figure.data if trace.name == "total")
    assert (np.diff(total.x) > 0).all()
    assert len(total.x) == len(detail.curves)
    assert {trace.name for trace in figure.data} == {"total", *study.suite.tasks}
    assert len(figure.layout.shapes) == detail.row.rung + 1


def test_a_curve_may_have_gaps(study):
    points = [CurvePoint(1000, 0, 3.0, {"digits": 2.0}), CurvePoint(2000, 0, None, {})]  # pyright: ignore
    figure = figures.loss_curves(points, study.rungs, study.suite)
    assert [trace.name for trace in figure.data] == ["digits", "total"]


def test_load_is_relative_to_an_even_share_and_stands_layer_by_layer():
    routing = {
        "text": [[], [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]],
        "vision": [[], [0.0, 0.0, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0]],
    }
    drawn = figures.load_map(routing).data[0]
    assert list(drawn.y) == ["layer 1, text", "layer 1, vision", "layer 2, text", "layer 2, vision"]
    assert np.allclose(drawn.customdata, [[2, 2, 0, 0], [0, 0, 2, 2], [1, 1, 1, 1], [4, 0, 0, 0]])


def test_a_dense_model_has_no_load():
    assert "dense" in figures.load_map({"text": [[], []]}).layout.annotations[0].text
    assert "dense" in figures.load_map({}).layout.annotations[0].text


def test_nothing_recorded_says_so(study):
    assert figures.score_bars({}, study.suite).layout.annotations
    assert figures.loss_curves([], study.rungs, study.suite).layout.annotations
