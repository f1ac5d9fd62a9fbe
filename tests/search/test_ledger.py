"""The contract of the ledger on every storage: claims, leases, and workers that stall between two steps."""

import optuna
import pytest
from sqlalchemy import create_engine, update

from search.choose.optuna_samplers import distributions
from search.choose.propose import Proposer
from search.choose.snapshot import take_snapshot
from search.database import tables
from search.database.storage import open_writer
from search.store.claims import NewTrial
from search.store.faults import Failure
from search.store.leases import expire_leases
from search.store.ledger import RETRIES
from search.store.optuna_trials import close_storage
from search.store.workers import Register
from search.worker import Worker, run_worker
from space.cost import price
from space.errors import LeaseLost
from space.study import Search


@pytest.fixture
def url(any_url):
    return any_url


@pytest.fixture
def study(launch):
    return launch(stop={"candidates": 3}, rungs={"tokens": [3_000, 6_000], "eta": 2})


@pytest.fixture
def worker(study, url):
    """Makes workers by name; their files go to one folder."""
    made = []

    def make(name):
        made.append(Worker(url, "toy", "artifacts", name))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


def expire(url, name):
    engine = create_engine(url)
    expire_leases(engine, "toy", name)
    engine.dispose()


def start(worker, claim):
    row = worker.ledger.candidate(claim.candidate)
    return worker.ledger.start(claim, row.params, row.distributions, 3_000)


def test_a_study_ends_whole(study, url, audit):
    assert run_worker(url, "toy", "artifacts") == 4
    assert len(audit(failed=0)) == 4


def test_a_trial_is_claimed_once(worker):
    one, other = worker("one"), worker("other")
    proposal = one.proposer.propose(one.view())
    trial = one.new_trial(proposal.candidate, 0, 0)
    row = proposal.row(0, distributions(one.proposer.parameters))
    assert one.ledger.claim(trial, row) is not None
    assert other.ledger.claim(trial, row) is None
    assert other.ledger.claim(trial) is None


def test_no_two_candidates_share_an_ordinal(worker):
    one, other = worker("one"), worker("other")
    view = one.view()
    first = one.proposer.propose(view)
    another = one.config.model_copy(update={"search": Search(seed=1)})
    second = Proposer(another, one.suite).propose(view)
    texts = distributions(one.proposer.parameters)
    assert one.ledger.claim(one.new_trial(first.candidate, 0, 0), first.row(0, texts))
    assert other.ledger.claim(other.new_trial(second.candidate, 0, 0), second.row(0, texts)) is None
    assert [c.ordinal for c in one.view().candidates] == [0]


def test_a_live_lease_is_not_taken_over(worker):
    one, other = worker("one"), worker("other")
    claim = one.choose()
    assert other.ledger.take_over() is None
    one.ledger.heartbeat(claim)


def test_whoever_stalls_past_the_lease_loses_everything(worker, url, audit):
    one, other = worker("one"), worker("other")
    claim = one.choose()
    start(one, claim)
    expire(url, "one")
    taken = other.ledger.take_over()
    assert (taken.candidate, taken.rung, taken.attempt) == (claim.candidate, 0, 2)
    point = {"tokens": 1, "loss": 1.0, "task_losses": {}}
    checkpoints = one.checkpoints
    for write in (
        lambda: one.ledger.heartbeat(claim, [point]),
        lambda: one.ledger.finish(claim, _card(one, claim)),
        lambda: one.ledger.fail(claim, Failure("permanent", "no")),
        lambda: one.ledger.pause(claim),
        lambda: checkpoints.save(claim, lambda path: path.write_text("1"), 1, "trunk"),
    ):
        with pytest.raises(LeaseLost, match="has taken trial"):
            write()
    other.work(taken)
    other.run()
    ledger = audit(failed=1)
    assert next(row["crashes"] for row in ledger if row["candidate"] == claim.candidate) == 1


def _card(worker, claim):
    from toy_trainers import score

    from space.candidate import CandidateConfig

    candidate = CandidateConfig.model_validate(worker.ledger.candidate(claim.candidate).config)
    return score(candidate, worker.suite, worker.config.rungs.budget(0))


def test_a_trial_created_too_late_is_told_to_fail(worker, url, audit):
    one, other = worker("one"), worker("other")
    claim = one.choose()
    expire(url, "one")
    other.work(other.ledger.take_over())
    with pytest.raises(LeaseLost):
        start(one, claim)
    other.run()
    audit(failed=1)


