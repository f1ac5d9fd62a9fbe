"""Contract checks for samplers and orders of promotion, for tests and for their authors.

`check_sampler("my_package.my_module:MySampler")` and `check_promotion("my_package.my_module:order")` run them
all. Nothing is trained: scores are made up.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from search.choose.orders import make_order
from search.choose.propose import Proposal, Proposer
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from space.catalog import load_catalog
from space.errors import PathfrontError
from space.study import StudyConfig

SUITE = "quick"
SPACE: dict[str, Any] = {
    "depth": {"low": 1, "high": 4},
    "width": {"choices": [48, 64]},
    "experts": {"choices": [1, 2, 4]},
    "top_k": {"choices": [1, 2]},
    "router": {"choices": ["softmax", "sigmoid"]},
    "expert_ratio": 2,
    "learning_rate": {"choices": [1e-3, 2e-3, 4e-3]},
    "mixture": {"fixed": True},
}
ONE_PARAMETER: dict[str, Any] = {
    **{**SPACE, "width": 48, "experts": 1, "top_k": 1, "router": "softmax", "learning_rate": 1e-3},
    "depth": {"low": 1, "high": 6},
}
NO_LIMITS: dict[str, float] = {}
LIMITS = {"total_params": 400_000}  # rules out the largest candidates of `SPACE`
ORDERS = "orders of promotion"
COUNT = 16  # candidates of a simulated study

Score = Callable[[Proposal], float | None]


@dataclass(frozen=True)
class Subject:
    """The sampler that is checked."""

    sampler: str
    arguments: Mapping[str, Any]

    def proposer(
        self,
        seed: int = 0,
        space: Mapping[str, Any] = SPACE,
        limits: Mapping[str, float] = NO_LIMITS,
        **keys: Any,
    ) -> Proposer:
        """A new proposer of a study that names the sampler."""
        config = self.config(seed, space, limits, **keys)
        return Proposer(config, config.objectives.weighted(load_catalog().suite(SUITE)))

    def config(
        self, seed: int, space: Mapping[str, Any], limits: Mapping[str, float], **keys: Any
    ) -> StudyConfig:
        """A study that names the sampler."""
        return StudyConfig.model_validate(
            {
                "study": "contract",
                "suite": SUITE,
                "rungs": {"tokens": [100_000, 200_000, 400_000]},
                "stop": {"candidates": COUNT},
                "space": space,
                "limits": limits,
                "search": {"sampler": self.sampler, "sampler_args": dict(self.arguments), "seed": seed},
                **keys,
            }
        )


def check_sampler(sampler: str, arguments: Mapping[str, Any] | None = None) -> None:
    """Run every check on a sampler.

    Args:
        sampler: as a study file names it.
        arguments: its `sampler_args`.

    Raises:
        PathfrontError: it breaks a rule; the message names the rule and what was seen.
        StudyFileError: it cannot be made, or raises an error.
    """
    for rule in RULES.values():
        rule(Subject(sampler, arguments or {}))


def check_promotion(promotion: str) -> None:
    """Check an order of promotion.

    It returns some of the trials that it is given, each at most once, at the lowest and at a higher rung; the
    same ones for the same study; and it gets along with no trial, one trial and equal scores.

    Args:
        promotion: as a study file names it.

    Raises:
        PathfrontError: it breaks a rule; the message names the rule and what was seen.
        StudyFileError: it cannot be imported, raises an error, or returns anything else.
    """
    config = Subject("stratified", {}).config(0, SPACE, NO_LIMITS)
    search = config.search.model_validate({"promotion": promotion})
    proposer = Proposer(config.model_copy(update={"search": search}), load_catalog().suite(SUITE))
    order = make_order(search, proposer.problem)
    _, view = _simulated(proposer, COUNT)
    higher = [replace(trial, rung=1, score=(trial.score or 0) + 0.1) for trial in view.trials[::2]]
    view = replace(view, trials=(*view.trials, *higher))
    equal = [replace(trial, score=0.5) for trial in view.rungs[0]]
    for trials in (view.rungs[0], view.rungs[1], equal, view.rungs[0][:1], []):
        given = list(trials)
        first, second = ([t.candidate for t in order(trials, view)] for _ in range(2))
        _require(first == second, f"the same study gives the same order, got {first} and {second}", ORDERS)
        _require(trials == given, "an order does not change the trials that it is given", ORDERS)


def repeatable(subject: Subject) -> None:
    """The same seed and the same results give the same proposals."""
    first, second = (_ids(_simulated(subject.proposer(seed=5), COUNT)[0]) for _ in range(2))
    _require(first == second, f"the same seed gives the same proposals, got {first} and {second}")


def feasible_and_new(subject: Subject) -> None:
    """Every proposal can be built, is within the limits, is new, and has finite values of the space."""
    proposer = subject.proposer(limits=LIMITS)
    proposals, _ = _simulated(proposer, COUNT)
    ids = _ids(proposals)
    _require(len(set(ids)) == len(ids), f"no candidate is proposed twice, got {ids}")
    for found in proposals:
        broken = proposer.config.limits.broken(found.cost)
        _require(broken is None, f"proposals are within the limits, got {found.params}: {broken}")
        _require(
            proposer.problem.checked_params(found.params) == found.params, "parameters are Python's numbers"
        )
        numbers = [value for value in found.params.values() if isinstance(value, float)]
        _require(all(map(math.isfinite, numbers)), f"parameters are finite, got {found.params}")


def few_results(subject: Subject) -> None:
    """It proposes after 0, 1 and 3 scores, while many other candidates still train."""
    for scored in (0, 1, 3):
        _simulated(subject.proposer(), COUNT, _first_scores(scored))


def failed_trials(subject: Subject) -> None:
    """It proposes where half of the candidates have failed, and where all have."""
    proposer = subject.proposer()
    _, view = _simulated(proposer, COUNT)
    for every in (1, 2):
        trials = [_failed(t) if n % every == 0 else t for n, t in enumerate(view.trials)]
        _require_new(proposer.propose(replace(view, trials=tuple(trials))), view)


def equal_scores(subject: Subject) -> None:
    """It proposes where all scores are equal."""
    _simulated(subject.proposer(), COUNT, lambda proposal: 0.5)


def three_objectives(subject: Subject) -> None:
    """It proposes where a weighted score is traded off against two costs, above a threshold."""
    objectives = [{"score": {"text": 2, "digits": 1}}, "total_params", "training_flops"]
    proposer = subject.proposer(objectives=objectives, threshold=0.5)
    proposals, view = _simulated(proposer, COUNT)
    ids = _ids(proposals)
    _require(len(set(ids)) == len(ids), f"no candidate is proposed twice, got {ids}")
    numbers = {len(trial.costs) for trial in view.trials}
    _require(numbers == {2}, f"trials have a value of each cost, got {numbers}")


def several_rungs(subject: Subject) -> None:
    """It proposes where some candidates were promoted to higher rungs."""
    proposer = subject.proposer()
    _, view = _simulated(proposer, COUNT)
    higher = [replace(t, rung=r, score=(t.score or 0) + 0.1 * r) for t in view.trials[::3] for r in (1, 2)]
    _require_new(proposer.propose(replace(view, trials=(*view.trials, *higher))), view)


def one_parameter(subject: Subject) -> None:
    """It searches a space of one parameter until the space is exhausted."""
    proposer = subject.proposer(space=ONE_PARAMETER)
    proposals, view = _simulated(proposer, 6)
    depths = sorted(p.candidate.architecture.depth for p in proposals)
    _require(depths == list(range(1, 7)), f"every value of a small space is proposed once, got {depths}")
    _require(proposer.propose(view) is None, "nothing is proposed once the space is exhausted")


def resumable(subject: Subject) -> None:
    """A new process makes the same next proposal in the middle of a study."""
    proposer = subject.proposer()
    _, view = _simulated(proposer, COUNT)
    here = proposer.propose(view)
    given = {**asdict(subject), "arguments": dict(subject.arguments), "view": asdict(view)}
    command = [sys.executable, "-P", "-m", "search.choose.contract"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    there = done.stdout.strip()
    _require(done.returncode == 0, f"the sampler works in a new process, got {done.stderr.strip()[-500:]}")
    expected = None if here is None else here.candidate.id
    _require(there == str(expected), f"a new process proposes the same, got {expected} here and {there}")


RULES: dict[str, Callable[[Subject], None]] = {
    rule.__name__: rule
    for rule in (
        repeatable,
        feasible_and_new,
        few_results,
        failed_trials,
        equal_scores,
        several_rungs,
        one_parameter,
        three_objectives,
        resumable,
    )
}


def _simulated(proposer: Proposer, count: int, score: Score | None = None) -> tuple[list[Proposal], Snapshot]:
    """Propose `count` candidates, each with its score before the next; one without a score is running."""
    score = score or _by_candidate
    candidates: list[Candidate] = []
    trials: list[SnapshotTrial] = []
    proposals: list[Proposal] = []
    for ordinal in range(count):
        view = Snapshot(tuple(candidates), tuple(trials), 0.0)
        found = _require_new(proposer.propose(view), view)
        proposals.append(found)
        flops, name = found.cost.flops_per_token, found.candidate.id
        sparse = found.candidate.architecture.sparse
        candidates.append(Candidate(name, ordinal, found.params, flops, sparse))
        value = score(found)
        state = "running" if value is None else "done"
        stderr = None if value is None else 0.01
        trial = SnapshotTrial(name, 0, state, value is not None, value, stderr, flops, 1e5 * flops)
        trials.append(replace(trial, costs=proposer.problem.costs(found.candidate, found.cost)))
    return proposals, Snapshot(tuple(candidates), tuple(trials), 0.0)


def _by_candidate(proposal: Proposal) -> float:
    """A score that rises with the cost, with noise that depends on the candidate alone."""
    noise = int(proposal.candidate.id, 16) % 1000 / 1000
    return 0.1 * math.log10(proposal.cost.flops_per_token) + 0.2 * noise


def _first_scores(count: int) -> Score:
    """Scores of the first candidates; the others still train."""
    scores = iter(range(count))
    return lambda proposal: next(scores, None)


def _failed(trial: SnapshotTrial) -> SnapshotTrial:
    return replace(trial, state="failed", final=True, score=None, stderr=None)


def _ids(proposals: list[Proposal]) -> list[str]:
    return [proposal.candidate.id for proposal in proposals]


def _require_new(found: Proposal | None, view: Snapshot) -> Proposal:
    if found is None:
        raise PathfrontError("a sampler's study proposes while the space holds new candidates, got nothing")
    known = {candidate.id for candidate in view.candidates}
    _require(found.candidate.id not in known, f"no candidate is proposed twice, got {found.candidate.id}")
    return found


def _require(holds: bool, rule: str, kind: str = "samplers") -> None:
    if not holds:
        raise PathfrontError(f"contract of {kind}: {rule}")


def _propose_here(given: Mapping[str, Any]) -> str:
    """What this process proposes for a subject and a view, as `resumable` sends them."""
    candidates = tuple(Candidate(**row) for row in given["view"]["candidates"])
    trials = tuple(SnapshotTrial(**row) for row in given["view"]["trials"])
    proposer = Subject(given["sampler"], given["arguments"]).proposer()
    found = proposer.propose(Snapshot(candidates, trials, 0.0))
    return str(None if found is None else found.candidate.id)


if __name__ == "__main__":
    print(_propose_here(json.load(sys.stdin)))
