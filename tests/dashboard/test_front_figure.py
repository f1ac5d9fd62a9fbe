from dataclasses import replace

import numpy as np
import pytest

from dashboard.figures import front as figures
from dashboard.figures import style
from search.read.rows import FrontRow, TrialRow
from space.candidate import Architecture, CandidateConfig
from space.description import describe
from space.mixture import TaskMixture


def described(sparse):
    architecture = Architecture(depth=2, width=64, experts=8 if sparse else 1, top_k=2 if sparse else 1)
    mixture = TaskMixture(weights={"digits": 1.0})
    return describe(CandidateConfig(architecture=architecture, mixture=mixture, learning_rate=1e-3))


def trial(number, score, flops, *, rung=0, sparse=True, candidate=None, state="done"):
    return TrialRow(
        number=number,
        candidate=candidate or f"{number:012x}",
        rung=rung,
        seed=0,
        attempt=1,
        state=state,
        score=score,
        stderr=0.01,
        flops_per_token=flops,
        active_params=200_000,
        total_params=900_000,
        tokens=225_000,
        progress_tokens=225_000,
        training_flops=1e12,
        wall_seconds=10.0,
        description=described(sparse),
        origin="stratified",
    )


def front_row(row):
    return FrontRow(
        trial=row.number,
        candidate=row.candidate,
        score=row.score,
        score_stderr=row.stderr,
        confirmed=False,
        flops_per_token=row.flops_per_token,
        active_params=row.active_params,
        total_params=row.total_params,
        rung=row.rung,
        tokens=row.tokens,
        tasks={"digits": row.score},
        mixture={"digits": 1.0},
        config={},
    )


RUNGS = (225_000, 450_000)
CHEAP = trial(0, 0.2, 1e5, sparse=False)
MIDDLE = trial(1, 0.5, 4e5, rung=1)
DEAR = trial(2, 0.6, 2e6)
BEATEN = trial(3, 0.4, 9e5)
TRIALS = [CHEAP, MIDDLE, DEAR, BEATEN, trial(4, None, 5e5, state="failed")]
FRONT = [front_row(row) for row in (DEAR, MIDDLE, CHEAP)]


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def points(figure):
    return [trace for trace in figure.data if trace.customdata is not None]


def test_staircase_passes_through_every_point_of_the_front():
    flops, scores = figures.front_steps(FRONT, 3e6)
    corners = set(zip(flops, scores, strict=True))
    assert {(row.flops_per_token, row.score) for row in FRONT} <= corners
    assert flops == sorted(flops)
    assert (flops[-1], scores[-1]) == (3e6, 0.6)


def test_staircase_is_the_best_score_that_a_budget_buys():
    rng = np.random.default_rng(0)
    rows = [front_row(trial(i, s, 10**f)) for i, (s, f) in enumerate(rng.random((40, 2)) + 1)]
    flops, scores = figures.front_steps(rows, 1e3)
    for budget in np.logspace(1.05, 2.2, 30):
        bought = max((row.score for row in rows if row.flops_per_token <= budget), default=None)
        step = [s for f, s in zip(flops, scores, strict=True) if f <= budget]
        assert (step[-1] if step else None) == bought


def test_ties_share_a_corner():
    rows = [front_row(MIDDLE), front_row(replace(MIDDLE, number=9, candidate="f" * 12))]
    assert figures.front_steps(rows, MIDDLE.flops_per_token) == ([4e5, 4e5], [0.5, 0.5])
    figure = figures.front_figure([MIDDLE, replace(MIDDLE, number=9)], rows, RUNGS)
    assert len(traces(figure, "95% intervals of the front")[0].x) == 2


def test_failed_and_running_trials_are_not_points():
    drawn = [
        int(row[0])
        for trace in points(figures.front_figure(TRIALS, FRONT, RUNGS))
        for row in trace.customdata
    ]
    assert sorted(drawn) == [0, 1, 2, 3]


def test_dense_and_sparse_differ_by_symbol_and_rungs_by_colour():
    figure = figures.front_figure(TRIALS, FRONT, RUNGS)
    symbols = {trace.legendgroup: trace.marker.symbol for trace in points(figure)}
    assert symbols == {"Sparse": figures.SPARSE_SYMBOL, "Dense": figures.DENSE_SYMBOL}
    sparse = [trace for trace in points(figure) if trace.legendgroup == "Sparse"]
    assert [trace.name for trace in sparse] == ["225k tokens", "450k tokens"]
    assert sparse[0].marker.color != sparse[1].marker.color
    assert sparse[0].marker.opacity < sparse[1].marker.opacity
    rings = traces(figure, "95% intervals of the front")[0].marker.symbol
    assert sorted(rings) == ["circle", "circle", "diamond"]