def test_a_lost_trial_is_given_up_after_its_retries(worker, url, audit, events):
    names = iter("abcdefgh")
    holder = worker(next(names))
    claim = holder.choose()
    start(holder, claim)
    for _ in range(RETRIES):
        expire(url, holder.ledger.worker)
        holder = worker(next(names))
        claim = holder.ledger.take_over()
        start(holder, claim)
    expire(url, holder.ledger.worker)
    last = worker(next(names))
    assert last.ledger.take_over() is None
    last.run()
    lost = next(row for row in audit(failed=RETRIES + 1) if row["state"] == "failed")
    assert "was lost 3 times" in lost["error"]
    assert events().count("lost") == RETRIES


def test_what_optuna_missed_is_told(worker, url, audit, rows):
    one = worker("one")
    claim = one.choose()
    number = start(one, claim)
    one.ledger._optuna.tell = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        one.ledger.finish(claim, _card(one, claim))
    assert [(row["state"], row["told"]) for row in rows(tables.trials)] == [("done", False)]
    worker("other").run()
    assert number in [row["number"] for row in audit(failed=0)]


def test_telling_twice_changes_nothing(worker, url, audit, rows):
    one = worker("one")
    one.work(one.choose())
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(update(tables.trials).values(told=False))
    engine.dispose()
    worker("other").run()
    audit(failed=0)


def test_curves_keep_one_point_a_token_and_no_nan(worker, rows):
    one = worker("one")
    claim = one.choose()
    point = {"tokens": 10, "loss": 1.0, "task_losses": {}}
    one.ledger.heartbeat(claim, [point, {**point, "loss": None}, {**point, "tokens": 20}])
    one.ledger.heartbeat(claim, [{**point, "loss": 2.0}])
    assert sorted((row["tokens"], row["loss"]) for row in rows(tables.curves)) == [(10, 2.0), (20, 1.0)]
    one.ledger.rewind(claim, 10)
    assert [row["tokens"] for row in rows(tables.curves)] == [10]
    assert rows(tables.trials)[0]["progress_tokens"] == 10


def test_the_snapshot_is_what_the_ledger_holds(worker, url, rows):
    one = worker("one")
    one.work(one.choose())
    engine = open_writer(url)
    view = take_snapshot(engine, "toy", 0)
    engine.dispose()
    assert [trial.state for trial in view.trials] == ["done"]
    assert view.candidates[0].id == view.trials[0].candidate
    assert view.training_flops == 1e9
    assert view.under_way == 0
    assert view.launched_seconds == rows(tables.studies)[0]["ran_seconds"]


def test_a_snapshot_counts_the_workers_that_are_alive(study, url):
    engine = open_writer(url)

    def alive():
        return take_snapshot(engine, "toy", 0).workers

    assert alive() == 1  # the one that asks
    registers = [Register(engine, url, "toy", name) for name in ("one", "two", "three")]
    for register in registers:
        register.join(None)
    assert alive() == 3
    registers[0].leave()
    assert alive() == 2
    with engine.begin() as connection:
        long_ago = update(tables.workers).where(tables.workers.c.worker == "two")
        connection.execute(long_ago.values(seen_at=tables.clock() - 3_600))
    assert alive() == 1
    engine.dispose()


def test_plain_optuna_sees_the_same(study, url, rows):
    run_worker(url, "toy", "artifacts")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(url)
    plain = optuna.load_study(study_name="toy", storage=storage)
    assert plain.metric_names == ["score", "flops_per_token"]
    assert [direction.name for direction in plain.directions] == ["MAXIMIZE", "MINIMIZE"]
    params = {row["candidate"]: row["params"] for row in rows(tables.candidates)}
    for trial in plain.trials:
        assert trial.params == params[trial.user_attrs["candidate"]]
        assert trial.user_attrs["tokens"] == plain_tokens(trial)
    assert plain.best_trials
    close_storage(storage)


def plain_tokens(trial):
    return [3_000, 6_000][trial.user_attrs["rung"]]


def test_new_trials_are_as_the_ladder_says(worker):
    one = worker("one")
    candidate = one.proposer.propose(one.view()).candidate
    cost, tokens = price(candidate.architecture, one.suite), 6_000 - 3_000 + 1_200
    planned = 3 * cost.flops_per_token * tokens
    assert one.new_trial(candidate, 1, 0) == NewTrial(
        candidate.id, 1, 0, 6_000, cost.flops_per_token, planned
    )
    steps = tokens / one.suite.batch_tokens
    muon = one.new_trial(candidate.model_copy(update={"optimizer": "muon"}), 1, 0)
    assert muon.planned_flops == pytest.approx(planned + steps * cost.muon_flops_per_step)
