"""Candidates of a study file's `start`: first of all, in their order, and the controls keep their places."""

from dataclasses import replace

import pytest
from factories import suite
from toy_trainers import TWO_NETWORKS, toy_config

from search.choose.propose import Proposer
from search.choose.provenance import ENQUEUED, provenance
from search.choose.snapshot import Candidate, Snapshot
from search.database import tables
from search.worker import run_worker
from space.mixture import TaskMixture
from space.start import as_point

EMPTY = Snapshot((), (), 0.0)
UNIFORM = TaskMixture.uniform(suite().tasks)
LIMITED = {"limits": {"flops_per_token": 6e5}}


def proposals(config, count, view=EMPTY):
    """Candidates one after the other, none of which has a score, and the study with them."""
    found = []
    for _ in range(count):
        proposal = Proposer(config, suite()).propose(view)  # a new process each time
        if proposal is None:
            break
        found.append(proposal)
        view = added(view, proposal)
    return found, view


def added(view, proposal, origin=None):
    name, flops = proposal.candidate.id, proposal.cost.flops_per_token
    sparse, number = proposal.candidate.architecture.sparse, len(view.candidates)
    known = Candidate(name, number, proposal.params, flops, sparse, origin or proposal.origin)
    return replace(view, candidates=(*view.candidates, known))


def whole():
    (proposal,), _ = proposals(toy_config(search={"seed": 9}), 1)
    return as_point(proposal.candidate), proposal.candidate.id


@pytest.mark.parametrize("sampler", ["pathfront", "stratified", "random", "tpe"])
@pytest.mark.slow
def test_they_come_first_and_hold_what_is_given(sampler):
    point, name = whole()
    start = [{"depth": 2, "experts": 8}, point, {"width": 96}, {"width": 96}]
    found, _ = proposals(toy_config(start=start, search={"sampler": sampler}, **LIMITED), 7)
    assert [p.origin for p in found[:4]] == ["start; given by the study file"] * 4
    assert (found[0].candidate.architecture.depth, found[0].params["experts"]) == (2, 8)
    assert found[1].candidate.id == name
    assert [p.candidate.architecture.width for p in found[2:4]] == [96, 96]
    assert len({p.candidate.id for p in found}) == 7
    assert [p.candidate.mixture == UNIFORM for p in found[4:]] == [True, True, False]
    assert [provenance(p.origin).rule for p in found[4:6]] == ["control", "control"]
    if sampler == "pathfront":
        assert provenance(found[6].origin).rule == "pathfront start"


def test_a_candidate_that_was_enqueued_before_is_not_tried_again_and_takes_no_place():
    point, name = whole()
    (proposal,), _ = proposals(toy_config(search={"seed": 9}), 1)
    view = added(EMPTY, proposal, ENQUEUED)
    found, _ = proposals(toy_config(start=[point, {"depth": 1}]), 3, view)
    assert name not in {p.candidate.id for p in found}
    assert [provenance(p.origin).rule for p in found] == ["start", "control", "control"]


def test_a_partial_one_that_allows_nothing_new_is_left_out():
    config = toy_config(space=TWO_NETWORKS, start=[{"experts": 4}, {"experts": 4}])
    found, _ = proposals(config, 3)
    assert [provenance(p.origin).rule for p in found] == ["start", "stratified"]
    assert [p.params["experts"] for p in found] == [4, 1]


def test_two_workers_choose_the_same(toy_suite):
    config = toy_config(start=[{"depth": 2}])
    one, other = (Proposer(config, suite()).propose(EMPTY) for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.candidate.id == other.candidate.id


def test_a_study_trains_them(launch, url, rows, audit):
    point, name = whole()
    launch(start=[point, {"depth": 2}], stop={"candidates": 5})
    run_worker(url, "toy")
    audit(failed=0)
    ordered = sorted(rows(tables.candidates), key=lambda row: row["ordinal"])
    assert [provenance(row["origin"]).rule for row in ordered] == [
        "start",
        "start",
        "control",
        "control",
        "stratified",
    ]
    assert ordered[0]["candidate"] == name
    assert ordered[1]["params"]["depth"] == 2
