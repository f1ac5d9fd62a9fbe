"""Promotion ahead of the quotas: when it is asked, whom it promotes, and what forecasts make of it."""

from dataclasses import replace

import numpy as np
import pytest
from factories import suite
from made_studies import by_cost, played, proposer_of
from toy_trainers import RUNGS, toy_config

from search.choose.ahead import Ahead
from search.choose.models import Models
from search.choose.next_trial import Promotions, make_promotions, next_trial
from search.choose.promote import Promotion, quota
from search.choose.propose import Proposal, Proposer
from search.choose.provenance import TRIED_ANYWAY
from search.choose.sampler import Problem
from search.choose.snapshot import Snapshot, TaskFraction
from search.planning.bounds import most_trials
from search.planning.clock import Result, play
from search.planning.forecast import Speed, forecast
from space.study import Stop, StudyConfig

BY_GAIN = {"sampler": "pathfront", "promotion": "gain"}
BUDGET = 2e11  # training FLOPs, of some thirty trials


class ByCost:
    """Scores that rise with cost and tokens, and have an optimum of the learning rate."""

    def trial(self, candidate, cost, rung, seed):
        score, fractions = by_cost(Proposal(candidate, {}, cost, ""), 0)
        made = {task: TaskFraction(score + 0.05 * rung, 0.01) for task in fractions}
        return Result.of(suite(), made)


def made(count=12, rungs=lambda n: 1):
    """A proposer, the proposals of a study whose scores rise with cost, and its snapshot."""
    proposer = proposer_of(limits={"flops_per_token": 1.5e6})
    proposals, view = played(proposer, count + 1, by_cost, rungs)
    last = view.candidates[-1].id
    trials = tuple(trial for trial in view.trials if trial.candidate != last)
    return proposer, proposals, replace(view, candidates=view.candidates[:-1], trials=trials)


def at_the_highest_rate(proposal):
    """A proposal that gains nothing: its learning rate is five times the best."""
    return replace(proposal, params={**proposal.params, "learning_rate": 1e-2}, origin="tpe")


def with_origin(proposal, origin):
    return replace(proposal, origin=origin)


def counts_over_time(run):
    """Before each start: the trials that have ended at each rung, and those that have begun."""
    started = sorted(run.trials, key=lambda trial: trial.started)
    for trial in started:
        ended = [sum(t.rung == rung and t.ended <= trial.started for t in run.trials) for rung in range(3)]
        begun = [sum(t.rung == rung and t.started <= trial.started for t in run.trials) for rung in range(3)]
        yield ended, begun


def run_of(stop, workers=2, **search):
    config = toy_config(stop=stop, search={**BY_GAIN, **search})
    return play(config, suite(), ByCost(), workers)


class TestWhereItIsAsked:
    @pytest.mark.parametrize(
        ("search", "stop", "wanted"),
        [
            (BY_GAIN, {"training_flops": 1e12}, True),
            (BY_GAIN, {"wall_minutes": 10}, True),
            ({"sampler": "tpe", "promotion": "gain"}, {"wall_minutes": 10}, True),
            (BY_GAIN, {"candidates": 12}, False),
            (BY_GAIN, {"candidates": 12, "training_flops": 1e12}, False),
            ({"promotion": "rank"}, {"training_flops": 1e12}, False),
            ({"promotion": "all"}, {"training_flops": 1e12}, False),
        ],
    )
    def test_in_studies_that_go_by_gain_and_limit_no_candidates(self, search, stop, wanted):
        config = toy_config(search=search)
        config = config.model_copy(update={"stop": Stop.model_validate(stop)})
        found = make_promotions(config, Problem.of(config, suite())).ahead
        assert (found is not None) == wanted

    def test_after_the_quotas_and_with_a_new_candidate_at_hand(self):
        asked = []

        def ahead(view, proposed):
            asked.append(proposed)
            return Promotion("known", 1) if proposed == "worse" else None

        def decide(proposed, of_quotas=None):
            promotions = Promotions(lambda view, enough_peers: of_quotas, ahead)
            return next_trial(Snapshot((), (), 0.0), Stop(wall_minutes=1), lambda view: proposed, promotions)

        assert decide("worse") == Promotion("known", 1)
        assert decide("better") == "better"
        assert decide("worse", of_quotas=Promotion("other", 2)) == Promotion("other", 2)
        assert decide(None) is None
        assert asked == ["worse", "better"]


