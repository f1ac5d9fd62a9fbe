"""What a worker would start next, and why, without writing anything."""

import os
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from search.choose.belief import Belief
from search.choose.models import models_of
from search.choose.next_trial import next_trial
from search.choose.pathfront import LEAST_SCORED
from search.choose.promote import Promotion, PromotionAhead, repeat
from search.choose.propose import Proposal, Proposer
from search.choose.provenance import provenance
from search.choose.sampler import Feasible
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from search.read.results import Reader
from search.surrogate.surrogate import Prediction
from space.candidate import CandidateConfig
from space.cost import price
from space.study import StudyConfig

TAIL = 0.05  # of a 90% interval
REACH = 8.0  # standard deviations in which a quantile is sought

Kind = Literal["proposal", "promotion", "enqueued", "repeat"]


@dataclass(frozen=True)
class Expectation:
    """What the models expect of a candidate.

    Attributes:
        score: predicted at the top rung.
        low: of its 90% interval, the noise of one training included.
        high: of the same.
        gain: expected gain of the front in score times log costs, if training does not diverge; of a
            promotion, on the candidates at the top rung and on their way to it.
        survives: probability that training does not diverge.
        law_weight: weight of the scaling law in the prediction.
        belief: how much likelier the priors find it than what is usual at its cost; 1 without priors.
    """

    score: float
    low: float
    high: float
    gain: float
    survives: float
    law_weight: float
    belief: float


@dataclass(frozen=True)
class Suggested:
    """A trial that a worker would start.

    Attributes:
        kind: a new candidate, a promotion, an enqueued candidate's first trial, or a repetition.
        ahead: whether it is a promotion ahead of the quotas; see `search.choose.ahead`.
        rung: index of the rung that it is trained to.
        rule: that proposed the candidate, as `show` names it.
        reason: of the rule; "" if it gives none.
        expected: None while there are too few scores, or where the models cannot be fitted.
        costs: that are objectives of the study, by name.
    """

    kind: Kind
    candidate: str
    rung: int
    seed: int
    rule: str
    reason: str
    flops_per_token: float
    active_params: int
    total_params: int
    config: CandidateConfig
    expected: Expectation | None
    costs: dict[str, float]
    ahead: bool


