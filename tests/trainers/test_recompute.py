"""Layers that are computed again for the backward pass, so that their activations need no memory."""

import subprocess
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toys import Recorder, budget, toy_suite

from space.candidate import Architecture
from space.cost import TRAINING_FACTOR, price
from trainers.model.decoder import Decoder
from trainers.train import fit_candidate

STEP = 192
ARCHITECTURES = [
    Architecture(depth=3, width=32, head_dim=8),
    Architecture(depth=2, width=32, experts=4, top_k=2, head_dim=8, router="sigmoid"),
    Architecture(depth=3, width=32, experts=4, top_k=2, shared_experts=1, dense_layers=1, head_dim=8),
]


def decoders(arch, suite):
    """The same decoder without and with its layers computed again."""
    torch.manual_seed(0)
    kept, recomputed = Decoder(arch, suite), Decoder(arch, suite)
    recomputed.load_state_dict(kept.state_dict())
    recomputed.recompute_layers()
    return kept, recomputed


def loss_of(decoder, suite, half=False):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(suite.text_vocab, (8, suite.context), generator=generator).to(decoder.device)
    with torch.autocast(decoder.device.type, torch.bfloat16, enabled=half):
        hidden, routings = decoder(tokens, torch.zeros_like(tokens), {})
        logits = decoder.logits(hidden)
    return logits.float().square().mean() + decoder.router_loss(routings)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gradients_are_the_same_and_less_is_kept(arch):
    suite = toy_suite()
    kept_bytes, found = [], []
    for decoder in decoders(arch, suite):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t) or t, lambda t: t):
            loss = loss_of(decoder, suite)
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
        kept_bytes.append(sum(storages.values()))
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in decoder.parameters() if p.grad is not None)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert kept_bytes[1] < 0.5 * kept_bytes[0]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_flops_of_computing_again_are_counted(arch):
    suite, counted = toy_suite(), []
    for decoder in decoders(arch, suite):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            loss_of(decoder, suite).backward()
        counted.append(counter.get_total_flops())
    tokens, cost = 8 * suite.context, price(arch, suite)
    assert counted[1] - counted[0] == tokens * cost.recomputed_flops_per_token
    assert counted[1] == cost.training_flops(tokens, tokens, {}, recomputed_tokens=tokens)


def test_a_study_plans_for_computing_again(suite):
    again = suite.model_copy(update={"checkpoint_activations": True})
    usual, cost = (price(ARCHITECTURES[1], of) for of in (suite, again))
    planned = cost.planned_flops_per_token("adamw", STEP)
    assert planned == TRAINING_FACTOR * usual.flops_per_token + usual.recomputed_flops_per_token
    assert "checkpoint_activations" not in suite.model_dump()
    assert again.model_dump()["checkpoint_activations"]


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("router", ["sigmoid", pytest.param("softmax", marks=pytest.mark.slow)])
def test_a_training_is_the_same(candidate, suite, tmp_path, router):
    """The bias of a sigmoid router changes once a step, after the experts have been chosen again."""
    arch = candidate.architecture.model_copy(update={"router": router})
    candidate = candidate.model_copy(update={"architecture": arch})
    reports, fitted = [], []
    for recompute in (False, True):
        reports.append(Recorder(tmp_path / str(recompute)))
        reports[-1].folder.mkdir()
        of = suite.model_copy(update={"checkpoint_activations": recompute, "accumulate": 2})
        fitted.append(fit_candidate(candidate, of, budget(12 * STEP), None, reports[-1]))
    assert reports[1].curve == reports[0].curve
    states = [of.decoder.state_dict() for of in fitted]
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())
    if router == "sigmoid":
        assert states[0]["layers.0.network.router.bias"].abs().max() > 5e-3
    works = [of.work for of in fitted]
    assert [work.recomputed_tokens for work in works] == [0, works[0].tokens]
    cost = price(arch, suite)
    more = works[0].tokens * cost.recomputed_flops_per_token
    assert works[1].flops(cost, "adamw") == works[0].flops(cost, "adamw") + more


@pytest.mark.usefixtures("toys")
def test_a_training_resumes_with_and_without(candidate, suite, tmp_path):
    again = suite.model_copy(update={"checkpoint_activations": True})
    for name in ("whole", "stopped", "rest"):
        (tmp_path / name).mkdir()
    whole, rest = Recorder(tmp_path / "whole"), Recorder(tmp_path / "rest")
    spend = budget(12 * STEP, decay_tokens=0)
    fit_candidate(candidate, suite, spend, None, whole)
    half = Recorder(tmp_path / "stopped")
    fit_candidate(candidate, again, budget(8 * STEP, decay_tokens=0), None, half)
    done = fit_candidate(candidate, suite, spend, half.path("trunk", 8 * STEP), rest)
    assert rest.curve == [point for point in whole.curve if point[0] > 8 * STEP]
    assert (done.work.recomputed_tokens, done.work.tokens) == (8 * STEP, 12 * STEP)


@pytest.mark.parametrize(
    "device", [pytest.param("cuda", marks=pytest.mark.gpu), pytest.param("cpu", marks=pytest.mark.slow)]
)
def test_compiled_layers_are_computed_again(device):
    """In a process without the checks of shapes, which a compiler cannot look through."""
    subprocess.run([sys.executable, "-W", "ignore", __file__, device], check=True, timeout=600)


def compare_compiled(device):
    """Kept and recomputed activations have the same gradients, up to what a compiler rounds otherwise."""
    suite = toy_suite()
    arch = Architecture(depth=2, width=128, head_dim=32, experts=4, top_k=2)
    found = []
    for decoder in decoders(arch, suite):
        decoder.to(device).compile_layers()
        for _ in range(2):
            decoder.zero_grad(set_to_none=True)
            loss = loss_of(decoder, suite, half=device == "cuda")
            loss.backward()
        found.append([loss.detach(), *(p.grad for p in decoder.parameters() if p.grad is not None)])
    for kept, again in zip(*found, strict=True):
        torch.testing.assert_close(again, kept, atol=1e-5, rtol=1e-4)


if __name__ == "__main__":
    compare_compiled(sys.argv[1])
