import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from toys import toy_suite

from space.candidate import Architecture
from space.cost import price
from trainers.model.decoder import Decoder
from trainers.optimizer import MUON_EPS, Muon, make_optimizer, orthogonalised

ARCH = Architecture(
    depth=3, width=32, experts=4, top_k=2, head_dim=8, kv_groups=2, shared_experts=1, dense_layers=1
)


def decoder(arch=ARCH, **changes):
    torch.manual_seed(0)
    return Decoder(arch.model_copy(update=changes), toy_suite())


def with_gradients(model):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


def moved(model, optimizer):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer.step()
    return {name: value - before[name] for name, value in model.state_dict().items()}


def test_every_parameter_is_in_one_group():
    for name in ("adamw", "muon"):
        model = decoder()
        groups = make_optimizer(model, name, 1e-3).param_groups
        held = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())


def test_rates_fall_with_what_a_matrix_sums_over_and_tables_keep_theirs():
    def rates(width):
        model = decoder(width=width)
        groups = make_optimizer(model, "adamw", 1e-3).param_groups
        found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
        return {name: found[id(parameter)] for name, parameter in model.named_parameters()}

    narrow, wide = rates(32), rates(128)
    for name, rate in narrow.items():
        kept = name.endswith(("norm.weight", "table.weight", "local.weight", "project.weight", "bias"))
        kept = kept or name.endswith(("query_norm", "key_norm"))
        assert wide[name] == pytest.approx(rate if kept else rate / 4), name
    assert narrow["layers.1.network.router.weight"] == pytest.approx(2e-3)


def test_only_matrices_decay_and_alike_whatever_their_rate():
    for group in make_optimizer(decoder(), "adamw", 1e-3).param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] > 0}
        assert group["weight_decay"] == 0 or group["lr"] * group["weight_decay"] == pytest.approx(1e-4)


@pytest.mark.parametrize("shape", [(16, 16), (40, 16), (16, 40), (5, 24, 16)])
def test_an_update_is_nearly_orthogonal(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_muon_is_that_of_torch_on_single_matrices():
    torch.manual_seed(0)
    start, gradients = torch.randn(24, 16), torch.randn(3, 24, 16)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    group = {
        "params": [ours],
        "lr": 0.1 * (24 / 16) ** 0.5,
        "weight_decay": 0.2 / (24 / 16) ** 0.5,
        "parts": (24,),
    }
    pair = Muon([group]), torch.optim.Muon([theirs], lr=0.1, weight_decay=0.2, momentum=0.95, eps=MUON_EPS)
    for gradient in gradients:
        for parameter, optimizer in zip((ours, theirs), pair, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)  # theirs iterates in bfloat16
    assert (ours - start).abs().mean() > 0.05


def test_muon_moves_each_expert_and_each_projection_on_its_own():
    model = with_gradients(decoder())
    for parameter in model.layers[1].network.gate_up.grad[1:2]:
        parameter.mul_(1e3)  # one expert's gradient dwarfs the others'
    change = moved(model, make_optimizer(model, "muon", 1e-3))
    gate_up = change["layers.1.network.gate_up"].unflatten(1, (2, -1))
    values = torch.linalg.svdvals(gate_up)
    assert values.min() > 0.25 * values.max()
    q, k, v = change["layers.0.attention.qkv.weight"].split([32, 16, 16])
    for part in (q, k, v):
        values = torch.linalg.svdvals(part)
        assert values.min() > 0.25 * values.max()


def test_muon_leaves_the_rest_to_adamw():
    both = [
        moved(model := with_gradients(decoder()), make_optimizer(model, name, 1e-3))
        for name in ("adamw", "muon")
    ]
    for name in ("embedding.table.weight", "head.weight", "norm.weight", "layers.1.network.router.weight"):
        torch.testing.assert_close(both[0][name], both[1][name])
    assert not torch.allclose(
        both[0]["layers.0.attention.out.weight"], both[1]["layers.0.attention.out.weight"]
    )


@pytest.mark.parametrize(
    "changes", [{}, {"experts": 1, "top_k": 1, "dense_layers": 0}, {"kv_groups": 1, "expert_ratio": 0.5}]
)
def test_the_flops_of_a_step_of_muon_are_those_that_are_counted(changes):
    model = with_gradients(decoder(**changes))
    optimizer = make_optimizer(model, "muon", 1e-3)
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    assert counter.get_total_flops() == price(model.arch, model.suite).muon_flops_per_step


def test_muon_goes_on_from_its_state():
    runs = []
    for interrupted in (False, True):
        model = decoder()
        optimizer = make_optimizer(model, "muon", 1e-3)
        for step in range(4):
            if interrupted and step == 2:
                kept = optimizer.state_dict()
                optimizer = make_optimizer(model, "muon", 1e-3)
                optimizer.load_state_dict(kept)
            with_gradients(model)
            optimizer.step()
        runs.append(model.state_dict())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_state_is_loaded_onto_the_device_of_the_parameters(name):
    """On "meta", which stands for a GPU: a fused step refuses a count of steps that lies on the CPU."""
    model = with_gradients(decoder())
    optimizer = make_optimizer(model, name, 1e-3)
    optimizer.step()
    kept = optimizer.state_dict()
    elsewhere = make_optimizer(decoder().to("meta"), name, 1e-3)
    elsewhere.load_state_dict(kept)
    tensors = [value for state in elsewhere.state.values() for value in state.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert {state["step"].dtype for state in elsewhere.state.values() if "step" in state} == {torch.float32}