def test_the_selected_trial_is_ringed_with_its_climb():
    lower = replace(MIDDLE, number=7, rung=0, score=0.35)
    figure = figures.front_figure([*TRIALS, lower], FRONT, RUNGS, selected=1)
    ring = traces(figure, "trial 1, selected")[0]
    assert (ring.x[0], ring.y[0]) == (4e5, 0.5)
    climb = traces(figure, "rungs of the selected candidate")[0]
    assert list(climb.y) == [0.35, 0.5]
    assert not traces(figures.front_figure(TRIALS, FRONT, RUNGS), "trial 1, selected")


def test_a_selected_trial_without_a_score_is_not_drawn():
    figure = figures.front_figure(TRIALS, FRONT, RUNGS, selected=4)
    assert not any("selected" in (trace.name or "") for trace in figure.data)


def test_best_and_knee_stand_beside_their_points():
    figure = figures.front_figure(TRIALS, FRONT, RUNGS, marks={2: "best", 1: "knee"})
    placed = {note.text: (note.x, note.y) for note in figure.layout.annotations}
    assert placed == {
        "best": (pytest.approx(np.log10(2e6)), 0.6),
        "knee": (pytest.approx(np.log10(4e5)), 0.5),
    }


def test_the_label_of_the_cheapest_point_has_room_beside_the_axis():
    """It is 72 pixels wide and 12 away from its point; beside an open panel the plot is 635 wide."""
    figure = figures.front_figure(TRIALS, FRONT, RUNGS, marks={1: "best, knee"})
    low, high = figure.layout.xaxis.range
    cheapest = np.log10(min(row.flops_per_token for row in TRIALS if row.state == "done"))
    assert 635 * (cheapest - low) / (high - low) > 72 + 12


def test_axes_are_titled_with_units():
    layout = figures.front_figure(TRIALS, FRONT, RUNGS).layout
    assert layout.xaxis.type == "log"
    assert "FLOPs per token" in layout.xaxis.title.text
    assert "fraction of the expert" in layout.yaxis.title.text


def test_a_view_shows_a_part_and_no_view_shows_all():
    zoomed = figures.front_figure(TRIALS, FRONT, RUNGS, view=((5.0, 5.5), (0.1, 0.3))).layout
    assert (zoomed.xaxis.range, zoomed.yaxis.range) == ((5.0, 5.5), (0.1, 0.3))
    whole = figures.front_figure(TRIALS, FRONT, RUNGS).layout
    for row in FRONT:
        assert whole.xaxis.range[0] < np.log10(row.flops_per_token) < whole.xaxis.range[1]
        half = 1.96 * row.score_stderr  # with its interval
        assert whole.yaxis.range[0] < row.score - half < row.score + half < whole.yaxis.range[1]


def test_many_points_are_drawn_by_webgl_all_of_them():
    many = [trial(i, 0.5, 1e5 + i) for i in range(figures.SVG_POINTS + 1)]
    kinds = {trace.type for trace in figures.front_figure(many, [front_row(many[0])], RUNGS, selected=3).data}
    assert kinds == {"scattergl"}
    assert {trace.type for trace in figures.front_figure(TRIALS, FRONT, RUNGS).data} == {"scatter"}


def test_a_study_without_results_says_so():
    figure = figures.front_figure([], [], RUNGS)
    assert "No trial has been scored" in figure.layout.annotations[0].text


def test_error_bars_are_95_percent_intervals_and_labelled_so():
    figure = figures.front_figure(TRIALS, FRONT, RUNGS)
    (rings,) = traces(figure, "95% intervals of the front")
    assert list(rings.error_y.array) == pytest.approx([1.96 * row.score_stderr for row in FRONT])
    assert traces(figure, "front, 95% intervals")[0].showlegend is not False


def test_a_mean_over_seeds_is_ringed_where_the_front_has_it():
    rows = [replace(FRONT[0], score=0.55, confirmed=True), *FRONT[1:]]
    (rings,) = traces(figures.front_figure(TRIALS, rows, RUNGS), "95% intervals of the front")
    assert list(rings.y) == [0.55, 0.5, 0.2]


def test_a_dark_figure_has_no_light_ground_and_no_dark_ink():
    figure = figures.front_figure(TRIALS, FRONT, RUNGS, selected=1, marks={2: "best"}, palette=style.DARK)
    assert figure.layout.paper_bgcolor == style.DARK.ground
    for color in (style.LIGHT.ground, style.LIGHT.ink, style.LIGHT.grid, style.LIGHT.selected, '"white"'):
        assert color not in figure.to_json()


@pytest.mark.parametrize("data", [[12.0, 8.0], {"0": 12.0, "1": 8.0}])
def test_a_click_names_its_trial(data):
    assert figures.trial_at({"customdata": data}) == 12
    assert figures.trial_at({"x": 1}) is None


