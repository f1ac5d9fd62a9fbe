"""Replays on a table: rows are used once, random draws have the weights, runs depend on their seed."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from made_tables import made_table

from search.choose.snapshot import Candidate, Snapshot
from search.table.ensemble import Ensemble
from search.table.files import write_table
from search.table.nearest import Rows
from search.table.replay import Play, replay
from space.errors import StudyFileError
from space.study import Search


@pytest.fixture(scope="module")
def table():
    return made_table(count=40, repeats=10)


def searched(table, sampler, seed=0):
    return table.header.config.model_copy(update={"search": Search(sampler=sampler, seed=seed)})


def all_of(rows):
    """Propose until nothing is left."""
    candidates, found = [], []
    while (proposal := rows.propose(Snapshot(tuple(candidates), (), 0.0))) is not None:
        found.append(proposal)
        sparse, flops = proposal.candidate.architecture.sparse, proposal.cost.flops_per_token
        candidates.append(Candidate(proposal.candidate.id, len(candidates), proposal.params, flops, sparse))
    return found


@pytest.mark.parametrize("sampler", ["stratified", "random", pytest.param("nsga2", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_every_row_is_proposed_once(table, sampler):
    found = all_of(Rows(table, searched(table, sampler)))
    assert sorted(p.candidate.id for p in found) == sorted(row.candidate for row in table.rows)
    costs = {row.candidate: row.costs.flops_per_token for row in table.rows}
    assert all(p.cost.flops_per_token == costs[p.candidate.id] for p in found)
    params = {row.candidate: row.params for row in table.rows}
    assert all(p.params == params[p.candidate.id] for p in found)


def test_a_suggestion_of_a_row_is_that_row(table):
    rows = Rows(table, searched(table, "stratified"))
    everyone = np.arange(len(table.rows))
    for number in everyone:
        own = rows._row(int(number), "")
        assert rows._nearest(everyone, own) == number
        assert rows._nearest(np.delete(everyone, number), own) != number


class Cheapest:
    """A sampler that chooses among listed candidates, or wants the nearest one; it counts what it sees."""

    def __init__(self, problem, chooses=True, invents=False):
        self.problem, self.chooses, self.invents = problem, chooses, invents
        self.seen = []

    def suggest(self, view):
        return self.problem.draws(np.random.default_rng(0), view)

    def choose_among(self, view, pool):
        self.seen.append(len(pool))
        if self.invents:
            return next(self.problem.usable(self.suggest(view), view))
        found = min(pool, key=lambda one: one.cost.flops_per_token)
        return replace(found, note="cheapest") if self.chooses else None


def played_by(table, **arguments):
    config = searched(table, "random")
    search = Search(sampler=f"{__name__}:Cheapest", sampler_args=arguments)
    return Rows(table, config.model_copy(update={"search": search}))


def test_a_sampler_may_choose_among_the_rows_that_are_left(table):
    rows = played_by(table)
    found = all_of(rows)
    assert [proposal.origin for proposal in found[:3]] == ["control", "control", "Cheapest cheapest"]
    assert rows._proposer.sampler.seen == [2, 1, *range(38, 0, -1)]  # controls first
    costs = [proposal.cost.flops_per_token for proposal in found[2:]]
    assert costs == sorted(costs)
    left_to_nearness = played_by(table, chooses=False)
    assert left_to_nearness.propose(Snapshot((), (), 0.0)).origin.startswith("control")


def test_a_start_that_is_no_row_is_left_out(table):
    """It would never count as tried, so that each proposal would be the row next to it."""
    given = searched(table, "random").model_copy(update={"start": [{"learning_rate": 2e-3}]})
    search = Search(sampler=f"{__name__}:Cheapest", sampler_args={"chooses": False})
    found = all_of(Rows(table, given.model_copy(update={"search": search})))
    assert [proposal.origin for proposal in found][:3] == ["control", "control", "Cheapest"]


def test_a_sampler_that_chooses_what_is_no_row_is_refused(table):
    with pytest.raises(StudyFileError, match=r"Cheapest': choose_among returns one of the candidates"):
        played_by(table, invents=True).propose(Snapshot((), (), 0.0))


def test_distances_by_hand():
    table = made_table(count=40, repeats=0)
    rows = Rows(table, searched(table, "stratified"))
    one, other = table.rows[4], table.rows[9]
    squares = 0.0
    for name in ("depth", "width", "experts", "top_k", "expert_ratio"):
        places = {"depth": [1, 2, 3], "width": [48, 64, 96, 128], "experts": [1, 2, 4, 8]}
        listed = places.get(name, [1, 2])
        a, b = (listed.index(row.params[name]) / (len(listed) - 1) for row in (one, other))
        squares += (a - b) ** 2
    squares += (np.log(one.params["learning_rate"] / other.params["learning_rate"]) / np.log(10)) ** 2
    roots = [np.sqrt([row.config.mixture.weights[t] for t in table.tasks]) for row in (one, other)]
    hellinger = np.sqrt(np.sum((roots[0] - roots[1]) ** 2) / 2)
    places = np.sum((rows._places[4] - rows._places[9]) ** 2)
    assert places == pytest.approx(squares)
    assert np.sum((rows._roots[4] - rows._roots[9]) ** 2) / 2 == pytest.approx(hellinger**2)


@pytest.mark.slow
def test_random_draws_rows_by_their_weights(table):
    """The third proposal, after the controls, over many seeds."""
    counts: Counter[str] = Counter()
    seeds = 600
    for seed in range(seeds):
        rows = Rows(table, searched(table, "random", seed))
        candidates = []
        for ordinal in range(3):
            proposal = rows.propose(Snapshot(tuple(candidates), (), 0.0))
            candidates.append(Candidate(proposal.candidate.id, ordinal, proposal.params, 1e5, True))
        assert {of.id for of in candidates[:2]} == {r.candidate for r in table.rows if r.origin == "control"}
        counts[candidates[2].id] += 1
    for row in table.rows:
        expected = row.weight * seeds
        assert counts[row.candidate] == pytest.approx(expected, abs=4.5 * max(expected, 1) ** 0.5)


@pytest.fixture(scope="module")
def ensemble(table):
    return Ensemble(table)


@pytest.mark.parametrize(("on", "workers"), [("rows", 1), ("ensemble", 6)])
@pytest.mark.slow
def test_a_replay_depends_on_its_seed_alone(table, ensemble, on, workers):
    given = Play("random", {}, workers=workers, seeds=2, budget=4, on=on)
    first, second = replay(table, given, ensemble), replay(table, given, ensemble)
    assert [bare(run) for run in first.runs] == [bare(run) for run in second.runs]
    assert first.runs[0].curve != first.runs[1].curve
    for run in first.runs:
        assert 4 <= run.spent < 4 + 3 * workers
        assert [spent for spent, _ in run.curve] == sorted(spent for spent, _ in run.curve)
        assert run.candidates <= run.trials
    assert (first.hits == 0) == all(run.reached is None for run in first.runs)
    assert first.ratio >= 1
    assert first.random == 4


@pytest.mark.slow
def test_the_level_may_be_that_of_more_random_trainings_than_the_budget_pays(table, ensemble):
    few = replay(table, Play("random", {}, workers=4, seeds=3, budget=4, on="ensemble"), ensemble)
    many = replay(table, Play("random", {}, workers=4, seeds=3, budget=4, random=60, on="ensemble"), ensemble)
    assert [run.curve for run in few.runs] == [run.curve for run in many.runs]
    assert all(run.level > other.level for run, other in zip(many.runs, few.runs, strict=True))
    ratios = [60 / (4 if run.reached is None else run.reached) for run in many.runs]
    assert many.ratio == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert min(ratios) <= many.interval[0] <= many.ratio <= many.interval[1] <= max(ratios)


def bare(run):
    return (run.seed, run.candidates, run.trials, run.value, run.reached, run.level, run.curve)


def test_the_whole_table_can_be_used_up(table):
    run = replay(table, Play("stratified", {}, workers=4, budget=500, promotion="all")).runs[0]
    assert run.candidates == 40
    assert run.trials == 40 * 3
    means = [np.mean([t.score for t in (*r.rungs, *r.repeats) if t.rung == 2]) for r in table.rows]
    assert run.best == pytest.approx(max(means))
    assert run.reached is not None


def test_wrong_names_are_one_line(table):
    with pytest.raises(StudyFileError, match=r"search.sampler: .*did you mean 'nsga2'"):
        replay(table, Play("nsga3", {}))
    with pytest.raises(StudyFileError, match=r"search\.sampler_args: arguments of 'nsga2', got 'size'"):
        replay(table, Play("nsga2", {"size": 3}))


def test_the_command(tmp_path, pathfront):
    write_table(made_table(count=16, repeats=4), tmp_path / "made.jsonl.xz")
    given = ("table", "replay", "made.jsonl.xz", "--sampler", "nsga2", "--seeds", 2, "--budget", 4)
    code, out, _ = pathfront(*given, "--sampler-args", '{"population_size": 4}', "--json")
    assert code == 0
    found = json.loads(out)
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert found["budget"] == 4
    code, out, _ = pathfront(*given, "--promotion", "rank")
    assert code == 0
    assert "of 2 runs reach" in out
    for wrong in ("[1]", "{"):
        code, _, err = pathfront(*given, "--sampler-args", wrong)
        assert code == 2
        assert "--sampler-args" in err
    code, out, _ = pathfront("table", "fit", "made.jsonl.xz", "--json")
    assert code == 0
    assert len(json.loads(out)["rank_correlation"]) == 3
    code, out, _ = pathfront("table", "fit", "made.jsonl.xz")
    assert "rank correlation" in out
