"""Promotion for any Optuna study: which candidate trains on from its checkpoint to the next rung.

Optuna stops trials early only for a single objective. Here a candidate has one trial for each rung (a
training budget), and the best one in `eta` of the trials at a rung is promoted to the next. It works with
every sampler, any number of objectives in any direction, and is the rule of Pathfront's own workers
(`search.choose.promote`).

A trial names its candidate and its rung in two user attributes:

    promoter = Promoter(rungs=3, eta=3)
    promotion = promoter.next(study)
    if promotion is not None:
        study.enqueue_trial(params[promotion.candidate], user_attrs=promotion._asdict())
    trial = study.ask()
    if promotion is None:  # a new candidate
        trial.set_user_attr("candidate", f"candidate {trial.number}")
        trial.set_user_attr("rung", 0)

`tests/examples/plain_optuna.py` is a whole search. Promotion from checkpoints, rung by rung, is that of ASHA
(Li 2018, https://arxiv.org/abs/1810.05934), which has one objective.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from search.choose.promote import PEERS, Promotion, next_promotion, tie
from search.choose.ranking import best_first

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

CANDIDATE, RUNG = "candidate", "rung"  # user attributes of a trial


@dataclass
class _Standing:
    """A candidate's trials at one rung."""

    candidate: str
    rung: int
    values: list[list[float]] = field(default_factory=list)  # of its complete trials
    eligible: bool = True
    pruned: bool = False
    open: bool = False  # whether a trial is waiting or running
    failed: int = 0  # trials that failed

    @property
    def ended(self) -> bool:
        return bool(self.values) or self.pruned


class Promoter:
    """Chooses promotions in a study whose trials name their candidate and their rung.

    Trials that are complete or pruned have ended, and one in `eta` of the candidates that have ended at a
    rung is promoted. A pruned trial counts, but its candidate is not promoted. Waiting and running trials
    hold their place, so that workers side by side do not promote a candidate twice, provided that each trial
    gets its user attributes when it is created (`enqueue_trial`) or right after it. A failed trial is no
    result of its candidate. A candidate with several complete trials at a rung, such as other seeds, counts
    once, with the means of their values.

    Args:
        rungs: how many there are; trials have rung 0 to rungs - 1.
        eta: one in so many candidates is promoted.
        seed: breaks ties.
        peers: candidates that have ended at a rung before any is promoted from it, as a multiple of eta.
        retries: how often a candidate whose trial failed is promoted to that rung again.
        eligible: whether a candidate may be promoted, given its complete trial; for candidates that are no
            better than chance, since the cheapest one of all is always non-dominated.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        rungs: int,
        eta: float = 3,
        seed: int = 0,
        peers: float = PEERS,
        retries: int = 0,
        eligible: "Callable[[FrozenTrial], bool] | None" = None,
    ) -> None:
        if rungs < 1 or not eta > 1 or peers < 0 or retries < 0:
            raise ValueError(
                "rungs is at least 1, eta above 1, peers and retries at least 0,"
                f" got rungs={rungs}, eta={eta}, peers={peers}, retries={retries}"
            )
        self.rungs = rungs
        self.eta = eta
        self.seed = seed
        self.peers = peers
        self.retries = retries
        self._eligible = eligible or (lambda trial: True)

    def next(self, study: "Study", enough_peers: bool = True) -> Promotion | None:
        """Choose the next promotion.

        Args:
            study: an Optuna study; it is only read.
            enough_peers: promote only from rungs with `peers` times eta candidates, the highest rung first.
                False promotes from any rung, the lowest first, once no new candidates are to be tried.

        Returns:
            A candidate and the rung that it is to be trained to; None if a new candidate is to be tried.

        Raises:
            ValueError: a finished trial does not name its candidate and its rung, or a value is not finite.
        """
        from optuna.study import StudyDirection

        maximise = [direction == StudyDirection.MAXIMIZE for direction in study.directions]
        found = self._standings(study)

        def order(standings: Sequence[_Standing]) -> list[_Standing]:
            able = [each for each in standings if each.values and each.eligible]
            able.sort(key=lambda each: tie(each.candidate, each.rung, self.seed))
            means = np.array([np.mean(each.values, axis=0) for each in able]).reshape(-1, len(maximise))
            return [able[i] for i in best_first(means, maximise)]

        of_rungs = [list(found[rung].values()) for rung in range(self.rungs)]
        return next_promotion(
            [[each for each in standings if each.ended] for standings in of_rungs],
            [{each.candidate for each in standings if self._is_taken(each)} for standings in of_rungs],
            order,
            self.eta,
            enough_peers,
            self.peers,
        )

    def _is_taken(self, standing: _Standing) -> bool:
        return standing.ended or standing.open or standing.failed > self.retries

    def _standings(self, study: "Study") -> dict[int, dict[str, _Standing]]:
        """Rung -> candidate -> its trials there, in the order of the trials."""
        from optuna.trial import TrialState

        found: defaultdict[int, dict[str, _Standing]] = defaultdict(dict)
        for trial in study.get_trials(deepcopy=False):
            named = self._named(trial)
            if named is None:
                continue
            candidate, rung = named
            standing = found[rung].setdefault(candidate, _Standing(candidate, rung))
            if trial.state == TrialState.COMPLETE:
                standing.values.append(list(trial.values))
                standing.eligible &= self._eligible(trial)
            elif trial.state == TrialState.PRUNED:
                standing.pruned = True
            elif trial.state == TrialState.FAIL:
                standing.failed += 1
            else:
                standing.open = True
        return found

    def _named(self, trial: "FrozenTrial") -> tuple[str, int] | None:
        """The candidate and the rung that a trial names; None while it has just been created.

        Raises:
            ValueError: it is complete or pruned and names none, or a rung that there is not.
        """
        candidate, rung = trial.user_attrs.get(CANDIDATE), trial.user_attrs.get(RUNG)
        if candidate is not None and isinstance(rung, int) and 0 <= rung < self.rungs:
            return str(candidate), rung
        if rung is None and (not trial.state.is_finished() or trial.state.name == "FAIL"):
            return None
        raise ValueError(
            f"trials name '{CANDIDATE}' and '{RUNG}', from 0 to {self.rungs - 1}, as user attributes, got"
            f" {candidate!r} and {rung!r} in trial {trial.number}"
        )
