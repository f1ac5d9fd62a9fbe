import numpy as np

from dashboard.figures import style, tasks
from space.records import SuiteRecord


def test_tasks_of_a_domain_stand_together(study):
    ordered = tasks.tasks_by_domain(study.suite)
    domains = [study.suite.records[task].domain for task in ordered]
    assert sorted(ordered) == sorted(study.suite.tasks)
    assert domains == sorted(domains, key=domains.index)


def test_heat_map_clips_colours_and_writes_values(study):
    figure = tasks.heat_map(study.front, study.suite)
    shown = figure.data[0]
    fractions = np.array([[row.tasks[task] for task in shown.x[1]] for row in study.front])
    assert np.allclose(shown.z, np.clip(fractions, 0, 1))
    assert fractions.max() > 1
    assert shown.text[0][0] == f"{fractions[0][0]:.2f}"
    assert list(shown.y) == [f"trial {row.trial}" for row in study.front]


def test_names_of_many_tasks_stand_upright_above_the_map(study, monkeypatch):
    flat = tasks.heat_map(study.front, study.suite)
    monkeypatch.setattr(tasks, "NARROW", 200)
    upright = tasks.heat_map(study.front, study.suite)
    assert (flat.layout.xaxis.tickangle, upright.layout.xaxis.tickangle) == (0, -90)
    assert list(upright.data[0].x[1]) == tasks.tasks_by_domain(study.suite)
    assert upright.layout.height > flat.layout.height
    assert upright.layout.margin.t > flat.layout.margin.t


def test_columns_of_very_many_tasks_are_means_of_families(study, monkeypatch):
    monkeypatch.setattr(tasks, "MOST_UPRIGHT", 4)
    shown = tasks.heat_map(study.front, study.suite).data[0]
    records = study.suite.records
    assert set(zip(*shown.x, strict=True)) == {(r.domain, r.family) for r in records.values()}
    for (domain, family), (_, value) in zip(zip(*shown.x, strict=True), shown.customdata[0], strict=True):
        fractions = study.front[0].tasks
        inside = [fractions[n] for n, r in records.items() if (r.domain, r.family) == (domain, family)]
        assert value == np.mean(inside)


def test_long_names_are_broken_after_hyphens():
    assert tasks.in_lines("babyai-goto-redball-grey") == "babyai-<br>goto-<br>redball-<br>grey"
    assert tasks.in_lines("digits") == "digits"


def test_the_selected_trial_is_marked(study):
    number = study.front[1].trial
    labels = tasks.heat_map(study.front, study.suite, selected=number).data[0].y
    assert [label for label in labels if "<b>" in label] == [f"<b>▸ trial {number}</b>"]


def test_tasks_above_counts_strictly():
    counts = tasks.tasks_above([0.0, 0.5, 0.9, 1.2], np.array([-0.1, 0.0, 0.5, 1.0, 2.0]))
    assert counts.tolist() == [4, 3, 2, 1, 0]


def test_threshold_curves_fall_from_left_to_right(study):
    best = study.front[0].trial
    figure = tasks.threshold_curves(study.front, {best: "best"})
    assert len(figure.data) == len(study.front)
    for trace in figure.data:
        assert (np.diff(trace.y) <= 0).all()
    bold = [trace for trace in figure.data if trace.name == f"trial {best}, best"]
    assert [trace.line.color for trace in bold] == [style.LIGHT.front]
    half = int(np.searchsorted(tasks.THRESHOLDS, 0.5))
    assert bold[0].y[half] == study.front[0].above(0.5)


def test_mixtures_stack_to_one(study):
    figure = tasks.mixture_bars(study.front, study.suite)
    totals = np.sum([trace.x for trace in figure.data], axis=0)
    assert np.allclose(totals, 1, atol=1e-4)
    assert len({trace.marker.color for trace in figure.data}) == len(study.suite.tasks)


def test_many_tasks_are_stacked_by_domain(study, monkeypatch):
    monkeypatch.setattr(tasks, "MOST_BARS", 4)
    figure = tasks.mixture_bars(study.front, study.suite)
    assert {trace.name for trace in figure.data} == {"control", "vision", "audio", "text"}
    assert np.allclose(np.sum([trace.x for trace in figure.data], axis=0), 1, atol=1e-4)


def test_an_empty_front_says_so(study):
    suite: SuiteRecord = study.suite
    for figure in (tasks.heat_map([], suite), tasks.threshold_curves([], {}), tasks.mixture_bars([], suite)):
        assert "No trial" in figure.layout.annotations[0].text


def test_legends_lie_below_the_curves_and_cover_none(study):
    figure = tasks.threshold_curves(study.front, {study.front[0].trial: "best"})
    assert (figure.layout.legend.yref, figure.layout.legend.y) == ("container", 0)
    assert figure.layout.legend.orientation == "h"
    assert figure.layout.margin.b > 60
