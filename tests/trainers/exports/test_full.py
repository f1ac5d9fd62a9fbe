import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file
from toys import toy_suite

from space.errors import CheckpointError, Interrupted, NotFoundError, StudyFileError
from space.recipe import TOKENIZER_FILE, WEIGHTS_FILE, Growth, Origin, Predicted, Recipe
from trainers.exports.full import evaluate_export, finished_training, train_export
from trainers.exports.full_card import full_card
from trainers.model.decoder import Decoder
from trainers.tasks.tokenizer import tokenizer_model
from trainers.train import save_weights

STEP = 192

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def export(candidate, tmp_path):
    """An export of a candidate that was never trained."""
    suite = toy_suite()
    torch.manual_seed(0)
    path = tmp_path / WEIGHTS_FILE
    save_weights(Decoder(candidate.architecture, suite), candidate, path)
    origin = Origin(study="toy", trial=3, rung=0, tokens=1, score=0.1, score_stderr=0.01)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    Recipe(candidate=candidate, suite=suite, origin=origin, weights_sha256=sha256).write(tmp_path)
    (tmp_path / TOKENIZER_FILE).write_bytes(tokenizer_model(suite.tokenizer))
    return tmp_path


@pytest.fixture
def grown(candidate, tmp_path):
    """An export without weights, of which something is predicted at 20 steps."""
    suite = toy_suite()
    origin = Origin(study="toy", trial=3, rung=0, tokens=1, score=0.1, score_stderr=0.01)
    point = Predicted(tokens=20 * STEP, training_flops=1e9, score=0.4, low=-1.0, high=1.0)
    growth = Growth(from_flops=1e4, flops=1e5, predicted=(point,))
    recipe = Recipe(candidate=candidate, suite=suite, origin=origin, weights_sha256=None, grown=growth)
    recipe.write(tmp_path)
    (tmp_path / TOKENIZER_FILE).write_bytes(tokenizer_model(suite.tokenizer))
    return tmp_path


def test_a_grown_export_has_no_weights_until_it_is_trained(grown):
    with pytest.raises(NotFoundError, match="no weights until it is trained") as caught:
        evaluate_export(grown)
    assert f"pathfront train {grown} --tokens" in str(caught.value)
    card = train_export(grown, 20 * STEP, ignore)
    assert evaluate_export(grown).tasks == card.tasks


def test_the_card_of_a_grown_export_sets_the_score_beside_the_prediction(grown):
    card = train_export(grown, 20 * STEP, ignore)
    text = (grown / "full" / "README.md").read_text()
    assert f"Score {card.score:.3f}" in text
    told = f"Predicted at {20 * STEP:,} tokens: 0.400, 90% interval -1.000 to 1.000; the score is within it."
    assert told in text
    recipe = Recipe.read(grown)
    assert "the score is outside it" in full_card(recipe, card.model_copy(update={"score": 1.5}), 20 * STEP)
    assert "Nothing was predicted at 4,032 tokens" in full_card(recipe, card, 21 * STEP)
    alone = recipe.model_copy(update={"grown": None})
    assert "redicted" not in full_card(alone, card, 20 * STEP)
    assert " fraction of expert performance, mean over domains; " in full_card(alone, card, 20 * STEP)
    task = recipe.suite.tasks[0]
    one = alone.model_copy(update={"suite": recipe.suite.model_copy(update={"weights": {task: 1.0}})})
    assert f" fraction of expert performance, task {task}; " in full_card(one, card, 20 * STEP)


@pytest.mark.parametrize("content", [None, b"another"])
def test_an_export_whose_tokens_mean_something_else_is_refused(export, content):
    path = export / TOKENIZER_FILE
    path.unlink() if content is None else path.write_bytes(content)
    for use in (evaluate_export, lambda folder: train_export(folder, 20 * STEP, ignore)):
        with pytest.raises(CheckpointError, match=r"tokenizer\.model is the tokenizer 'python-docs-512'"):
            use(export)


def ignore(tokens, loss, tokens_per_second):
    pass


def test_full_training_scores_writes_a_card_and_beats_the_export(export):
    before = evaluate_export(export)
    told = []
    card = train_export(export, 100 * STEP, lambda *point: told.append(point))
    assert card.split == before.split == "report"
    assert card.score > before.score
    assert told[-1][0] == 100 * STEP
    assert told[0][2] is None  # nothing was measured yet
    assert all(speed > 0 for _, _, speed in told[1:])
    assert json.loads((export / "full" / "scorecard.json").read_text())["score"] == card.score
    text = (export / "full" / "README.md").read_text()
    assert all(name in text for name in card.tasks)
    assert f"{card.score:.3f}" in text
    assert evaluate_export(export).tasks == card.tasks
    assert evaluate_export(export, "select").split == "select"


def test_an_export_in_half_precision_is_scored_in_the_precision_of_its_own_training(export):
    recipe = Recipe.read(export).model_copy(update={"precision": "bf16-mixed"})
    recipe.write(export)
    before = evaluate_export(export)
    recipe.model_copy(update={"precision": "32-true"}).write(export)
    assert evaluate_export(export).tasks != before.tasks, "the scores show the precision"
    recipe.write(export)
    card = train_export(export, 20 * STEP, ignore)
    assert evaluate_export(export).tasks == card.tasks