class TestWhomItPromotes:
    def test_the_best_candidate_instead_of_a_new_one_that_gains_nothing(self):
        proposer, proposals, view = made()
        best = Ahead(proposer.problem)(view, at_the_highest_rate(proposals[-1]))
        assert best is not None
        assert best.rung == 1
        cost = {candidate.id: candidate.flops_per_token for candidate in view.candidates}
        score = {trial.candidate: trial.score for trial in view.trials}
        rivals = [name for name in cost if cost[name] <= cost[best.candidate]]
        assert best.candidate == max(rivals, key=score.get), "it is on the front"

    def test_none_where_a_promotion_counts_for_nothing(self):
        proposer, proposals, view = made()
        assert Ahead(proposer.problem, factor=0.0)(view, with_origin(proposals[-1], "tpe")) is None
        assert Ahead(proposer.problem, factor=1e9)(view, with_origin(proposals[-1], "tpe")) is not None

    @pytest.mark.parametrize("rule", TRIED_ANYWAY)
    def test_new_candidates_that_are_tried_anyway_go_first(self, rule):
        proposer, proposals, view = made()
        eager = Ahead(proposer.problem, factor=1e9)
        assert eager(view, with_origin(proposals[-1], f"{rule}; why")) is None
        assert eager(view, with_origin(proposals[-1], "pathfront model; the law weighs 0.50")) is not None

    def test_candidates_that_failed_run_are_at_the_floor_or_at_the_top_are_left_alone(self):
        proposer, proposals, view = made()
        eager, new = Ahead(proposer.problem, factor=1e9), with_origin(proposals[-1], "tpe")
        names = [candidate.id for candidate in view.candidates]

        def changed(**states):
            def of(trial):
                change = states.get(f"c{names.index(trial.candidate)}")
                return trial if change is None else replace(trial, **change)

            return replace(view, trials=tuple(map(of, view.trials)))

        lost = {"state": "failed", "score": None, "stderr": None, "tasks": {}}
        running = {"state": "running", "final": False, "score": None, "stderr": None, "tasks": {}}
        others = {f"c{n}": lost for n in range(3)} | {f"c{n}": running for n in range(3, 6)}
        left = changed(**others)
        assert eager(changed(**{f"c{n}": lost for n in range(7)}), new) is None, "too few scores"
        for _ in range(2 * 6):
            found = eager(left, new)
            if found is None:
                break
            assert names.index(found.candidate) >= 6
            before = next(
                t for t in left.trials if t.candidate == found.candidate and t.rung == found.rung - 1
            )
            left = replace(left, trials=(*left.trials, replace(before, rung=found.rung)))
        assert eager(left, new) is None
        assert {t.candidate for t in left.trials if t.rung == 2} == set(names[6:])
        floor = {f"c{n}": {"score": 0.0, "tasks": {}} for n in range(12)}
        assert eager(changed(**floor), new) is None

    def test_a_new_candidate_that_the_space_does_not_hold_is_not_compared(self):
        proposer, proposals, view = made()
        strange = replace(proposals[-1], params={**proposals[-1].params, "depth": 99}, origin="tpe")
        assert Ahead(proposer.problem, factor=1e9)(view, strange) is None

    def test_candidates_of_a_belief_train_on_without_it(self):
        proposer, proposals, view = made()
        believed = tuple(replace(c, origin="believed; the likeliest") for c in view.candidates)
        new = with_origin(proposals[-1], "tpe")
        assert Ahead(proposer.problem, factor=1e9)(replace(view, candidates=believed), new) is None

    def test_one_on_its_way_to_the_top_counts_for_those_like_it(self):
        proposer, proposals, view = made(24)
        new = with_origin(proposals[-1], "tpe")
        first = Ahead(proposer.problem, factor=1e9)(view, new)
        assert first is not None
        begun = next(t for t in view.trials if t.candidate == first.candidate)
        under_way = replace(begun, rung=1, state="running", final=False, score=None, stderr=None, tasks={})
        busy = replace(view, trials=(*view.trials, under_way))

        def least(of):
            """The least factor with which a promotion is made."""
            below, above = 1e-3, 1e6
            for _ in range(40):
                factor = (below * above) ** 0.5
                if Ahead(proposer.problem, factor)(of, new) is None:
                    below = factor
                else:
                    above = factor
            return above

        assert least(busy) > 1.2 * least(view)

    def test_none_where_the_models_cannot_be_fitted(self, monkeypatch):
        proposer, proposals, view = made()

        def fails(self, view):
            raise np.linalg.LinAlgError("singular")

        monkeypatch.setattr(Models, "outlook", fails)
        assert Ahead(proposer.problem, factor=1e9)(view, with_origin(proposals[-1], "tpe")) is None


@pytest.mark.parametrize("workers", [1, 4])
def test_a_study_that_flops_end_promotes_more_than_one_in_eta(workers):
    run = run_of({"training_flops": BUDGET}, workers)
    assert any(begun[1] > quota(ended[0], 2) for ended, begun in counts_over_time(run))
    assert max(trial.rung for trial in run.trials) == 2


@pytest.mark.parametrize("workers", [1, 4])
def test_one_with_a_limit_on_candidates_promotes_one_in_eta(workers):
    run = run_of({"candidates": 12}, workers)
    assert all(begun[1] <= quota(ended[0], 2) for ended, begun in counts_over_time(run))
    assert [sum(trial.rung == rung for trial in run.trials) for rung in range(3)] == [12, 6, 3]


def test_it_promotes_with_any_sampler():
    run = run_of({"training_flops": BUDGET}, sampler="stratified")
    assert any(begun[1] > quota(ended[0], 2) for ended, begun in counts_over_time(run))


def test_forecasts_count_what_is_promoted_ahead(monkeypatch):
    monkeypatch.setattr(StudyConfig, "check", lambda self: suite())
    speed = Speed(1e9, 2.0)
    for budget in (BUDGET, 20 * BUDGET):  # played whole, and extrapolated from its beginning
        config = toy_config(stop={"training_flops": budget}, search=BY_GAIN)
        priced = forecast(config, 2, "cpu", speed)
        trials = [rung.trials for rung in priced.rungs]
        assert trials[2] > 1.2 * trials[0] / 4
        assert priced.training_flops == pytest.approx(budget, rel=0.2)
        assert priced.trials == sum(trials)
        assert priced.training_flops <= priced.training_flops_most


def test_nothing_bounds_the_promotions_but_the_candidates():
    config = toy_config(stop={"training_flops": BUDGET}, search=BY_GAIN)
    assert most_trials(config, 12) == [12, 12, 12]
    assert most_trials(toy_config(search=BY_GAIN), 12) == [12, 6, 3]
    assert len(RUNGS) == 3


def test_a_proposal_and_its_comparison_share_the_models():
    proposer = Proposer(toy_config(stop={"training_flops": BUDGET}, search=BY_GAIN), suite())
    _, view = played(proposer, 12, by_cost)
    models = proposer.sampler.models
    before = models.outlook(view)
    next_trial(view, proposer.config.stop, proposer.propose, proposer.promotions)
    assert models.outlook(view) is before
