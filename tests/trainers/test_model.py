import socket

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toys import toy_suite

from space.candidate import Architecture
from space.cost import TRAINING_FACTOR, attention, encoder, head, network, price, router
from trainers.model.attention import Cache, Slots, rotary_table, rotate
from trainers.model.decoder import Decoder
from trainers.model.embedding import Patches, waves
from trainers.model.norm import rms_norm
from trainers.model.routing import (
    BIAS_STEP,
    ROUTERS,
    Routing,
    SigmoidRouter,
    balance_loss,
    expert_load,
    highest,
    log_partition,
    over_all_devices,
    z_loss,
)

ARCHITECTURES = [
    Architecture(depth=1, width=32, head_dim=8),
    Architecture(depth=2, width=48, expert_ratio=0.5, head_dim=16, qk_norm=False),
    Architecture(depth=2, width=32, experts=4, top_k=1, head_dim=8, kv_groups=4),
    Architecture(depth=3, width=32, experts=8, top_k=2, shared_experts=1, dense_layers=1, head_dim=16),
    Architecture(depth=2, width=64, experts=16, top_k=4, expert_ratio=0.5, kv_groups=2),
    Architecture(depth=2, width=32, experts=4, top_k=2, head_dim=8, shared_experts=1, router="sigmoid"),
    Architecture(depth=2, width=32, head_dim=8, window=1),
    Architecture(depth=2, width=32, experts=4, top_k=2, head_dim=8, kv_groups=2, window=5),
    Architecture(depth=1, width=32, head_dim=8, window=11),
]


