import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file
from toys import Recorder, ToyTask, budget, toy_suite

import trainers.data
import trainers.evaluate
from space.candidate import Architecture, CandidateConfig
from space.cost import price
from space.errors import CheckpointError, Interrupted, NotFoundError, StudyFileError
from space.mixture import TaskMixture
from space.recipe import TOKENIZER_FILE, WEIGHTS_FILE, Origin, Recipe
from trainers.data import Mixer, load_corpora
from trainers.exports.distil import Fade, answers, distil, divergence
from trainers.exports.full import evaluate_export, train_export
from trainers.exports.prune import eliminate, measure_moments, prune
from trainers.exports.shrink import Plan, narrower, shrink_export
from trainers.model.decoder import Decoder
from trainers.model.experts import DenseNetwork, SparseNetwork
from trainers.tasks.tokenizer import tokenizer_model
from trainers.train import save_weights

STEP = 192
ARCH = Architecture(
    depth=2, width=32, experts=4, top_k=2, expert_ratio=1, shared_experts=1, dense_layers=1, head_dim=8
)
HALF = narrower(ARCH, 0.5)

pytestmark = pytest.mark.usefixtures("toys")


def ignore(tokens, loss, tokens_per_second):
    pass


@pytest.fixture
def mixer(suite):
    return Mixer(load_corpora(suite), TaskMixture.uniform(suite.tasks), suite, seed=1)


