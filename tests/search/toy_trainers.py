"""A study whose trainers train nothing, as its `trainer` names them: quick, exact, and without torch."""

import os
import time
from hashlib import sha256
from pathlib import Path

from search.planning.simulate import executed_flops_per_token
from space.contract import Spent
from space.cost import price
from space.errors import Diverged, Interrupted, PathfrontError
from space.scores import Scorecard
from space.study import StudyConfig

RUNGS = (3_000, 6_000, 12_000)


TWO_NETWORKS = {  # a dense and a sparse one; nothing else varies
    "depth": 1,
    "width": 64,
    "experts": {"choices": [1, 4]},
    "top_k": 1,
    "expert_ratio": 1,
    "learning_rate": 1e-3,
    "mixture": {"fixed": True},
}


def toy_config(**changes) -> StudyConfig:
    """A study shaped as `quick`, whose trainer is a toy, and whose sampler and promotion fit no models."""
    keys = {
        "study": "toy",
        "space": {"mixture": {"spread": 1.0}},
        "limits": {"flops_per_token": 1.5e6, "total_params": 2.0e7},
        "rungs": {"tokens": list(RUNGS), "eta": 2},
        "stop": {"candidates": 12},
        "trainer": "toy_trainers:climb",
    }
    search = {"sampler": "stratified", "promotion": "rank", **changes.pop("search", {})}
    return StudyConfig.model_validate({**keys, **changes, "search": search})


def quality(candidate, rung):
    """What a candidate scores at a rung."""
    return 0.2 + 0.5 * (int(candidate.id, 16) % 1000) / 1000 + 0.1 * rung


def climb(candidate, suite, budget, resume, report):
    """Three points of a curve, a checkpoint after each, then a score; says from where it went on."""
    start = int(resume.read_text()) if resume else 0
    for part in (1, 2, 3):
        tokens = budget.tokens * part // 3
        if tokens <= start:
            continue
        report.progress(tokens, 3.0 / part, dict.fromkeys(suite.tasks, 3.0 / part))
        report.checkpoint(lambda path, tokens=tokens: _write(path, tokens), tokens, "trunk")
        if report.stopping:
            raise Interrupted("stopped")
    report.checkpoint(lambda path: _write(path, "weights"), budget.tokens + budget.decay_tokens, "decayed")
    return score(candidate, suite, budget, start)


def climb_at_cost(candidate, suite, budget, resume, report):
    """Spends the training FLOPs that its candidate is expected to take."""
    card = climb(candidate, suite, budget, resume, report)
    tokens = budget.tokens - budget.start_tokens + budget.decay_tokens
    per_token = executed_flops_per_token(price(candidate.architecture, suite), candidate.optimizer, suite)
    return card.model_copy(update={"spent": Spent(training_flops=per_token * tokens, wall_seconds=0.1)})


def score(candidate, suite, budget, start=0):
    values = {}
    for name, record in suite.records.items():
        references = record.references["select"]
        gain = references.expert.mean - references.floor.mean
        values[name] = [references.floor.mean + quality(candidate, budget.rung) * gain] * 2
    loads = {"text": [[0.5] * candidate.architecture.experts] * candidate.architecture.depth}
    spent = Spent(training_flops=1e9, wall_seconds=0.1, epochs={"start": start, "from": budget.start_tokens})
    return Scorecard.of(suite, values, spent=spent, routing=loads)


def climb_with_luck(candidate, suite, budget, resume, report):
    """A score with luck that differs between seeds; uniform mixtures are worse by 0.05.

    Mentions what it was asked for as epochs, so that a test can read it: the first token and the split.
    """
    card = climb(candidate, suite, budget, resume, report)
    luck = (int(sha256(f"{candidate.id}/{budget.seed}".encode()).hexdigest(), 16) % 1000) / 1000 - 0.5
    shares = candidate.mixture.weights.values()
    even = 0.05 * (max(shares) - min(shares) < 1e-9)
    values = {}
    for name, record in suite.records.items():
        floor, expert = record.checked(budget.split)
        mean = quality(candidate, budget.rung) + 0.04 * luck - even
        values[name] = [floor.mean + each * (expert.mean - floor.mean) for each in (mean - 0.01, mean + 0.01)]
    spent = card.spent.model_copy(update={"epochs": {**card.spent.epochs, budget.split: 1.0}})
    return Scorecard.of(suite, values, budget.split, spent)


def crash(candidate, suite, budget, resume, report):
    raise RuntimeError("out of\nluck")


def climb_unless_bad_machine(candidate, suite, budget, resume, report):
    if report._claim.worker == "bad":
        raise OSError("there is no disk")
    return climb(candidate, suite, budget, resume, report)


