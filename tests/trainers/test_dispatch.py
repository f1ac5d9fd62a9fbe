import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear, silu

from trainers.model.dispatch import Slots, dispatch, grouped, row_quantum, sliced
from trainers.model.experts import SparseNetwork
from trainers.model.routing import Routing

WAYS = {"sliced": sliced, "grouped": grouped}
PRECISIONS = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 6e-2}
CASES = [(way, dtype) for way in WAYS for dtype in PRECISIONS if (way, dtype) != ("grouped", torch.float64)]


def loop(x, routing, gate_up, down):
    """Dispatch, spelled out."""
    y = torch.zeros_like(x)
    for token in range(len(x)):
        for expert, weight in zip(routing.experts[token], routing.weights[token], strict=True):
            gate, up = linear(x[token], gate_up[expert]).chunk(2)
            y[token] += weight * linear(silu(gate) * up, down[expert])
    return y


def leaves(tokens, experts, width=16, hidden=24, seed=0):
    """Tokens, router, gate_up and down."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (tokens, width), (experts, width), (experts, 2 * hidden, width), (experts, width, hidden)
    return [torch.randn(shape, generator=generator) / width**0.25 for shape in shapes]


def results(way, tensors, top_k, bias, dtype):
    """What a way makes of tokens and weights in a precision, and its gradients.

    Routes are those of the given tensors in double, so that every way and precision has the same ones.
    """
    x, router, *_ = (tensor.double() for tensor in tensors)
    experts = (linear(x, router) + bias).topk(top_k).indices
    given = [tensor.detach().clone().to(dtype).requires_grad_() for tensor in tensors]
    wide = torch.promote_types(dtype, torch.float32)  # routers know no less
    logits = linear(given[0].to(wide), given[1].to(wide))
    y = way(given[0], Routing(logits, experts, logits.gather(-1, experts).softmax(-1)), *given[2:])
    assert y.dtype == dtype
    y.square().sum().backward()
    return [y.detach(), *(tensor.grad for tensor in given)]


def within(ours, plain, tolerance):
    return (ours.double() - plain).norm() <= tolerance * plain.norm()


def assert_close(ours, plain, tolerance):
    for one, other in zip(ours, plain, strict=True):
        assert within(one, other, tolerance), (one.double() - other).norm() / other.norm()


@pytest.mark.parametrize(("way", "dtype"), CASES, ids=str)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_way_is_a_plain_loop_with_its_gradients(way, dtype, data):
    tokens, experts = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 8))
    top_k = data.draw(st.integers(1, experts))
    skew = data.draw(st.sampled_from([0.0, 1.0, 50.0]))
    tensors = leaves(tokens, experts, seed=data.draw(st.integers(0, 99)))
    tensors = [tensor.to(dtype) for tensor in tensors]
    bias = skew * torch.linspace(1, -1, experts).double()
    plain = results(loop, tensors, top_k, bias, torch.float64)
    rounded = results(loop, tensors, top_k, bias, dtype)
    # where a gradient nearly cancels, whatever computes it in this precision is off
    assume(all(within(*pair, PRECISIONS[dtype] / 2) for pair in zip(rounded, plain, strict=True)))
    assert_close(results(WAYS[way], tensors, top_k, bias, dtype), plain, PRECISIONS[dtype])


@pytest.mark.parametrize(("way", "dtype"), CASES, ids=str)
@pytest.mark.parametrize(
    ("tokens", "experts", "top_k", "favourites"),
    [(1, 6, 2, 6), (40, 6, 6, 6), (40, 6, 2, 2), (300, 6, 1, 1)],
    ids=["one token", "all experts", "two of six experts", "one of six experts"],
)
def test_extreme_routes(way, dtype, tokens, experts, top_k, favourites):
    tensors = [tensor.to(dtype) for tensor in leaves(tokens, experts)]
    bias = torch.where(torch.arange(experts) < favourites, 0.0, -100.0).double()
    plain = results(loop, tensors, top_k, bias, torch.float64)
    ours = results(WAYS[way], tensors, top_k, bias, dtype)
    assert_close(ours, plain, PRECISIONS[dtype])
    visited = ours[3].flatten(1).any(dim=1)
    assert visited[:favourites].all() or tokens == 1
    assert not visited[favourites:].any()


@given(st.integers(1, 60), st.integers(1, 12), st.sampled_from([1, 4, 16]), st.data())
@settings(max_examples=40, deadline=None)
def test_each_visit_has_a_row_of_its_own_among_those_of_its_expert(tokens, num_experts, quantum, data):
    top_k = data.draw(st.integers(1, num_experts))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    experts = torch.rand(tokens, num_experts, generator=generator).topk(top_k).indices
    slots = Slots.of(experts, num_experts, quantum)
    assert all(rows % quantum == 0 for rows in slots.rows)
    assert sum(slots.rows) < tokens * top_k + num_experts * quantum
    assert len(slots.of_visit.unique()) == tokens * top_k
    owner = torch.arange(num_experts).repeat_interleave(torch.tensor(slots.rows))
    assert torch.equal(owner[slots.of_visit], experts)
    assert torch.equal(slots.token[slots.of_visit], torch.arange(tokens).unsqueeze(1).expand_as(experts))


def test_slices_of_half_precision_come_in_few_sizes():
    generator = torch.Generator().manual_seed(0)
    sizes = set()
    for _ in range(50):
        experts = torch.rand(1024, 8, generator=generator).topk(2).indices
        slots = Slots.of(experts, 8, quantum=row_quantum(torch.bfloat16, 256))
        sizes |= set(slots.rows)
    assert len(sizes) < 10


def test_autocast_computes_in_bfloat16_and_leaves_gradients_in_float32():
    torch.manual_seed(0)
    network = SparseNetwork(16, 24, 4, 2, "softmax", shared=False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(50, 16, requires_grad=True)
    exact, _ = network(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, routing = network(x)
    assert (y.dtype, routing.logits.dtype) == (torch.bfloat16, torch.float32)
    assert_close([y], [exact.double()], 3e-2)
    y.float().square().sum().backward()
    assert all(tensor.grad.dtype == torch.float32 for tensor in (x, *network.parameters()))


def test_inference_gives_what_training_gives():
    torch.manual_seed(0)
    x, router, *weights = leaves(30, 4)
    logits = linear(x, router)
    best, experts = logits.topk(2)
    routing = Routing(logits, experts, best.softmax(-1))
    trained = dispatch(x.requires_grad_(), routing, *weights)
    with torch.inference_mode():
        assert torch.equal(dispatch(x, routing, *weights), trained)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
@pytest.mark.parametrize("skew", [0.0, 50.0], ids=["even", "skewed"])
def test_a_gpu_in_bfloat16_computes_the_same_and_is_never_waited_for(skew):
    torch.manual_seed(0)
    networks = [SparseNetwork(64, 128, 8, 2, "softmax", shared=True) for _ in range(2)]
    for parameter in networks[0].parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        networks[0].router.weight[0, 0] += skew
    networks[1].load_state_dict(networks[0].state_dict())
    x = torch.randn(512, 64)
    x[:, 0] = 1
    found = []
    for network, device in zip(networks, ("cpu", "cuda"), strict=True):
        network.to(device)
        given = x.clone().to(device).requires_grad_()
        _train(network, given)  # what is made once may wait
        given.grad = None
        network.zero_grad(set_to_none=True)
        torch.cuda.set_sync_debug_mode("error" if device == "cuda" else "default")
        try:
            y = _train(network, given)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found.append([y.detach().cpu(), given.grad.cpu(), *(p.grad.cpu() for p in network.parameters())])
    assert_close(found[1], [tensor.double() for tensor in found[0]], 3e-2)


def _train(network, x):
    with torch.autocast(x.device.type, torch.bfloat16):
        y, routing = network(x)
        loss = y.float().square().mean() + network.router.loss(routing)
    loss.backward()
    return y
