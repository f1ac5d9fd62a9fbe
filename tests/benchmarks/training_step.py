"""How quick is a training step, and where does its time go? Ours over that of transformers' Mixtral.

    python tests/benchmarks/training_step.py [--rounds 24] [--dtype float32] [--experts grouped_mm]

The two take turns on the batches of the suite `quick`, on one thread: loss, backward, clipping, AdamW. Equal
are depth, width, heads, kv heads, experts, their width, top-k, vocabulary, tokens of a batch, the positions
whose loss is taken, the balance loss, clipping and the fused optimizer. Ours does more: it encodes patches,
keeps attention within episodes by a mask, weights tasks, adds a z-loss, counts experts' loads and each task's
loss; Mixtral sees tokens alone, in plain causal attention. It runs its experts as transformers does by
default, or as `--experts` says ("eager" is its loop over experts). Without Lightning's loop on either side.

Prints the median of the rounds' ratios of CPU time with their quartiles, then, of our steps, the share of
each part as the profiler sees it and the use of the machine: exact training FLOPs a second over those of a
large square product in the same precision. Expect geometric means of 0.96 in float32 and of 0.51 in bfloat16,
and a use of 0.35 to 0.8 and of 0.1 to 0.4 that grows with the width.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

import trainers.model.experts
from space.candidate import Architecture, CandidateConfig
from space.catalog import load_catalog
from space.cost import price
from space.mixture import TaskMixture
from space.records import SuiteRecord
from trainers.batch import Batch
from trainers.data import Mixer, load_corpora
from trainers.model.attention import Attention
from trainers.model.decoder import Decoder
from trainers.model.embedding import Embedding
from trainers.model.routing import BALANCE_COEFFICIENT, SoftmaxRouter
from trainers.module import GRADIENT_CLIP, CandidateModule, LossMeter, Schedule, Work
from trainers.optimizer import BETAS, WEIGHT_DECAY

SHAPES = {  # architecture: tokens of a batch
    Architecture(depth=2, width=64, experts=8, top_k=2, qk_norm=False): 1024,
    Architecture(depth=3, width=128, experts=8, top_k=2, expert_ratio=1, head_dim=32, qk_norm=False): 4096,
    Architecture(
        depth=4, width=256, experts=16, top_k=2, expert_ratio=1, head_dim=32, kv_groups=2, qk_norm=False
    ): 4096,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LEARNING_RATE = 1e-3
WARM_ROUNDS = 8
PROFILED = 10  # steps
SIDE = 2048  # of the square product
PARTS = (  # what is named in the profile: owner, function, part
    (Attention, "mask", "mask"),
    (trainers.model.experts, "dispatch", "dispatch"),
    (Embedding, "forward", "embedding"),
    (Attention, "forward", "attention"),
    (SoftmaxRouter, "forward", "router"),
    (Decoder, "logits", "head"),
    (Decoder, "router_loss", "losses of the routers"),
    (LossMeter, "add", "meter"),
)
NAMES = {part for _, _, part in PARTS} | {"data", "loss", "backward", "clip", "optimizer"}
BACKWARD = {"_SlicedBackward": "dispatch, backward", "ScaledDotProduct": "attention products, backward"}


class Ours:
    """Our module with the optimizer that it makes itself."""

    def __init__(self, arch: Architecture, suite: SuiteRecord) -> None:
        candidate = CandidateConfig(
            architecture=arch, mixture=TaskMixture.uniform(suite.tasks), learning_rate=LEARNING_RATE
        )
        self.module = CandidateModule(candidate, suite, Schedule(1000, 0), seed=0)
        self.optimizer = self.module.configure_optimizers()["optimizer"]

    def loss(self, batch: Batch) -> Tensor:
        return self.module.training_step(batch)


class Theirs:
    """Mixtral of the same shape."""

    def __init__(self, arch: Architecture, suite: SuiteRecord, experts: str | None) -> None:
        config = MixtralConfig(
            vocab_size=suite.vocab_size,
            hidden_size=arch.width,
            intermediate_size=arch.expert_width,
            num_hidden_layers=arch.depth,
            num_attention_heads=arch.num_heads,
            num_key_value_heads=arch.num_kv_heads,
            head_dim=arch.head_dim,
            max_position_embeddings=suite.context,
            num_local_experts=arch.experts,
            num_experts_per_tok=arch.top_k,
            experts_implementation=experts,
        )
        torch.manual_seed(0)
        self.module = MixtralForCausalLM(config).train()
        self.top_k = arch.top_k
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
        )

    def loss(self, batch: Batch) -> Tensor:
        out = self.module.model(batch.tokens, output_router_logits=True, use_cache=False)
        logits = self.module.lm_head(out.last_hidden_state.flatten(0, 1)[batch.at])
        balance = load_balancing_loss_func(
            out.router_logits, self.module.config.num_local_experts, self.top_k
        )
        return F.cross_entropy(logits.float(), batch.targets) + BALANCE_COEFFICIENT * balance


def step(model: Ours | Theirs, batch: Batch, dtype: torch.dtype) -> None:
    """One step of training."""
    autocast = torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
    with record_function("loss"), autocast:
        loss = model.loss(batch)
    with record_function("backward"):
        loss.backward()
    with record_function("clip"):
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), GRADIENT_CLIP)
    with record_function("optimizer"):
        model.optimizer.step()
        model.optimizer.zero_grad(set_to_none=True)


def compare(ours: Ours, theirs: Theirs, mixer: Mixer, dtype: torch.dtype, rounds: int) -> list[list[float]]:
    """CPU seconds of each round's steps, ours and theirs."""
    seconds = []
    for turn in range(WARM_ROUNDS + rounds):
        batch = mixer.batch(turn)
        seconds.append([])
        for model in (ours, theirs):
            started = time.thread_time()
            step(model, batch, dtype)
            seconds[-1].append(time.thread_time() - started)
    return seconds[WARM_ROUNDS:]


