import numpy as np
import pytest

from dashboard.figures import trial as figures
from dashboard.figures.style import DARK, LIGHT
from search.read.rows import CurvePoint


@pytest.fixture
def detail(study):
    return study.detail(study.front[0].trial)


def point(tokens, loss, task_losses):
    return CurvePoint(tokens=tokens, rung=0, loss=loss, task_losses=task_losses)


def test_score_bars_show_95_percent_intervals(detail, study):
    bars = figures.score_bars(detail.tasks, study.suite).data[0]
    for task, fraction, half in zip(bars.y, bars.x, bars.error_x.array, strict=True):
        assert fraction == detail.tasks[task].fraction
        assert half == pytest.approx(1.96 * detail.tasks[task].fraction_stderr)
    strong = [color == LIGHT.blue for color in bars.marker.color]
    assert strong == [detail.tasks[task].fraction > 0.5 for task in bars.y]


def test_shares_say_how_often_data_was_seen(detail, study):
    bars = figures.share_bars(detail.config.mixture.weights, detail.epochs, study.suite).data[0]
    assert sum(bars.x) == pytest.approx(1, abs=1e-4)
    figure = figures.share_bars(detail.config.mixture.weights, detail.epochs, study.suite)
    notes = [note for note in figure.layout.annotations if note.text != "uniform"]
    assert [note.y for note in notes] == list(bars.y)
    assert all("seen 0.5 times" in note.text for note in notes)


def test_no_label_of_a_share_lies_on_a_bar_or_on_the_uniform_line(study):
    for weights in ({"digits": 0.98, "taxi": 0.02}, dict.fromkeys(study.suite.tasks, 0.125)):
        figure = figures.share_bars(weights, {}, study.suite)
        line = figure.layout.shapes[0].x0
        assert line == 1 / len(weights)
        labels = [note for note in figure.layout.annotations if note.xanchor]
        assert len(labels) == len(weights)
        assert all(label.x > max(line, *weights.values()) for label in labels)


def test_dark_figures_have_no_light_ground_and_no_dark_ink(detail, study):
    drawn = [
        figures.score_bars(detail.tasks, study.suite, DARK),
        figures.share_bars(detail.config.mixture.weights, detail.epochs, study.suite, DARK),
        figures.loss_curves(detail.curves, study.rungs, study.suite, DARK),
        figures.load_map({"text": [[0.5, 0.5]]}, DARK),
        figures.score_bars({}, study.suite, DARK),
    ]
    for figure in drawn:
        text = figure.to_json()
        assert figure.layout.paper_bgcolor == DARK.ground
        for color in (LIGHT.ground, LIGHT.ink, LIGHT.muted, LIGHT.grid, LIGHT.selected, '"white"'):
            assert color not in text


def test_loss_curves_rise_in_tokens_over_all_rungs(detail, study):
    figure = figures.loss_curves(detail.curves, study.rungs, study.suite)
    total = next(trace for trace in figure.data if trace.name == "total")
    assert (np.diff(total.x) > 0).all()
    assert len(total.x) == len(detail.curves)
    assert {trace.name for trace in figure.data} == {"total", *study.suite.tasks}
    assert len(figure.layout.shapes) == detail.row.rung + 1


def test_the_legend_of_many_tasks_takes_no_height_from_the_curves(study):
    losses = dict.fromkeys(study.suite.tasks, 2.0)
    few, many = [point(1000, 3.0, {"digits": 2.0})], [point(1000, 3.0, losses)]
    heights = []
    for points in (few, many):
        layout = figures.loss_curves(points, study.rungs, study.suite).layout
        heights.append(layout.height - layout.margin.t - layout.margin.b)
        assert layout.legend.yref == "container"
    assert heights[0] == heights[1] > 200


def test_a_curve_may_have_gaps(study):
    points = [point(1000, 3.0, {"digits": 2.0}), point(2000, None, {})]
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