@pytest.fixture
def parent(suite):
    torch.manual_seed(0)
    decoder = Decoder(ARCH, suite)
    with torch.no_grad():  # as large as in a trained network, so that each network matters
        for network in networks(decoder).values():
            network.gate_up.normal_(std=0.3)
            network.down.normal_(std=0.3)
    return decoder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An export with a full training behind it."""
    folder = tmp_path_factory.mktemp("trained") / "best"
    folder.mkdir()
    suite, path = toy_suite(), folder / WEIGHTS_FILE
    candidate = CandidateConfig(
        architecture=ARCH, mixture=TaskMixture.uniform(suite.tasks), learning_rate=3e-3
    )
    torch.manual_seed(0)
    save_weights(Decoder(ARCH, suite), candidate, path)
    origin = Origin(study="toy", trial=3, rung=0, tokens=50 * STEP, score=0.1, score_stderr=0.01)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    Recipe(candidate=candidate, suite=suite, origin=origin, weights_sha256=sha256).write(folder)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer_model(suite.tokenizer))
    with pytest.MonkeyPatch.context() as patch:
        for module in (trainers.data, trainers.evaluate):
            patch.setattr(module, "load_task", ToyTask)
        train_export(folder, 150 * STEP, ignore)
    return folder


def networks(decoder):
    return {n: m for n, m in decoder.named_modules() if isinstance(m, DenseNetwork | SparseNetwork)}


def hidden_states(decoder, batch):
    with torch.no_grad():
        return decoder(batch.tokens, batch.local, batch.patches, batch.segment)[0]


def planted(decoder, silence):
    """Silence half of the channels of every expert; which ones stay, network -> (experts, kept)."""
    stay = {}
    for name, network in networks(decoder).items():
        down = network.down if network.down.ndim == 3 else network.down[None]
        gate_up = network.gate_up if network.gate_up.ndim == 3 else network.gate_up[None]
        order = torch.stack([torch.randperm(down.shape[-1]) for _ in down])
        keep = down.shape[-1] // 2
        for expert, channels in enumerate(order[:, keep:]):
            silence(gate_up.data[expert], down.data[expert], channels)
        stay[name] = order[:, :keep].sort(dim=-1).values
    return stay


def zero_columns(gate_up, down, channels):
    down[:, channels] = 0


def shut_gates(gate_up, down, channels):
    gate_up[channels] = 0
    down[:, channels] *= 100  # what a rule that looks at weights alone would keep


@pytest.mark.parametrize("silence", [zero_columns, shut_gates])
def test_channels_that_say_nothing_go_and_nothing_changes(parent, mixer, silence):
    stay = planted(parent, silence)
    moments = measure_moments(parent, map(mixer.batch, range(4)))
    assert (
        moments.keys() == stay.keys() == {"layers.0.network", "layers.1.network", "layers.1.network.shared"}
    )
    child = prune(parent, HALF, moments)
    for name, network in networks(child).items():
        wide = networks(parent)[name]
        gates = wide.gate_up.view(len(stay[name]), 2, -1, ARCH.width)[:, 0]
        rows = stay[name].unsqueeze(-1).expand(-1, -1, ARCH.width)
        kept = network.gate_up.view(len(stay[name]), 2, -1, ARCH.width)[:, 0]
        assert torch.equal(kept, gates.gather(1, rows))
    batch = mixer.batch(9)
    assert torch.allclose(hidden_states(child, batch), hidden_states(parent, batch), atol=1e-4)


def test_an_expert_that_saw_no_token_keeps_its_heaviest_channels(parent):
    def shrink_all(gate_up, down, channels):
        for part in (gate_up, gate_up[down.shape[-1] :]):
            part[channels] /= 10

    stay = planted(parent, shrink_all)
    child = prune(parent, HALF, measure_moments(parent, []))
    for name, network in networks(child).items():
        wide = networks(parent)[name].down
        columns = stay[name].view(*wide.shape[:-2], 1, -1).expand(*wide.shape[:-1], -1)
        assert torch.allclose(network.down, wide.gather(-1, columns))


def test_a_silent_network_can_be_shrunk(parent, mixer):
    for network in networks(parent).values():
        torch.nn.init.zeros_(network.gate_up)
    child = prune(parent, HALF, measure_moments(parent, [mixer.batch(0)]))
    batch = mixer.batch(1)
    assert torch.allclose(hidden_states(child, batch), hidden_states(parent, batch))


def test_what_goes_is_fitted_by_least_squares_and_beats_every_choice_by_one_rule():
    torch.manual_seed(0)
    down, hidden = torch.randn(3, 6, 16), torch.randn(3, 200, 4) @ torch.randn(3, 4, 16)
    hidden = hidden + 0.3 * torch.randn(3, 200, 16)
    moment = (hidden.mT @ hidden).double()
    kept, columns = eliminate(down, moment, 8)
    for expert in range(3):
        asked = (hidden[expert] @ down[expert].T).double()

        def error(chosen, columns=None, expert=expert, asked=asked):
            some = hidden[expert][:, chosen].double()
            fitted = torch.linalg.lstsq(some, asked).solution.T if columns is None else columns
            return (some @ fitted.T - asked).square().sum().item()

        ours = error(kept[expert], columns[expert])
        assert ours == pytest.approx(error(kept[expert]), rel=1e-6)
        for rule in (down[expert].norm(dim=0), down[expert].norm(dim=0) * hidden[expert].norm(dim=0)):
            best = rule.topk(8).indices
            assert ours < error(best) * (1 + 1e-9)
            assert ours < error(best, down[expert][:, best].double())


def test_moments_count_a_visit_with_the_square_of_its_weight(parent, mixer):
    batch = mixer.batch(0)
    (found,) = [m for n, m in networks(parent).items() if isinstance(m, SparseNetwork)]
    seen = []
    hook = found.register_forward_hook(
        lambda module, arguments, output: seen.append((arguments[0], output[1]))
    )
    hidden_states(parent, batch)
    hook.remove()
    ((x, routing),) = seen
    expected = 0.0
    for token in range(len(x)):
        for expert, weight in zip(routing.experts[token], routing.weights[token], strict=True):
            if expert == 2:
                gate, up = (found.gate_up[2] @ x[token]).detach().chunk(2)
                expected += (weight * torch.nn.functional.silu(gate) * up).detach().square()
    moment = measure_moments(parent, [batch])["layers.1.network"][2]
    assert torch.allclose(moment.diagonal(), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("width", "ratio", "channels", "kept"),
    [
        (32, 1, 0.5, 16),
        (48, 1, 0.5, 24),
        (48, 0.5, 0.5, 8),
        (96, 1, 0.3, 32),
        (64, 4, 0.01, 8),
        (40, 1, 0.9, 32),
    ],
)
def test_the_nearest_width_that_can_be_built(width, ratio, channels, kept):
    arch = Architecture(depth=1, width=width, experts=4, top_k=2, expert_ratio=ratio, head_dim=8)
    narrow = narrower(arch, channels)
    assert narrow.expert_width == kept
    assert narrow.dense_width == 2 * kept
    assert narrow.model_copy(update={"expert_ratio": arch.expert_ratio}) == arch


def test_half_the_channels_are_half_the_flops_of_the_experts_exactly(suite):
    wide, narrow = price(ARCH, suite), price(HALF, suite)
    assert narrow.network_flops_per_token * 2 == wide.network_flops_per_token
    assert wide.flops_per_token - narrow.flops_per_token == narrow.network_flops_per_token
    assert sum(p.numel() for p in Decoder(HALF, suite).parameters()) == narrow.total_params


@pytest.mark.parametrize("channels", [0.0, -1.0, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(channels):
    with pytest.raises(StudyFileError, match="above 0 and at most 1"):
        narrower(ARCH, channels)


@pytest.mark.parametrize(
    ("ratio", "words"), [(1, "32 comes to 32.*keep a smaller"), (0.25, "the fewest already")]
)
def test_a_share_that_changes_nothing_is_refused(ratio, words):
    with pytest.raises(StudyFileError, match=words):
        narrower(ARCH.model_copy(update={"expert_ratio": ratio}), 0.95)


def test_the_rate_warms_up_and_fades_to_nothing():
    factors = [Fade(100, 0).factor(step) for step in range(101)]
    assert factors[0] < 0.2
    assert max(factors) > 0.9
    assert factors[-1] == 0
    assert factors[10:] == sorted(factors[10:], reverse=True)


@pytest.mark.slow
def test_retraining_brings_the_child_nearer_and_leaves_the_parent(trained, mixer, tmp_path):
    """A child that starts from nothing, so that there is a way to go."""
    recipe = Recipe.read(trained)
    parent = Decoder(ARCH, recipe.suite)
    parent.load_state_dict(load_file(trained / "full" / WEIGHTS_FILE))
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    quarter = narrower(ARCH, 0.25)
    child = Decoder(quarter, recipe.suite)
    start = {name: value.clone() for name, value in child.state_dict().items()}
    candidate = recipe.candidate.model_copy(update={"architecture": quarter})
    spend = budget(60 * STEP, decay_tokens=0, seed=1)
    after = distil(child, parent, candidate, mixer, spend, None, Recorder(tmp_path))

    def distance(decoder):
        with torch.no_grad():
            batches = map(mixer.batch, range(1000, 1008))
            pairs = [(answers(decoder, b)[0], answers(parent, b)[0], b.weights) for b in batches]
            return sum((divergence(ours, theirs) * weights).sum() for ours, theirs, weights in pairs)

    assert 0 < distance(after.decoder) < 0.7 * distance(child)
    assert after.work.tokens == 60 * STEP
    for decoder, weights in ((parent, before), (child, start)):
        assert all(torch.equal(value, weights[name]) for name, value in decoder.state_dict().items())


def test_an_export_is_shrunk_and_its_child_is_an_export(trained, tmp_path):
    plan = Plan.of(trained, tmp_path / "small", 0.5)
    assert plan.parent.tokens == 150 * STEP  # of the full training, not of the trial
    assert plan.parent.distil_tokens == 15 * STEP
    told = []
    shrunk = shrink_export(trained, plan, lambda *point: told.append(point), device="cpu")
    assert told[-1][0] == shrunk.tokens == 15 * STEP
    assert shrunk.kept_channels == 0.5
    assert shrunk.kept_score > 0.9
    assert shrunk.scores.parent.score.value == evaluate_export(trained).score
    assert shrunk.scores.retrained.score.value == evaluate_export(tmp_path / "small").score
    assert shrunk.speeds.forward.low <= shrunk.speeds.forward.ratio <= shrunk.speeds.forward.high
    child = Recipe.read(tmp_path / "small")
    assert child.parent == plan.parent
    assert child.tokens == 165 * STEP
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    text = (tmp_path / "small" / "README.md").read_text()
    assert all(name in text for name in child.suite.tasks)
    assert f"{shrunk.scores.pruned.score.value:.3f}" in text
    records = json.loads((tmp_path / "small" / "references.json").read_text())
    assert records.keys() == child.suite.records.keys()
    train_export(tmp_path / "small", 5 * STEP, ignore)
    again = Plan.of(tmp_path / "small", tmp_path / "smaller", 0.5)
    assert again.candidate.architecture.expert_width == 8
    assert again.parent.tokens == 5 * STEP


@pytest.mark.slow
def test_interrupted_and_gone_on_equals_uninterrupted(trained, tmp_path):
    plan = Plan.of(trained, tmp_path / "one", 0.5, tokens=12 * STEP)
    polls = iter(range(1000))
    with pytest.raises(Interrupted):
        shrink_export(trained, plan, ignore, lambda: next(polls) >= 7, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == [".one.partial"]
    (trunk,) = (tmp_path / ".one.partial").glob("*.ckpt")
    weights = torch.load(trunk, weights_only=True)["state_dict"]
    assert len(weights) == len(Decoder(HALF, toy_suite()).state_dict())  # the child's alone, not the parent's
    with pytest.raises(StudyFileError, match="begun with others"):
        shrink_export(
            trained, Plan.of(trained, tmp_path / "one", 0.5, tokens=13 * STEP), ignore, device="cpu"
        )
    told = []
    training = iter(range(1000))
    with pytest.raises(Interrupted):  # once more, when all the training is done
        shrink_export(trained, plan, lambda *point: told.append(point), lambda: next(training) >= 5, "cpu")
    assert told[0][0] > 7 * STEP
    again = []
    shrink_export(trained, plan, lambda *point: again.append(point), device="cpu")
    assert again == []
    shrink_export(trained, plan._replace(output=tmp_path / "two"), ignore, device="cpu")
    one, two = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_what_cannot_be_shrunk_is_said(trained, tmp_path):
    with pytest.raises(NotFoundError):
        Plan.of(tmp_path / "nothing", tmp_path / "new", 0.5)
    with pytest.raises(StudyFileError, match="goes into a new folder"):
        Plan.of(trained, tmp_path, 0.5)
    broken = tmp_path / "broken"
    (broken / "full").mkdir(parents=True)
    for name in ("config.yaml", WEIGHTS_FILE, TOKENIZER_FILE):
        (broken / name).write_bytes((trained / name).read_bytes())
    (broken / "full" / WEIGHTS_FILE).write_bytes(b"")
    with pytest.raises(CheckpointError, match="finish it"):
        Plan.of(broken, tmp_path / "new", 0.5)