@contextmanager
def named(owner: object, name: str, part: str) -> Iterator[None]:
    """Have the profiler call what `owner.name` does by the name of a part."""
    function = getattr(owner, name)

    def recorded(*args: object, **options: object) -> object:
        with record_function(part):
            return function(*args, **options)

    setattr(owner, name, recorded)
    yield
    setattr(owner, name, function)


def breakdown(ours: Ours, mixer: Mixer, dtype: torch.dtype) -> list[tuple[str, float]]:
    """Each part of our step and its share of the time, largest first."""
    seconds: Counter[str] = Counter()
    with ExitStack() as stack:
        for owner, name, part in PARTS:
            stack.enter_context(named(owner, name, part))
        profiler = stack.enter_context(profile(activities=[ProfilerActivity.CPU]))
        for turn in range(PROFILED):
            with record_function("data"):
                batch = mixer.batch(turn)
            step(ours, batch, dtype)
    for event in profiler.events():
        if event.cpu_parent is None:
            _share_out(event, "nothing of the step", seconds)
    whole = sum(seconds.values())
    return [(part, spent / whole) for part, spent in seconds.most_common()]


def _share_out(event: FunctionEvent, part: str, seconds: Counter[str]) -> None:
    """Add the time of an event and of what it calls to the parts that they belong to."""
    if event.name in NAMES:
        part = event.name
    elif event.name.startswith("autograd::engine::evaluate_function"):
        part = next((to for node, to in BACKWARD.items() if node in event.name), part)
    elif event.name == "aten::mm" and part.startswith("dispatch"):
        part = part.replace("dispatch", "products of the experts")
    seconds[part] += event.self_cpu_time_total
    for child in event.cpu_children:
        _share_out(child, part, seconds)


def ceiling(dtype: torch.dtype) -> float:
    """FLOPs a second of a large square product."""
    one, other = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(WARM_ROUNDS):
        started = time.thread_time()
        torch.mm(one, other)
        seconds.append(time.thread_time() - started)
    return 2 * SIDE**3 / statistics.median(seconds)


def use(
    mixer: Mixer, arch: Architecture, suite: SuiteRecord, seconds: list[float], dtype: torch.dtype
) -> float:
    """Our exact training FLOPs in the time of these steps over what large products reach in it."""
    work = Work()
    for turn in range(len(seconds)):
        work.add(mixer.batch(WARM_ROUNDS + turn))
    return work.flops(price(arch, suite), "adamw") / sum(seconds) / ceiling(dtype)


def main() -> None:
    """Compare every shape in every precision and print where our time goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--dtype", choices=DTYPES, action="append")
    parser.add_argument("--experts", choices=("eager", "grouped_mm", "batched_mm"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    catalog = load_catalog().suite("quick")
    corpora = load_corpora(catalog)
    for dtype in options.dtype or DTYPES:
        medians = []
        for arch, batch_tokens in SHAPES.items():
            suite = catalog.model_copy(update={"batch_tokens": batch_tokens})
            mixer = Mixer(corpora, TaskMixture.uniform(suite.tasks), suite, seed=0)
            ours, theirs = Ours(arch, suite), Theirs(arch, suite, options.experts)
            seconds = compare(ours, theirs, mixer, DTYPES[dtype], options.rounds)
            low, median, high = statistics.quantiles([one / other for one, other in seconds], n=4)
            medians.append(median)
            print(f"{dtype}, depth {arch.depth}, width {arch.width}, {arch.experts_in_words}")
            print(f"  ours over theirs {median:.2f}  ({low:.2f} to {high:.2f})")
            mfu = use(mixer, arch, suite, [one for one, _ in seconds], DTYPES[dtype])
            shares = breakdown(ours, mixer, DTYPES[dtype])
            print(
                f"  use of the machine {mfu:.2f}; "
                + ", ".join(f"{part} {share:.1%}" for part, share in shares)
            )
        print(
            f"{dtype} geometric mean {statistics.geometric_mean(medians):.2f}, worst {max(medians):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
