"""Upper bounds of what a study costs, whatever its scores, stop rule, sampler and mixture.

They hold for trials of our own trainer that neither crash nor lose their worker, since lost work is repeated.
"""

import math
from collections.abc import Sequence

import numpy as np

from search.choose.promote import goes_ahead, most_believed, quota
from space.candidate import Architecture
from space.cost import TRAINING_FACTOR, Cost, price
from space.knobs import Between
from space.ranges import MOST_ARCHITECTURES
from space.records import SuiteRecord
from space.study import Rungs, Search, StudyConfig

PATCHES = 1.2  # times the mean share of patches that windows drawn by chance may hold


def expected_trials(rungs: Rungs, candidates: int, search: Search, believed: int = 0) -> list[int]:
    """Trials at each rung when the study ends, with those that are repeated with another seed.

    Args:
        rungs: the study's rungs.
        candidates: that the study tries.
        search: its rule of promotion, and the share of its candidates that is repeated.
        believed: those of them that its belief chooses.
    """
    counts = promoted(rungs, candidates, search, believed)
    if search.promotion == "all":
        return [count + repeated(candidates, search) for count in counts]
    return [count + round(count * search.repeats) for count in counts]


def most_trials(config: StudyConfig, candidates: int) -> list[int]:
    """Trials at each rung that a study cannot exceed: all candidates that are repeated are promoted.

    Promotion ahead of the quotas may promote all of them.
    """
    repeats = repeated(candidates, config.search)
    counts = promoted(config.rungs, candidates, config.search, most_believed(config))
    if goes_ahead(config):
        counts = [candidates for _ in counts]
    return [count + min(count, repeats) for count in counts]


def promoted(rungs: Rungs, candidates: int, search: Search, believed: int = 0) -> list[int]:
    """Candidates that are trained to each rung with the study's own seed.

    They are all of them, or one of `eta` and those that a belief chooses.
    """
    believed = min(believed, candidates)
    counts = [candidates - believed]
    for _ in rungs.tokens[1:]:
        counts.append(counts[0] if search.promotion == "all" else quota(counts[-1], rungs.eta))
    return [count + believed for count in counts]


def repeated(candidates: int, search: Search) -> int:
    """Candidates that are trained with another seed, too; as `search.choose.promote.repeat` chooses them."""
    return int(candidates * search.repeats)


def possible_candidates(config: StudyConfig, suite: SuiteRecord, architectures: int) -> int | None:
    """The number of candidates in a space; None if it is infinite."""
    parameters = config.space.parameters(suite)
    endless = any(knob.values() is None for knob in parameters.values())
    if endless or config.space.points > MOST_ARCHITECTURES:
        return None
    others = (config.space.learning_rate, config.space.optimizer)
    return architectures * math.prod(len(knob.values() or ()) for knob in others)


def most_flops_per_token(
    config: StudyConfig, suite: SuiteRecord, priced: Sequence[tuple[Architecture, Cost]]
) -> float:
    """Training FLOPs per token of the most expensive candidate, with the head at every position."""
    optimizers = [str(word) for word in config.space.optimizer.values() or ()]

    def most(cost: Cost) -> float:
        patches = max_patch_flops(config, suite, cost)
        dense = cost.body_flops_per_token + cost.head_flops_per_token
        own = cost.muon_flops_per_step / step_tokens(suite) if "muon" in optimizers else 0.0
        return TRAINING_FACTOR * (dense + patches) + own

    if all_priced(config):
        return max(most(cost) for _, cost in priced)
    corner = price(most_expensive(config), suite)
    limit = config.limits.flops_per_token
    over = 0.0 if limit is None else max(0.0, corner.flops_per_token - limit)
    return most(corner) - TRAINING_FACTOR * over


