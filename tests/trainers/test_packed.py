import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from space.candidate import Architecture
from space.catalog import load_catalog
from trainers.model import packed
from trainers.model.decoder import Decoder
from trainers.model.packed import attend, blocks, reaches, within

SEGMENTS = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0]])


def test_a_cpu_and_exact_products_keep_the_mask():
    x = torch.zeros(3, 8, 16)
    assert isinstance(within(x, 8, 0, SEGMENTS), torch.Tensor)
    assert within(x, 8, 0, None) is None
    assert within(x, 8, 8, None) is None  # nothing is further away than the window
    assert within(x, 8, 7, None).shape == (1, 8, 8)


def some_segments(rows, length, longest):
    lengths = np.random.default_rng(longest).integers(1, longest, size=(rows, length))
    return torch.from_numpy(np.stack([np.repeat(np.arange(length), row)[:length] for row in lengths]))


@pytest.mark.parametrize("window", [0, 1, 100, 300])
@pytest.mark.parametrize("longest", [2, 90, 700, 5000])
def test_blocks_are_those_in_which_somebody_sees_somebody(window, longest):
    segment = some_segments(5, 1000, longest)
    positions = torch.arange(1000)
    seen = (segment.unsqueeze(2) == segment.unsqueeze(1)) & reaches(positions, positions, window)
    tiles = F.pad(seen, (0, 24, 0, 24)).unflatten(1, (8, 128)).unflatten(3, (8, 128)).transpose(2, 3)
    inside = F.pad(torch.ones(1000, 1000, dtype=torch.bool), (0, 24, 0, 24))  # the last block is not whole
    room = inside.unflatten(0, (8, 128)).unflatten(2, (8, 128)).transpose(1, 2)
    found = blocks(segment, window)
    partly = dense(found.kv_num_blocks, found.kv_indices)
    wholly = dense(found.full_kv_num_blocks, found.full_kv_indices)
    assert not (partly & wholly).any()
    assert torch.equal(partly | wholly, tiles.any(dim=(3, 4)))
    assert torch.equal(wholly, (tiles | ~room).all(dim=(3, 4)))
    index = torch.meshgrid(torch.arange(5), positions, positions, indexing="ij")
    exact = found.mask_mod(index[0], torch.tensor(0), index[1], index[2])
    assert torch.equal(exact, seen)


def dense(counts, indices):
    """Blocks (sequences, queries, keys) from their ordered lists."""
    found = torch.zeros(indices[:, 0].shape, dtype=torch.bool)
    for place in np.ndindex(*counts[:, 0].shape):
        found[place][indices[:, 0][place][: counts[:, 0][place]].long()] = True
    return found


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("window", [0, 1, 100])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_a_block_mask_lets_see_what_the_mask_lets_see(monkeypatch, window, kv_heads):
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 300, heads, 16) for heads in (4, kv_heads, kv_heads))
    segment = some_segments(3, 300, 150)
    masked = attend(q, k, v, within(q.flatten(2), 16, window, segment))
    monkeypatch.setattr(packed, "compiled_attention", lambda: flex_attention)
    torch.testing.assert_close(attend(q, k, v, blocks(segment, window)), masked, atol=1e-5, rtol=1e-4)


def parts(suite, segments):
    rng = np.random.default_rng(0)
    shape = segments.shape
    tokens = torch.from_numpy(rng.integers(suite.text_vocab, size=shape))
    return tokens, torch.zeros_like(tokens), {}, segments


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
@pytest.mark.parametrize("window", [0, 1, 40])
@pytest.mark.parametrize(("head_dim", "kv_groups", "longest"), [(64, 1, 9), (64, 4, 700), (24, 2, 150)])
def test_a_gpu_attends_without_a_mask_to_what_the_mask_lets_it_see(
    monkeypatch, window, head_dim, kv_groups, longest
):
    suite = load_catalog().suite("quick").model_copy(update={"context": 512})
    arch = Architecture(depth=2, width=4 * head_dim, head_dim=head_dim, kv_groups=kv_groups, window=window)
    torch.manual_seed(0)
    decoder = Decoder(arch, suite).to("cuda")
    tokens, local, patches, segments = parts(suite, some_segments(8, 512, longest))
    tokens, local, segments = (part.to("cuda") for part in (tokens, local, segments))

    def outcome():
        decoder.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            hidden, _ = decoder(tokens, local, patches, segments)
            hidden.float().square().mul(torch.arange(512, device="cuda")[:, None]).mean().backward()
        return [
            hidden.detach().float(),
            *(p.grad.clone() for p in decoder.parameters() if p.grad is not None),
        ]

    x = torch.zeros(8, 512, 1, device="cuda", dtype=torch.bfloat16)
    assert isinstance(within(x, head_dim, window, segments), BlockMask)
    outcome()  # what is made once may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        blockwise = outcome()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    monkeypatch.setattr(packed, "_blocks_fit", lambda *_: False)
    for mine, masked in zip(blockwise, outcome(), strict=True):
        assert (mine - masked).norm() <= 0.02 * masked.norm()


@pytest.mark.gpu
def test_memory_of_attention_is_linear_in_the_length():
    peaks = []
    for context in (2048, 8192):
        q, k, v = (
            torch.randn(1, context, 4, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
            for _ in range(3)
        )
        segment = torch.zeros(1, context, dtype=torch.int64)
        with torch.autocast("cuda", torch.bfloat16):
            seen = within(q.flatten(2), 64, 0, segment.cuda())
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        attend(q, k, v, seen).sum().backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
        del q, k, v, seen
    assert peaks[1] < 5 * peaks[0]


@pytest.mark.parametrize(
    "device", [pytest.param("cuda", marks=pytest.mark.gpu), pytest.param("cpu", marks=pytest.mark.slow)]
)
def test_compiled_layers_compute_the_same(device):
    """In a process without the checks of shapes, which a compiler cannot look through."""
    subprocess.run([sys.executable, "-W", "ignore", __file__, device], check=True, timeout=600)


def compare_compiled(device):
    """Both ways are as far from exact results; routers choose by differences that are smaller than that."""
    suite = load_catalog().suite("quick").model_copy(update={"context": 512})
    arch = Architecture(depth=2, width=256, head_dim=64, experts=4, top_k=2)
    torch.manual_seed(0)
    decoder = Decoder(arch, suite).to(device)
    given = [parts(suite, some_segments(8, 512, longest)) for longest in (20, 200)]

    def outcome(half):
        for tokens, local, patches, segments in given:  # more than one shape of the data
            decoder.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=half):
                hidden, routings = decoder(tokens.to(device), local.to(device), patches, segments.to(device))
                loss = hidden.float().square().mul(torch.arange(256, device=device)).mean()
                (loss + decoder.router_loss(routings)).backward()
        return [hidden.detach().float(), *(p.grad for p in decoder.parameters() if p.grad is not None)]

    exact, eager = outcome(half=False), outcome(half=device == "cuda")
    decoder.compile_layers()
    for right, one, other in zip(exact, eager, outcome(half=device == "cuda"), strict=True):
        errors = [((found - right).norm() / right.norm()).item() for found in (one, other)]
        print(tuple(right.shape), errors)
        assert errors[1] <= 1.5 * errors[0] + 1e-4, errors


if __name__ == "__main__":
    compare_compiled(sys.argv[1])