def test_interrupted_and_gone_on_equals_uninterrupted(export, tmp_path_factory):
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        train_export(export, 20 * STEP, ignore, stopping=lambda: next(calls) >= 8)
    train_export(export, 20 * STEP, ignore)
    resumed = load_file(export / "full" / WEIGHTS_FILE)
    other = tmp_path_factory.mktemp("other")
    for name in ("config.yaml", WEIGHTS_FILE, TOKENIZER_FILE):
        (other / name).write_bytes((export / name).read_bytes())
    train_export(other, 20 * STEP, ignore)
    whole = load_file(other / "full" / WEIGHTS_FILE)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def stages(export, stopping=lambda: False, tokens=20 * STEP):
    """Train -> the phases that it went through, its card or the interruption."""
    seen = []
    try:
        ended = train_export(export, tokens, ignore, stopping, phases=lambda phase, *_: seen.append(phase))
    except Interrupted as error:
        ended = error
    return list(dict.fromkeys(seen)), ended


def stop_in(phase):
    """What asks to stop once a phase is seen, and what watches the phases."""
    seen = []
    return seen.append, lambda: phase in seen


def test_an_interruption_in_any_phase_loses_nothing(export, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for name in ("config.yaml", WEIGHTS_FILE, TOKENIZER_FILE):
        (other / name).write_bytes((export / name).read_bytes())
    whole = train_export(other, 20 * STEP, ignore)
    resumed = []
    for phase in ("training", "decay", "scoring"):
        see, stopping = stop_in(phase)
        first = []

        def watch(name, *_, see=see, first=first):
            first.append(name)
            see(name)

        with pytest.raises(Interrupted):
            train_export(export, 20 * STEP, ignore, stopping, phases=watch)
        resumed.append(first[0])
    assert resumed == ["training", "training", "decay"]
    phases, card = stages(export)
    assert phases == ["scoring"]
    assert card.tasks == whole.tasks
    assert card.spent.tokens == whole.spent.tokens
    assert card.spent.training_flops == whole.spent.training_flops
    ours, theirs = (load_file(folder / "full" / WEIGHTS_FILE) for folder in (export, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert list((export / "full").glob("branch-*")) == []
    assert [path.name for path in (export / "full" / "logs").iterdir()] == ["seed0"]


def test_a_finished_training_is_not_repeated(export):
    card = train_export(export, 20 * STEP, ignore)
    (export / "full" / "README.md").unlink()
    phases, again = stages(export)
    assert (phases, again) == ([], card)
    assert f"{card.score:.3f}" in (export / "full" / "README.md").read_text()
    assert finished_training(export, Recipe.read(export), 40 * STEP) is None
    see, stopping = stop_in("training")
    with pytest.raises(Interrupted):
        train_export(export, 40 * STEP, ignore, stopping, phases=lambda phase, *_: see(phase))
    assert stages(export)[1] == card  # the trunk is beyond it, the weights and scores are still its own


def test_scores_never_stand_beside_weights_that_are_not_theirs(export):
    train_export(export, 20 * STEP, ignore)
    see, stopping = stop_in("scoring")
    with pytest.raises(Interrupted):
        train_export(export, 40 * STEP, ignore, stopping, phases=lambda phase, *_: see(phase))
    assert not (export / "full" / "scorecard.json").exists()
    phases, card = stages(export, tokens=40 * STEP)
    assert phases == ["scoring"]
    assert evaluate_export(export).tasks == card.tasks


def test_a_branch_of_fewer_tokens_is_left(export):
    see, stopping = stop_in("decay")
    with pytest.raises(Interrupted):
        train_export(export, 20 * STEP, ignore, stopping, phases=lambda phase, *_: see(phase))
    told = []
    train_export(export, 40 * STEP, lambda *point: told.append(point))
    assert told[0][0] == 17 * STEP


def test_more_tokens_go_on_from_the_trunk_and_fewer_are_refused(export):
    train_export(export, 10 * STEP, ignore)
    told = []
    train_export(export, 20 * STEP, lambda *point: told.append(point))
    assert told[0][0] == 9 * STEP
    assert [path.name for path in (export / "full").glob("*.ckpt")] == [f"trunk-{16 * STEP:015d}.ckpt"]
    with pytest.raises(StudyFileError, match="give more"):
        train_export(export, 10 * STEP, ignore)


@pytest.mark.parametrize("file", [WEIGHTS_FILE, f"full/{WEIGHTS_FILE}", "full/trunk-000000000000768.ckpt"])
def test_a_damaged_file_is_one_line(export, file):
    if file.startswith("full"):
        train_export(export, 5 * STEP, ignore)
    path = export / file
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="is damaged") as caught:
        train_export(export, 9 * STEP, ignore) if file.endswith("ckpt") else evaluate_export(export)
    assert "\n" not in str(caught.value)


def test_weights_without_their_seal_are_refused(export):
    train_export(export, 5 * STEP, ignore)
    (export / "full" / f"{WEIGHTS_FILE}.sha256").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        evaluate_export(export)


def test_a_folder_that_is_no_export_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        train_export(tmp_path / "nothing", 1000, ignore)