def max_patch_flops(config: StudyConfig, suite: SuiteRecord, cost: Cost) -> float:
    """Forward FLOPs of patch encoders a token, under the mixture of the space that has most of them.

    With a cap on repetition, under the shares between floor and cap that have most of them.
    """
    costs = np.array(
        [
            sum(
                share * cost.encoder_flops_per_patch[name]
                for name, share in suite.patch_share.get(task, {}).items()
            )
            for task in suite.tasks
        ]
    )
    space = config.space.mixture
    shares = space.shares(suite, config.rungs.whole_tokens)
    prior = np.maximum([shares.prior[task] for task in suite.tasks], 1e-9)
    if shares.caps is not None:
        return PATCHES * _most_within(costs, space.floor, shares.caps)
    if not space.parameters(suite):
        return PATCHES * float(_mixed(np.log(prior), space.floor) @ costs)
    of_groups = shares.groups.sums((prior * costs)[None])[0] / shares.groups.sums(prior[None])[0]
    order = np.argsort(-of_groups)
    found = []
    for count in range(len(order)):  # the ratio is largest if the most expensive groups are high, others low
        logits = np.full(len(order), -space.spread)
        logits[order[:count]] = space.spread
        found.append(float(_mixed(np.log(prior) + logits[shares.groups.of], space.floor) @ costs))
    return PATCHES * max(found)


def _most_within(costs: np.ndarray, floor: float, caps: np.ndarray) -> float:
    """The largest mean of costs (tasks,) whose weights lie between a floor and caps (tasks,), 1 in sum."""
    shares, left = np.full(len(costs), floor), 1 - len(costs) * floor
    for task in np.argsort(-costs):
        added = min(left, float(caps[task]) - floor)
        shares[task] += added
        left -= added
    return float(shares @ costs)


def step_tokens(suite: SuiteRecord) -> int:
    """Input tokens of a step of our trainer: whole windows."""
    return max(1, suite.batch_tokens // suite.context) * suite.context


def most_tokens(rungs: Rungs, rung: int, suite: SuiteRecord) -> int:
    """Tokens of the trial that ends at a rung, in whole steps."""
    step, budget = step_tokens(suite), rungs.budget(rung)
    until, before = (max(1, round(tokens / step)) for tokens in (budget.tokens, budget.start_tokens or step))
    steps = until - (before if rung else 0) + round(budget.decay_tokens / step)
    return max(rungs.trial_tokens(rung), steps * step)


def most_candidates(flops: float, rungs: Rungs, costs: Sequence[Cost]) -> int:
    """The most candidates that training FLOPs allow: all as cheap as possible, none promoted."""
    return math.ceil(
        flops / (TRAINING_FACTOR * min(c.body_flops_per_token for c in costs) * rungs.trial_tokens(0))
    )


def most_flops(
    config: StudyConfig, suite: SuiteRecord, per_token: float, candidates: int | None, workers: int
) -> float | None:
    """Training FLOPs that a study cannot exceed; None if only time ends it.

    Args:
        config: the study.
        suite: its tasks.
        per_token: training FLOPs per token of the most expensive candidate.
        candidates: how many it may try; None for no limit.
        workers: trials that may start at the same time, before any of them is counted.
    """
    tokens = [most_tokens(config.rungs, rung, suite) for rung in range(len(config.rungs.tokens))]
    bounds = []
    if candidates is not None:
        trials = most_trials(config, candidates)
        bounds.append(per_token * sum(n * each for n, each in zip(trials, tokens, strict=True)))
    if config.stop.training_flops is not None:
        bounds.append(config.stop.training_flops + workers * per_token * max(tokens))
    return min(bounds, default=None)


def _mixed(logs: np.ndarray, floor: float) -> np.ndarray:
    shares = np.exp(logs - logs.max())
    return floor + (1 - len(logs) * floor) * shares / shares.sum()


def all_priced(config: StudyConfig) -> bool:
    """Whether every architecture of the space was priced, so that the most expensive one is known."""
    space = config.space
    return space.points <= MOST_ARCHITECTURES and space.expert_ratio.values() is not None


def most_expensive(config: StudyConfig) -> Architecture:
    """An architecture with the most expensive value of every knob; it need not be in the space."""

    def end(name: str, largest: bool) -> float:
        knob = getattr(config.space, name)
        values = (knob.low, knob.high) if isinstance(knob, Between) else knob.choices
        return max(values) if largest else min(values)

    names = ("depth", "experts", "expert_ratio", "shared_experts", "qk_norm")
    head = 2 * max(2, math.ceil(end("head_dim", False) / 2))
    return Architecture.model_validate(
        {name: end(name, True) for name in names}
        | {"width": head * math.ceil(end("width", True) / head), "head_dim": head}
        | {"top_k": min(end("top_k", True), end("experts", True))}
    )
