"""Ask a study's sampler and its order of promotion before anything is written, to find mistakes at launch."""

from dataclasses import replace

from search.choose.orders import make_order
from search.choose.propose import Proposer
from search.choose.sampler import Problem
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial
from search.choose.stratified import Stratified
from space.records import SuiteRecord
from space.shipped import PROMOTIONS, SAMPLERS
from space.study import StudyConfig

COUNT = 12  # candidates with made-up scores


def rehearse_sampler(config: StudyConfig, suite: SuiteRecord) -> None:
    """Make the sampler and the order of promotion, and ask them without results and after a dozen candidates.

    A sampler that ships, with its own arguments, is only made.

    Raises:
        StudyFileError: one cannot be made, raises an error, or returns what it should not.
    """
    proposer = Proposer(config, suite)
    if config.search.promotion not in PROMOTIONS:
        view = _made_up(proposer.problem)
        order = make_order(config.search, proposer.problem)
        order([trial for trial in view.trials if trial.ended], view)
        order([], view)
    if config.search.sampler in SAMPLERS and not config.search.sampler_args:
        return
    proposer.propose(Snapshot((), (), 0.0))
    proposer.propose(_made_up(proposer.problem))


def _made_up(problem: Problem) -> Snapshot:
    """A study whose candidates were drawn by the stratified sampler; all but the last two have a score."""
    view = Snapshot((), (), 0.0)
    drawn = Stratified(problem)
    for ordinal in range(COUNT):
        found = next(problem.usable(drawn.suggest(view), view), None)
        if found is None:
            break
        name, flops = found.candidate.id, found.cost.flops_per_token
        sparse = found.candidate.architecture.sparse
        trial = SnapshotTrial(name, 0, "done", True, 0.3 + 0.01 * (ordinal * 7 % 10), 0.01, flops, flops)
        trial = replace(trial, costs=problem.costs(found.candidate, found.cost))
        if ordinal >= COUNT - 2:
            trial = replace(trial, state="running", final=False, score=None, stderr=None)
        candidate = Candidate(name, ordinal, found.params, flops, sparse)
        view = Snapshot((*view.candidates, candidate), (*view.trials, trial), 0.0)
    return view