def inputs(suite, sequences=3, patches=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(suite.vocab_size - 1, (sequences, suite.context), generator=generator)
    local = torch.randint(4, tokens.shape, generator=generator)
    at = torch.randperm(tokens.numel(), generator=generator)[:patches].sort().values
    pixels = torch.randn(patches, suite.encoders["image"], generator=generator)
    tokens.view(-1)[at] = suite.vocab_size - 1
    return tokens, local, {"image": Patches(at, pixels)}


@st.composite
def architectures(draw):
    """Any architecture that can be built and is small."""
    head_dim = draw(st.sampled_from([4, 8, 16]))
    heads = draw(st.integers(1, 4))
    depth = draw(st.integers(1, 4))
    experts = draw(st.integers(1, 64))
    return Architecture(
        depth=depth,
        width=max(8, head_dim * heads),
        experts=experts,
        top_k=draw(st.integers(1, min(8, experts))),
        expert_ratio=draw(st.sampled_from([0.25, 0.5, 1, 2, 3.3])),
        shared_experts=draw(st.integers(0, 1)),
        dense_layers=draw(st.integers(0, depth)),
        router=draw(st.sampled_from(sorted(ROUTERS))),
        head_dim=head_dim,
        kv_groups=draw(
            st.sampled_from([g for g in (1, 2, 3, 4) if max(8, head_dim * heads) // head_dim % g == 0])
        ),
        qk_norm=draw(st.booleans()),
        window=draw(st.sampled_from([0, 1, 7, 24, 100])),
    )


@given(architectures())
@settings(max_examples=60, deadline=None)
def test_costs_are_those_of_the_model(arch):
    suite = toy_suite()
    model, cost = Decoder(arch, suite), price(arch, suite)
    assert sum(p.numel() for p in model.parameters()) == cost.total_params
    tokens, local, patches = inputs(suite)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.logits(model(tokens, local, patches)[0])
    whole = tokens.numel() * (cost.body_flops_per_token + cost.head_flops_per_token)
    assert counter.get_total_flops() == whole + 10 * cost.encoder_flops_per_patch["image"]


@given(architectures())
@settings(max_examples=20, deadline=None)
def test_costs_of_each_part_are_those_of_its_module(arch):
    suite = toy_suite()
    model = Decoder(arch, suite)
    x = torch.randn(2, suite.context, arch.width)
    rotation = rotary_table(arch.head_dim, suite.context)

    def flops_of(work):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            work()
        return counter.get_total_flops()

    def size(*modules):
        return sum(p.numel() for module in modules for p in module.parameters())

    for index, layer in enumerate(model.layers):
        sparse = arch.is_sparse_layer(index)
        attends, computes = attention(arch, suite.context), network(arch, sparse)
        if sparse:
            computes += router(arch)
        assert size(layer.attention, layer.attention_norm) == attends.params
        assert size(layer.network, layer.network_norm) == computes.params
        tokens = 2 * suite.context
        assert flops_of(lambda layer=layer: layer.attention(x, rotation)) == tokens * attends.flops
        assert flops_of(lambda layer=layer: layer.network(x.flatten(0, 1))) == tokens * computes.flops
    (patch_size,) = suite.encoders.values()
    assert size(model.embedding.encoders) == encoder(arch.width, patch_size).params
    assert size(model.head) == head(arch.width, suite.vocab_size).params


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_training_costs_three_times_the_forward_pass(arch):
    """Less one product: the pixels of patches want no gradient."""
    suite = toy_suite()
    model = Decoder(arch, suite)
    tokens, local, patches = inputs(suite)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        logits = model.logits(model(tokens, local, patches)[0])
        forward = counter.get_total_flops()
        logits.square().sum().backward()
    pixels = 2 * patches["image"].pixels.numel() * arch.width
    assert counter.get_total_flops() == TRAINING_FACTOR * forward - pixels


@given(st.integers(1, 50), st.integers(1, 12), st.data())
@settings(max_examples=30, deadline=None)
def test_routing_conserves_tokens(num_tokens, num_experts, data):
    top_k = data.draw(st.integers(1, num_experts))
    kind = data.draw(st.sampled_from(sorted(ROUTERS)))
    scale = data.draw(st.sampled_from([0.0, 1.0, 100.0]))
    chooser = ROUTERS[kind](8, num_experts, top_k)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    with torch.no_grad():
        chooser.weight.normal_().mul_(scale)
    routing = chooser(torch.randn(num_tokens, 8))
    assert expert_load(routing).sum() == num_tokens * top_k
    assert all(len(set(row)) == top_k for row in routing.experts.tolist())
    torch.testing.assert_close(routing.weights.sum(-1), torch.ones(num_tokens))


@given(st.integers(1, 50), st.integers(1, 20), st.booleans(), st.data())
@settings(max_examples=60, deadline=None)
def test_the_highest_scores_are_chosen_each_once_and_highest_first(tokens, experts, ties, data):
    top_k = data.draw(st.integers(1, experts))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    scores = torch.randn(tokens, experts)
    scores = scores.round() if ties else scores
    chosen = highest(scores, top_k)
    assert torch.equal(scores.gather(-1, chosen), scores.topk(top_k, dim=-1).values)
    scores[0, 0] = torch.nan
    assert all(len(set(row)) == top_k for row in highest(scores, top_k).tolist())


def test_balance_loss_is_one_when_even_and_the_number_of_experts_when_all_go_to_one():
    even = torch.eye(4).repeat(3, 1) * 1e-4
    routing = Routing(even, even.argmax(-1, keepdim=True), torch.ones(12, 1))
    assert balance_loss(routing, log_partition(routing)).item() == pytest.approx(1, abs=1e-3)
    one = torch.zeros(12, 4)
    one[:, 2] = 50
    routing = Routing(one, one.argmax(-1, keepdim=True), torch.ones(12, 1))
    assert balance_loss(routing, log_partition(routing)).item() == pytest.approx(4)
    assert z_loss(log_partition(routing)).item() == pytest.approx(2500)


def test_the_bias_of_a_sigmoid_router_moves_the_choice_and_not_the_weights():
    torch.manual_seed(0)
    router = SigmoidRouter(8, 4, 2)
    torch.nn.init.normal_(router.weight)
    x = torch.randn(64, 8)
    free = router(x)
    router.bias += torch.tensor([9.0, 0, 0, 0])
    pushed = router(x)
    assert (pushed.experts[:, 0] == 0).all()
    affinities = free.logits.sigmoid().gather(-1, pushed.experts)
    torch.testing.assert_close(pushed.weights, affinities / affinities.sum(-1, keepdim=True))
    for _ in range(round(9 / BIAS_STEP)):
        router.rebalance(pushed)
    assert router.bias[0].item() == pytest.approx(0, abs=1e-2)
    even = Routing(free.logits, torch.arange(4).repeat(32).view(64, 2), free.weights)
    before = router.bias.clone()
    router.rebalance(even)
    assert torch.equal(router.bias, before)


def _halves(rank, port, logits, found):
    torch.set_num_threads(1)
    where = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    half = logits.chunk(2)[rank].clone().requires_grad_()
    routing = _top_one(half)
    loss = balance_loss(routing, log_partition(routing))
    loss.backward()
    router = SigmoidRouter(2, 4, 1)
    router.rebalance(_top_one(half))
    counts = over_all_devices(torch.tensor([rank + 1]))
    found.put((rank, loss.item(), half.grad.tolist(), router.bias.tolist(), counts.item()))
    torch.distributed.destroy_process_group()


def _top_one(logits):
    return Routing(logits, logits.argmax(-1, keepdim=True), torch.ones(len(logits), 1))


def test_balance_is_that_of_the_global_batch():
    """Two devices whose batches use different experts: the load is even, and only the global batch knows."""
    torch.manual_seed(0)
    logits = torch.randn(8, 4) * 0.1
    logits[range(8), [0, 0, 1, 1, 2, 2, 3, 3]] += 2
    whole = logits.clone().requires_grad_()
    routing = _top_one(whole)
    loss = balance_loss(routing, log_partition(routing))
    loss.backward()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    found = context.SimpleQueue()
    torch.multiprocessing.start_processes(_halves, (port, logits, found), nprocs=2, start_method="spawn")
    (_, first, grad, bias, counts), (_, second, other, _, _) = sorted(found.get() for _ in range(2))
    assert (first + second) / 2 == pytest.approx(loss.item())
    torch.testing.assert_close(torch.tensor(grad + other) / 2, whole.grad)
    assert bias == [0] * 4
    assert counts == 3


def test_rotation_depends_on_distance_only():
    table = rotary_table(8, 32)
    torch.manual_seed(0)
    q, k = torch.randn(2, 8)
    turned = rotate(torch.stack([q, k]).repeat(32, 1, 1), table)
    scores = torch.einsum("ph,rh->pr", turned[:, 0], turned[:, 1])
    torch.testing.assert_close(scores[5, 2], scores[25, 22])
    torch.testing.assert_close(turned.norm(dim=-1), torch.stack([q, k]).norm(dim=-1).repeat(32, 1))


def test_rotation_has_the_gradient_of_finite_differences():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(rotate, (x, rotary_table(8, 5).double()))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_cached_logits_are_uncached_logits(arch):
    suite = toy_suite()
    torch.manual_seed(0)
    model = Decoder(arch, suite)
    tokens, local, patches = inputs(suite)
    with torch.no_grad():
        expected, _ = model(tokens, local, patches)
        cache = Cache(arch, 3, like=expected)
        done = np.zeros(3, dtype=int)
        rng = np.random.default_rng(0)
        while (done < suite.context).all():
            new = np.minimum(rng.integers(1, 6, size=3), suite.context - done)
            pieces = [
                slice(row * suite.context + a, row * suite.context + a + n)
                for row, (a, n) in enumerate(zip(done, new, strict=True))
            ]
            index = torch.cat([torch.arange(piece.start, piece.stop) for piece in pieces])
            at = (index.unsqueeze(1) == patches["image"].at).nonzero()
            some = {"image": Patches(at[:, 0], patches["image"].pixels[at[:, 1]])}
            slots = Slots.of(done, new, torch.device("cpu"))
            hidden = model.extend(tokens.view(-1)[index], local.view(-1)[index], some, slots, cache)
            done += new
            torch.testing.assert_close(hidden, expected[torch.arange(3), torch.from_numpy(done - 1)])
    kept = cache.keys[:, 0].nbytes + cache.values[:, 0].nbytes
    assert kept <= (2 if not arch.window else 1) * price(arch, suite).cache_bytes_per_sequence  # room doubles


@pytest.mark.parametrize("window", [1, 2, 7, 24, 40])
@pytest.mark.parametrize("packed", [False, True])
def test_a_position_sees_itself_and_the_window_less_one_before_it(window, packed):
    suite = toy_suite()
    torch.manual_seed(0)
    arch = Architecture(depth=1, width=32, head_dim=8, window=window)
    model = Decoder(arch, suite)
    tokens, local, _ = inputs(suite, sequences=1, patches=0)
    changed = tokens.clone()
    changed[0, 6] = (tokens[0, 6] + 1) % suite.text_vocab
    segment = torch.zeros_like(tokens) if packed else None
    with torch.no_grad():
        before, after = (model(given, local, {}, segment)[0][0] for given in (tokens, changed))
    moved = (before != after).any(dim=-1).nonzero().squeeze(-1)
    assert moved.tolist() == list(range(6, min(6 + window, suite.context)))


@pytest.mark.parametrize("rows", [[0, 2], [1]])
def test_a_cache_with_a_window_serves_some_of_its_rows(rows):
    suite = toy_suite()
    torch.manual_seed(0)
    model = Decoder(Architecture(depth=2, width=32, head_dim=8, window=4), suite)
    tokens, local, _ = inputs(suite, patches=0)
    with torch.no_grad():
        expected, _ = model(tokens, local, {})
        cache = Cache(model.arch, 3, like=expected)
        done = np.zeros(3, dtype=int)
        for chosen, new in (([0, 1, 2], 9), (rows, 1), (rows, 6), (rows, 2)):
            count = np.full(len(chosen), new)
            slots = Slots.of(done[chosen], count, torch.device("cpu"), None if len(chosen) == 3 else chosen)
            spans = [(row, slice(done[row], done[row] + new)) for row in chosen]
            some, places = (torch.cat([part[row, span] for row, span in spans]) for part in (tokens, local))
            hidden = model.extend(some, places, {}, slots, cache)
            done[chosen] += new
            torch.testing.assert_close(hidden, expected[chosen, done[chosen] - 1])
    assert cache.keys.shape[2] == 4


def test_segments_do_not_see_each_other(sparse_arch):
    suite = toy_suite()
    torch.manual_seed(0)
    model = Decoder(sparse_arch, suite)
    tokens, local, _ = inputs(suite, sequences=1, patches=0)
    segment = torch.zeros_like(tokens)
    segment[0, 10:] = 1
    with torch.no_grad():
        packed, _ = model(tokens, local, {}, segment)
        alone, _ = model(tokens[:, 10:], local[:, 10:], {})
    torch.testing.assert_close(packed[:, 10:], alone, atol=1e-5, rtol=1e-4)


def test_shapes_in_signatures_are_checked_here(sparse_arch):
    suite = toy_suite()
    model = Decoder(sparse_arch, suite)
    tokens, local, _ = inputs(suite, patches=0)
    with pytest.raises(TypeCheckError, match="sequences positions"):
        model(tokens, local[:, 1:], {})
    with pytest.raises(TypeCheckError, match="width"):
        rms_norm(torch.ones(3, 8), torch.ones(7))


def test_bins_begin_as_smooth_functions_of_their_value():
    features = waves(64, 32)
    near = (features[1:] - features[:-1]).norm(dim=-1).mean()
    far = (features[32:] - features[:32]).norm(dim=-1).mean()
    assert near < far
    assert features.std().item() == pytest.approx(1)
