"""Transfer in studies whose tasks are known to help, to hurt, or to leave each other alone."""

import csv

import numpy as np
import pytest
from made import NARROW, by_rates_and_shares, made, score_of

from search.surrogate.law import fraction
from search.understand.ratios import METRICS, RATIOS, write_ratios
from search.understand.transfer import _uniform, transfer
from space.errors import NotFoundError, StudyFileError
from space.mixture import TaskMixture

PLANTED = {("digits", "captions"): 0.5, ("cartpole", "reach"): -0.5}
SEEDS = range(5)


@pytest.fixture(scope="module")
def planted():
    rule = by_rates_and_shares(transfer=PLANTED)
    studies = [made(rule, 60, seed=100 + seed) for seed in SEEDS]
    return [(studied, transfer(studied)) for studied in studies]


@pytest.fixture(scope="module")
def alone():
    return [transfer(made(by_rates_and_shares(), 40, seed)) for seed in SEEDS]


def best_of(studied, found):
    """The candidate with the study's best score, with a mixture, priced."""
    params = next(c.params for c in studied.view.candidates if c.id == found.best)
    return studied.problem.feasible({**params, **_uniform(studied)})


@pytest.mark.slow
def test_planted_transfer_is_found_with_its_sign_and_no_other(planted):
    for _, found in planted:
        shown = {(row.source, row.target): row for row in found.influences if row.supported}
        assert shown.keys() >= PLANTED.keys()
        assert len(shown) <= len(PLANTED) + 1
        assert shown["digits", "captions"].word == "helps"
        assert shown["cartpole", "reach"].word == "hurts"


def test_intervals_of_planted_transfer_cover_the_truth(planted):
    rule, inside = by_rates_and_shares(transfer=PLANTED), []
    for studied, found in planted:
        fractions = rule(best_of(studied, found), 2)
        rows = {(row.source, row.target): row for row in found.influences}
        for (source, target), worth in PLANTED.items():
            before = fractions[target]
            eta = np.log(-np.log1p(-(1 - 0.05 - before) / (1.1 - 0.05)))
            truth = float(fraction(eta - worth, np.array(0.05))) - before
            low, high = rows[source, target].interval
            inside.append(low <= truth <= high)
            assert rows[source, target].gain == pytest.approx(truth, rel=0.25)
    assert np.mean(inside) >= 0.7


@pytest.mark.slow
def test_without_transfer_none_is_found_and_intervals_hold_0(alone):
    assert sum(row.supported for found in alone for row in found.influences) <= 1
    holds = [row.interval[0] <= 0 <= row.interval[1] for found in alone for row in found.influences]
    assert np.mean(holds) >= 0.85


def test_the_gain_of_the_best_mixture_is_the_true_one(planted):
    rule, inside = by_rates_and_shares(transfer=PLANTED), []
    for studied, found in planted:
        at_best = best_of(studied, found)
        mixture = TaskMixture(weights={row.task: row.share for row in found.mixture})
        chosen = at_best.candidate.model_copy(update={"mixture": mixture})
        scores = [
            score_of(studied.problem, rule(at_best.__class__(candidate, {}, at_best.cost), 2))
            for candidate in (chosen, at_best.candidate)
        ]
        low, high = found.gain_interval
        inside.append(low <= scores[0] - scores[1] <= high)
        assert found.gains == (low > 0)
        assert sum(row.share for row in found.mixture) == pytest.approx(1, abs=1e-6)
        assert all(row.interval[0] - 0.05 <= row.share <= row.interval[1] + 0.05 for row in found.mixture)
    assert np.mean(inside) >= 0.6


def test_a_task_that_helps_has_more_than_its_share_and_one_that_hurts_has_less(planted):
    for _, found in planted:
        shares = {row.task: row.share for row in found.mixture}
        assert shares["digits"] > 1 / 8 > shares["cartpole"]


def test_it_is_the_same_for_the_same_study(planted):
    assert transfer(made(by_rates_and_shares(transfer=PLANTED), 60, seed=100)) == planted[0][1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": 1}, "transfer needs 3 tasks or domains whose shares vary, and study 'made' has taxi"),
        ({"space": {"mixture": {"fixed": True}}}, "transfer needs mixtures that vary"),
    ],
)
def test_where_no_share_moves_there_is_no_transfer(changes, words):
    with pytest.raises(NotFoundError, match=words):
        transfer(made(by_rates_and_shares(), 8, seed=0, **changes))


def test_too_few_scores_are_refused():
    with pytest.raises(NotFoundError, match="transfer needs 8 candidates with scores"):
        transfer(made(by_rates_and_shares(), 5, seed=0, space=NARROW))


def test_the_two_tables_agree_and_are_not_written_over(tmp_path):
    studied = made(by_rates_and_shares(), 9, seed=0)
    folder = tmp_path / "mixtures"
    assert write_ratios(studied, folder) == len(studied.view.trials)
    ratios, metrics = (
        list(csv.DictReader((folder / name).read_text().splitlines())) for name in (RATIOS, METRICS)
    )
    assert [(row["candidate"], row["rung"]) for row in ratios] == [
        (row["candidate"], row["rung"]) for row in metrics
    ]
    tasks = studied.problem.suite.tasks
    by_key = {(trial.candidate, str(trial.rung)): trial for trial in studied.view.trials}
    params = {candidate.id: candidate.params for candidate in studied.view.candidates}
    for ratio, metric in zip(ratios, metrics, strict=True):
        trial = by_key[ratio["candidate"], ratio["rung"]]
        weights = studied.problem.feasible(params[trial.candidate]).candidate.mixture.weights
        assert {task: float(ratio[task]) for task in tasks} == pytest.approx(weights, abs=2e-6)
        assert float(metric["score"]) == trial.score
        assert float(metric["training_flops"]) == trial.training_flops
        assert int(metric["tokens"]) == studied.problem.rungs.tokens[trial.rung]
        assert {task: float(metric[task]) for task in tasks} == {t: v.value for t, v in trial.tasks.items()}
    before = (folder / RATIOS).read_bytes()
    with pytest.raises(StudyFileError, match="go into a new folder"):
        write_ratios(studied, folder)
    assert (folder / RATIOS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mixtures"]