def suggest(reader: Reader, study: str, count: int) -> list[Suggested]:
    """The next trials that workers would start now, if they started one after the other.

    Args:
        reader: the storage.
        study: name of the study.
        count: of trials, at most.

    Returns:
        The trials; fewer than `count` where the stop rule or the space allows no more.

    Raises:
        NotFoundError: there is no such study.
        StudyFileError: its sampler fails.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a worker finds the user's own modules
    config = reader.config(study)
    ask = _Asked(config, Proposer(config, reader.suite(study)))
    views = [reader.snapshot(study, config.search.seed)]
    views += [reader.snapshot(study, config.search.seed + 1)] if config.search.repeats else []
    found: list[Suggested] = []
    while len(found) < count:
        suggested = ask.next(views)
        if suggested is None:
            break
        found.append(suggested)
    return found


class _Asked:
    """A study that is asked for its next trials."""

    def __init__(self, config: StudyConfig, proposer: Proposer) -> None:
        self._config, self._proposer, self._problem = config, proposer, proposer.problem

    def next(self, views: list[Snapshot]) -> Suggested | None:
        """The next trial, which is added to the views as a running one."""
        config, seed, of = self._config, self._config.search.seed, 0
        choice: Promotion | Proposal | None = None
        if len(views) > 1:
            if not views[0].joined(views[1]).may_start(config.stop):
                return None
            choice = repeat(views[0], views[1], config.search.repeats)
            of = 0 if choice is None else 1
        if choice is None:
            ask = self._proposer
            choice = next_trial(views[0], config.stop, ask.propose, ask.promotions)
        if choice is None:
            return None
        if isinstance(choice, Proposal):
            kind: Kind = "proposal"
            found = Feasible(choice.candidate, choice.params, choice.cost)
            origin, name, rung = choice.origin, choice.candidate.id, 0
        else:
            kind = "repeat" if of else "promotion" if choice.rung else "enqueued"
            known = next(c for c in views[0].candidates if c.id == choice.candidate)
            problem = self._problem
            candidate = problem.space.candidate(known.params, problem.suite, problem.shares)
            assert candidate is not None, "a known candidate can be built"
            found = Feasible(candidate, known.params, price(candidate.architecture, self._problem.suite))
            origin, name, rung = known.origin, known.id, choice.rung
        expected = self._expected(found, views[0], kind)
        costs = self._problem.costs(found.candidate, found.cost)
        _begin(views, of, found, name, rung, origin, costs)
        rule_of = provenance(origin)
        return Suggested(
            kind=kind,
            candidate=name,
            rung=rung,
            seed=seed + of,
            rule=rule_of.rule,
            reason=rule_of.reason,
            flops_per_token=found.cost.flops_per_token,
            active_params=found.cost.active_params,
            total_params=found.cost.total_params,
            config=found.candidate,
            expected=expected,
            costs=dict(zip(config.objectives.costs, costs, strict=True)),
            ahead=isinstance(choice, PromotionAhead),
        )

    def _expected(self, found: Feasible, view: Snapshot, kind: Kind) -> Expectation | None:
        """What the models expect of a candidate; of a known one, if it trains on."""
        models = getattr(self._proposer.sampler, "models", None) or models_of(self._problem)
        scored = {trial.candidate for trial in models.scored(view)}
        if len(scored) < LEAST_SCORED:
            return None
        belief = self._problem.belief if isinstance(self._problem.belief, Belief) else None
        try:
            surrogate, outlook = models.surrogate(view), models.outlook(view)
            pool, _ = models.space.encode([found.params])
            expected = outlook.of_promotions(pool) if kind == "promotion" else outlook.of(pool)
            likelier = 1.0
            if belief is not None and belief.states_priors:
                likelier = float(np.exp(belief.prior_density(models.space, pool)[0]))
        except np.linalg.LinAlgError:
            return None
        predicted = surrogate.predict(models.space.points(pool))
        return Expectation(
            score=float(predicted.mixed_mean[0]),
            low=quantile(predicted, TAIL),
            high=quantile(predicted, 1 - TAIL),
            gain=float(expected.gain[0]),
            survives=float(expected.survives[0]),
            law_weight=surrogate.law_weight,
            belief=likelier,
        )


def quantile(predicted: Prediction, probability: float) -> float:
    """A quantile of the score that the first predicted point would be measured at, by one training."""
    std = np.sqrt(predicted.std[:, 0] ** 2 + predicted.noise**2)
    mean = predicted.mean[:, 0]

    def beyond(score: float) -> float:
        return float(predicted.weights @ ndtr((score - mean) / std)) - probability

    ends = float((mean - REACH * std).min()), float((mean + REACH * std).max())
    found: Any = brentq(beyond, *ends)
    return float(found)


def _begin(
    views: list[Snapshot],
    of: int,
    found: Feasible,
    name: str,
    rung: int,
    origin: str,
    costs: tuple[float, ...],
) -> None:
    """Add a trial to the views as a running one, and its candidate where that is new."""
    known = views[0].candidates
    if all(candidate.id != name for candidate in known):
        sparse, flops = found.candidate.architecture.sparse, found.cost.flops_per_token
        known = (*known, Candidate(name, len(known), found.params, flops, sparse, origin))
    trial = SnapshotTrial(
        candidate=name,
        rung=rung,
        state="running",
        final=False,
        score=None,
        stderr=None,
        flops_per_token=found.cost.flops_per_token,
        training_flops=0.0,
        costs=costs,
    )
    for place, view in enumerate(views):
        trials = (*view.trials, trial) if place == of else view.trials
        views[place] = replace(view, candidates=known, trials=trials)
