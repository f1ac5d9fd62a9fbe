import pytest
import torch
from toys import Recorder, budget

from search.store.faults import Failure
from search.trainer import release_memory
from trainers.train import train_candidate

STEP = 192

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("toys")]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_a_candidate_learns_and_is_resumed_on_a_gpu(candidate, suite, tmp_path, precision, optimizer):
    candidate = candidate.model_copy(update={"optimizer": optimizer})
    first = Recorder(tmp_path)
    given = {"device": "cuda", "precision": precision, "decay_tokens": 60 * STEP}
    train_candidate(candidate, suite, budget(100 * STEP, **given), None, first)
    rung = first.path("trunk", 100 * STEP)
    spend = budget(300 * STEP, start_tokens=100 * STEP, **given)
    card = train_candidate(candidate, suite, spend, rung, Recorder(tmp_path))
    assert card.spent.device.startswith("cuda")
    assert card.tasks["echo"].fraction > 0.5


def test_memory_that_runs_out_is_given_back(candidate, suite, tmp_path):
    train_candidate(candidate, suite, budget(STEP, device="cuda"), None, Recorder(tmp_path))
    release_memory()
    base = torch.cuda.memory_reserved()
    large = suite.model_copy(update={"batch_tokens": 2**20})
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((base + 2**28) / whole)
    try:
        with pytest.raises(torch.OutOfMemoryError) as found:
            train_candidate(candidate, large, budget(2**20, device="cuda"), None, Recorder(tmp_path))
        assert Failure.of(found.value).kind == "memory"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    del found
    release_memory()
    assert torch.cuda.memory_reserved() <= base + 2**21
    assert train_candidate(
        candidate, suite, budget(STEP, device="cuda"), None, Recorder(tmp_path)
    ).spent.tokens