def test_hovering_shows_what_a_candidate_is():
    trace = points(figures.front_figure([MIDDLE], [front_row(MIDDLE)], RUNGS))[0]
    assert dict(zip(figures.COLUMNS, trace.customdata[0], strict=True)) == {
        "number": 1,
        "active": 200_000,
        "total": 900_000,
    }
    assert list(trace.text) == [MIDDLE.candidate]
    assert list(trace.hovertext) == ["2 x 64, 8 experts, top-2"]
    for words in ("candidate", "%{hovertext}", "450k tokens", "parameters"):
        assert words in trace.hovertemplate


def test_a_confirmed_mean_stands_with_its_own_interval_among_its_confirmations():
    selected = trial(0, 0.60, 1e6, rung=1)
    confirmations = [
        replace(trial(n, score, 1e6, rung=1, candidate=selected.candidate), seed=1_000 * n, split="report")
        for n, score in ((1, 0.52), (2, 0.54))
    ]
    confirmed = replace(
        front_row(selected), score=0.53, score_stderr=0.01, split="report", seeds=2, interval=(0.40, 0.66)
    )
    figure = figures.front_figure([selected, *confirmations], [confirmed], RUNGS, selected=0)
    crosses = next(trace for trace in figure.data if trace.name == "one fresh seed, report episodes")
    assert crosses.y.tolist() == pytest.approx([0.52, 0.54])
    assert [figures.trial_at({"customdata": list(point)}) for point in crosses.customdata] == [1, 2]
    circle = next(trace for trace in figure.data if trace.name == "95% intervals of the front")
    assert circle.y[0] == 0.53
    assert circle.error_y.array[0] == pytest.approx(0.13)
    rungs = [trace for trace in figure.data if trace.name == "450k tokens"]
    assert [trace.y.tolist() for trace in rungs] == [pytest.approx([0.60])]
    low, high = figure.layout.yaxis.range
    assert low < 0.40
    assert high > 0.66
    path = next(trace for trace in figure.data if trace.name == "rungs of the selected candidate")
    assert list(path.y) == [0.60]


def three(row):
    """A row of a study that trades its score off against two costs."""
    costs = {"total_params": float(row.total_params), "training_flops": 3e5 * row.flops_per_token}
    return replace(row, objectives={"score": row.score, **costs})


def test_with_two_costs_the_axis_is_the_chosen_one_and_there_is_no_staircase():
    trials = [three(trial(0, 0.3, 1e5)), three(trial(1, 0.6, 1e6))]
    front = [replace(front_row(row), objectives=row.objectives) for row in trials]
    figure = figures.front_figure(trials, front, RUNGS, selected=1, marks={1: "best"}, cost="training_flops")
    assert figure.layout.xaxis.title.text == "Planned training FLOPs to the top rung (log scale)"
    lines = [trace for trace in figure.data if trace.line.shape == "hv"]
    assert lines == []
    marked = next(trace for trace in figure.data if trace.legendgroup == "front")
    assert list(marked.x) == pytest.approx([3e10, 3e11])
    assert marked.showlegend
    assert "%{x:.3s} training FLOPs to the top rung<br>" in points(figure)[0].hovertemplate
    drawn = [x for trace in figure.data if trace.text for x in trace.x]
    assert sorted(drawn) == pytest.approx([3e10, 3e11])
    assert figure.layout.annotations[0].x == pytest.approx(np.log10(3e11))


def test_with_another_single_cost_the_staircase_is_over_that_cost():
    trials = [trial(0, 0.3, 1e5), trial(1, 0.6, 1e6)]
    trials = [replace(row, objectives={"memory_bytes": 7e6 * (row.number + 1)}) for row in trials]
    front = [replace(front_row(row), objectives=row.objectives) for row in trials]
    figure = figures.front_figure(trials, front, RUNGS, cost="memory_bytes")
    (line,) = [trace for trace in figure.data if trace.line.shape == "hv"]
    assert list(line.x) == [7e6, 1.4e7, 1.4e7]
    assert "bytes" in figure.layout.xaxis.title.text


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("cost", ["total_params", "training_flops"])
def test_with_two_costs_few_or_equal_points_are_drawn(count, cost):
    rows = [three(trial(number, 0.5, 1e5)) for number in range(count)]
    front = [replace(front_row(row), objectives=row.objectives) for row in rows]
    figure = figures.front_figure(rows, front, RUNGS, selected=0, marks={0: "knee"}, cost=cost)
    drawn = [x for trace in figure.data if trace.text for x in trace.x]
    assert len(drawn) == count
    low, high = figure.layout.xaxis.range or (0, 1)
    assert low < high


def test_the_axis_says_what_the_score_is():
    assert figures.front_figure(TRIALS, FRONT, RUNGS).layout.yaxis.title.text == (
        "Score: mean fraction of the expert (0 floor, 1 expert)"
    )
    figure = figures.front_figure(TRIALS, FRONT, RUNGS, score="fraction of the expert, task digits")
    assert figure.layout.yaxis.title.text == "Score: fraction of the expert, task digits (0 floor, 1 expert)"
