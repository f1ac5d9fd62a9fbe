import pytest
from toys import Recorder, budget

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