def broken_machine(candidate, suite, budget, resume, report):
    raise OSError("there is no disk")


def climb_unless_bad_code(candidate, suite, budget, resume, report):
    if report._claim.worker == "bad":
        raise TypeError("this installation is broken")
    time.sleep(0.05)
    return climb(candidate, suite, budget, resume, report)


def climb_slowly(candidate, suite, budget, resume, report):
    """Nine checkpoints."""
    start = int(resume.read_text()) if resume else 0
    for tokens in range(1_000, budget.tokens + 1, 1_000):
        if tokens > start:
            report.progress(tokens, 1.0, {})
            report.checkpoint(lambda path, tokens=tokens: _write(path, tokens), tokens, "trunk")
    return score(candidate, suite, budget, start)


def climb_with_weight(candidate, suite, budget, resume, report):
    """Weights of 120 kB."""
    report.checkpoint(lambda path: path.write_bytes(bytes(120_000)), budget.tokens + 1, "decayed")
    return climb(candidate, suite, budget, resume, report)


def climb_in_time(candidate, suite, budget, resume, report):
    time.sleep(0.2)
    return climb(candidate, suite, budget, resume, report)


def hang(candidate, suite, budget, resume, report):
    report.progress(1, 1.0, {})
    time.sleep(3600)


def crash_if_dense(candidate, suite, budget, resume, report):
    if not candidate.architecture.sparse:
        raise RuntimeError("out of\nluck")
    return climb(candidate, suite, budget, resume, report)


def crash_at_first(candidate, suite, budget, resume, report):
    """The first attempt at rung 0 dies half way."""
    if resume is None:
        report.checkpoint(lambda path: _write(path, budget.tokens // 3), budget.tokens // 3, "trunk")
        raise RuntimeError("out of luck, once")
    return climb(candidate, suite, budget, resume, report)


def diverge(candidate, suite, budget, resume, report):
    """Dense candidates diverge."""
    if not candidate.architecture.sparse:
        report.progress(1, float("nan"), {"docs": float("inf")})
        raise Diverged("training diverged: the loss is nan")
    return climb(candidate, suite, budget, resume, report)


def broken(candidate, suite, budget, resume, report):
    """Dense candidates fail for good while the file `broken` is in the working folder."""
    if Path("broken").exists() and not candidate.architecture.sparse:
        raise PathfrontError(f"no plan for depth {candidate.architecture.depth} [Errno 28]")
    return climb(candidate, suite, budget, resume, report)


def infinite(candidate, suite, budget, resume, report):
    return score(candidate, suite, budget).model_copy(update={"score": float("-inf")})


def nothing(candidate, suite, budget, resume, report):
    return None


def floor(candidate, suite, budget, resume, report):
    """Every candidate plays at its floor."""
    values = {name: [record.references["select"].floor.mean] * 2 for name, record in suite.records.items()}
    return Scorecard.of(suite, values)


def narrow_at_floor(candidate, suite, budget, resume, report):
    """Narrow candidates play at their floor."""
    play = floor if candidate.architecture.width <= 64 else climb
    return play(candidate, suite, budget, resume, report)


def patient(candidate, suite, budget, resume, report):
    """Climbs until somebody asks it to stop, if the file `wait` is in the working folder."""
    while Path("wait").exists() and not report.stopping:
        time.sleep(0.02)
    return climb(candidate, suite, budget, resume, report)


def deaf(candidate, suite, budget, resume, report):
    """Hears nobody while the file `wait` is in the working folder."""
    while Path("wait").exists():
        time.sleep(0.02)
    return climb(candidate, suite, budget, resume, report)


def fatal_once(candidate, suite, budget, resume, report):
    """The first trial of all takes its process with it."""
    try:
        Path("died").touch(exist_ok=False)
    except FileExistsError:
        return climb(candidate, suite, budget, resume, report)
    os.kill(os.getpid(), 9)


def fatal(candidate, suite, budget, resume, report):
    """Every trial takes its process with it."""
    os.kill(os.getpid(), 9)


not_a_function = 3


MEMORY = 60_000_000  # bytes that there are for `climb_within_memory`


def climb_within_memory(candidate, suite, budget, resume, report):
    """As `climb`, on a device that has little memory."""
    needed = price(candidate.architecture, suite).training_bytes
    if needed > MEMORY:
        raise RuntimeError(f"CUDA out of memory. Tried to allocate {needed} bytes")
    return climb(candidate, suite, budget, resume, report)


def _write(path, content):
    path.write_text(str(content))
