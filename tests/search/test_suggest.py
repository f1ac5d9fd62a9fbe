"""`pathfront suggest`: what a worker would start next, written nowhere."""

import json
import subprocess
import sys

import numpy as np
import pytest
from toy_trainers import toy_config

from search.choose.provenance import provenance
from search.database import tables
from search.read.results import Reader
from search.read.suggestions import quantile, suggest
from search.surrogate.surrogate import Prediction
from search.worker import Worker, run_worker

SMALL = {"stop": {"candidates": 6}, "rungs": {"tokens": [3_000, 6_000], "eta": 2}}
MORE = {**SMALL, "stop": {"candidates": 12}}


@pytest.fixture
def begun(launch, url, once):
    """A study of Pathfront's sampler that has six candidates and may try more."""

    def study():
        launch(**SMALL, search={"sampler": "pathfront"})
        run_worker(url, "toy")
        launch(**MORE, search={"sampler": "pathfront"}, priors={})

    once("begun", study)
    return url


def next_of_worker(url):
    worker = Worker(url, "toy", "artifacts", "one")
    try:
        return worker.next_step(worker.view())
    finally:
        worker.close()


def test_it_is_what_a_worker_would_propose(begun, rows):
    before = rows(tables.candidates), rows(tables.trials), rows(tables.studies)
    (found,) = suggest(Reader(begun), "toy", 1)
    assert (rows(tables.candidates), rows(tables.trials), rows(tables.studies)) == before
    proposal = next_of_worker(begun)
    assert found.kind == "proposal"
    assert (found.candidate, found.flops_per_token) == (proposal.candidate.id, proposal.cost.flops_per_token)
    assert (found.rule, found.reason) == provenance(proposal.origin)
    assert found.config == proposal.candidate
    expected = found.expected
    assert expected is not None
    assert expected.low < expected.score < expected.high
    assert expected.gain > 0
    assert 0 < expected.survives <= 1
    assert 0 <= expected.law_weight <= 1
    assert expected.belief == 1


def test_several_follow_each_other(begun):
    found = suggest(Reader(begun), "toy", 4)
    assert len({(each.candidate, each.rung) for each in found}) == 4
    assert found[0] == suggest(Reader(begun), "toy", 1)[0]


AHEAD = {
    "search": {"sampler": "pathfront", "promotion": "gain"},
    "trainer": "toy_trainers:climb_at_cost",
}


@pytest.fixture
def ahead(launch, url, once):
    """A study that FLOPs end, whose candidates were promoted ahead of the quotas, and which goes on."""

    def study():
        launch(**AHEAD, stop={"training_flops": 2e11})
        run_worker(url, "toy")
        launch(**AHEAD, stop={"training_flops": 9e11})

    once("ahead", study)
    return url


def test_promotions_ahead_of_the_quotas_are_named(ahead, rows, pathfront):
    noted = [row["text"] for row in rows(tables.events) if row["kind"] == "promoted"]
    of_quotas = [message for message in noted if message in ("promoted to rung 1", "promoted to rung 2")]
    before = [message for message in noted if message.endswith(" ahead of the quotas")]
    assert of_quotas
    assert before
    assert len(of_quotas) + len(before) == len(noted)
    found = suggest(Reader(ahead), "toy", 12)
    assert {each.kind for each in found if each.ahead} == {"promotion"}
    out = pathfront("suggest", "toy", "--storage", ahead, "-n", "12")[1]
    assert out.count(" a promotion ahead of the quotas: ") == sum(each.ahead for each in found)


def test_a_promotion_gains_on_those_that_train_to_the_top(ahead):
    promoted = [each.expected for each in suggest(Reader(ahead), "toy", 12) if each.ahead]
    assert all(expected is not None and expected.gain > 0 for expected in promoted)
    assert max(expected.gain for expected in promoted if expected is not None) > 0.01


def test_a_study_that_has_ended_suggests_nothing(launch, url, once, pathfront):
    def study():
        launch(**SMALL)
        run_worker(url, "toy")

    once("small", study)
    code, out, said = pathfront("suggest", "toy", "--storage", url)
    assert (code, out) == (0, "")
    assert "would start nothing now" in said
    assert json.loads(pathfront("suggest", "toy", "--storage", url, "--json")[1]) == []


def test_a_new_study_has_no_prediction_yet(launch, url, pathfront):
    launch(**SMALL)
    code, out, _ = pathfront("suggest", "toy", "-n", 2, "--storage", url)
    assert code == 0
    assert out.count("predicted score: none") == 2
    assert "proposed by: control" in out


def test_an_enqueued_candidate_and_a_promotion_are_named(begun, pathfront):
    pathfront("enqueue", "toy", "{depth: 1}", "--storage", begun)
    found = json.loads(pathfront("suggest", "toy", "-n", 2, "--storage", begun, "--json")[1])
    assert [each["kind"] for each in found] == ["enqueued", "proposal"]
    assert found[0]["rule"] == "enqueued"
    choice = next_of_worker(begun)
    assert choice[0] == (found[0]["candidate"], 0)


def test_it_says_why(launch, url, pathfront):
    launch(**SMALL, search={"sampler": "pathfront"}, priors={"learning_rate": {"value": 2e-3, "strength": 3}})
    run_worker(url, "toy")
    launch(**MORE, search={"sampler": "pathfront"}, priors={"learning_rate": {"value": 2e-3, "strength": 3}})
    code, out, _ = pathfront("suggest", "toy", "--storage", url)
    assert code == 0
    for words in (
        "FLOPs per token",
        "mixture: ",
        "90% interval [",
        "expected gain of the front",
        "probability of",
    ):
        assert words in out


def test_a_missing_study_is_3(begun, pathfront):
    assert pathfront("suggest", "other", "--storage", begun)[0] == 3


def test_torch_is_not_imported(begun):
    program = (
        "import sys; from search.cli import main\n"
        f"try: main(['suggest', 'toy', '--storage', {begun!r}])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "predicted score at the top rung" in ended.stdout


def test_quantiles_are_those_of_the_mixture():
    weights, noise = np.array([0.3, 0.7]), np.array([0.05, 0.02])
    predicted = Prediction(weights, np.array([[0.2], [0.6]]), np.array([[0.1], [0.05]]), noise)
    rng = np.random.default_rng(0)
    of = rng.choice(2, size=200_000, p=weights)
    std = np.hypot(predicted.std[:, 0], noise)
    drawn = predicted.mean[of, 0] + std[of] * rng.standard_normal(len(of))
    for probability in (0.05, 0.5, 0.95):
        assert quantile(predicted, probability) == pytest.approx(np.quantile(drawn, probability), abs=0.005)


def test_repeats_come_first_as_they_do_for_a_worker(launch, url):
    launch(**SMALL, search={"repeats": 1.0})
    worker = Worker(url, "toy", "artifacts", "one")
    worker.work(worker.choose())  # type: ignore[arg-type]
    (choice, seed) = worker.next_step(worker.view())  # type: ignore[misc]
    worker.close()
    (found,) = suggest(Reader(url), "toy", 1)
    assert (found.kind, found.candidate, found.seed) == ("repeat", choice.candidate, seed)
    assert toy_config(search={"repeats": 1.0}).search.repeats == 1
