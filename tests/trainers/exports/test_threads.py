"""The number of threads: asked for, given by the environment, remembered, or measured."""

import json

import pytest
import torch

from trainers.data import load_corpora
from trainers.exports.threads import VARIABLES, Threads, Timing, choose, measure, playing, training
from trainers.model.decoder import Decoder

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(autouse=True)
def free(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield monkeypatch
    torch.set_num_threads(before)


def settle(asked, cores, note=None, work=lambda: None):
    said = []
    chosen = Threads(asked, cores, said.append, note).settle("training", work)
    assert torch.get_num_threads() == chosen
    return chosen, said[0]


def test_what_is_asked_for_or_given_is_taken_and_said(free):
    assert settle(3, 8) == (3, "training on 3 threads (as asked)")
    assert settle(None, 1) == (1, "training on 1 thread (of 1 core)")
    torch.set_num_threads(2)
    free.setenv("OMP_NUM_THREADS", "2")
    assert settle(None, 8) == (2, "training on 2 threads (by OMP_NUM_THREADS)")
    assert settle(1, 8) == (1, "training on 1 thread (as asked)")


def test_the_quickest_number_is_taken_and_of_nearly_equal_ones_the_smallest():
    assert choose([Timing(1, 4.0), Timing(2, 2.1), Timing(4, 1.0), Timing(8, 3.0)]) == 4
    assert choose([Timing(1, 1.04), Timing(2, 1.0)]) == 1
    assert choose([Timing(1, 1.4), Timing(2, 1.0)], known=1) == 1
    assert choose([Timing(1, 1.6), Timing(2, 1.0)], known=1) == 2


def test_work_that_gets_slower_is_not_tried_on_ever_more_threads():
    tried = []

    def work():  # quickest on two threads, by a clock of its own
        tried.append(torch.get_num_threads())
        seconds[0] += {1: 4.0, 2: 1.0, 4: 9.0}[torch.get_num_threads()]

    seconds = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.exports.threads.time.perf_counter", lambda: seconds[0])
        timings = measure(work, 16)
    assert timings == [(1, 4.0), (2, 1.0), (4, 9.0)]
    assert tried.count(4) == 1  # far too slow at its first run
    assert choose(timings) == 2


def test_a_training_keeps_the_number_that_it_began_with(tmp_path):
    note = tmp_path / "full" / "threads.json"
    assert settle(1, 4, note)[0] == 1
    assert json.loads(note.read_text()) == {"training": 1}
    chosen, said = settle(None, 2, note)
    assert "of 2 cores, measured a step: " in said
    assert json.loads(note.read_text()) == {"training": chosen}


def test_what_is_measured_is_real_work_and_leaves_random_numbers_alone(candidate, suite):
    load_corpora(suite)
    decoder = Decoder(candidate.architecture, suite)
    before = torch.get_rng_state()
    weights = {name: value.clone() for name, value in decoder.state_dict().items()}
    training(candidate, suite)()
    playing(decoder)()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, weights[name]) for name, value in decoder.state_dict().items())
