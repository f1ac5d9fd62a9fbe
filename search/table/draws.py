"""How probable each candidate of a table is under plain random sampling of its space.

Stratified candidates are random draws within a cell of cost. So the probability of a candidate is that of its
cell, divided equally among the candidates that were drawn from the cell. Candidates of the control mixtures
have weight 0, because no random draw has such a mixture; so have those that a person gave.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from search.choose.provenance import CONTROL, GIVEN, provenance
from search.choose.sampler import Problem
from search.choose.samplers import make_sampler
from search.choose.stratified import Cell as Stratum
from search.choose.stratified import Random, Stratified
from search.table.records import Cell
from space.knob_index import is_of_architecture
from space.knobs import Between, Choices, Scalar
from space.ranges import MIXTURE_PREFIX, MOST_ARCHITECTURES
from space.records import SuiteRecord
from space.study import StudyConfig

DRAWS = 20_000  # random draws, where the architectures of a space cannot be listed


def weigh(
    config: StudyConfig, suite: SuiteRecord, drawn: Sequence[tuple[str, bool, float]]
) -> tuple[list[float] | None, list[Cell]]:
    """The probability of each candidate under plain random sampling.

    Args:
        config: the study that proposed the candidates.
        suite: its tasks.
        drawn: of each candidate its origin, whether it is sparse, and its FLOPs per token.

    Returns:
        Weights that sum to 1, and the cells that candidates were drawn from. None and no cells for samplers
        whose draws have no known probability, and where not every candidate was trained to the top rung.
    """
    if config.search.promotion != "all" and len(config.rungs.tokens) > 1:
        return None, []
    if config.priors or config.warm is not None:
        return None, []  # they shape what is drawn
    problem = Problem.of(config, suite)
    sampler = make_sampler(config.search, problem)
    random = [provenance(origin).rule not in (CONTROL, *GIVEN) for origin, _, _ in drawn]
    if isinstance(sampler, Random):
        return _normalised([float(is_random) for is_random in random]), []
    if not isinstance(sampler, Stratified):
        return None, []
    cells = [sampler.cell(sparse, flops) for _, sparse, flops in drawn]
    counts = Counter(cell for cell, is_random in zip(cells, random, strict=True) if is_random)
    probability = _probabilities(problem, sampler)
    weights = [
        probability[cell] / counts[cell] if is_random else 0.0
        for cell, is_random in zip(cells, random, strict=True)
    ]
    strata = [
        Cell(sparse=cell[0], bin=cell[1], probability=min(1.0, share), candidates=counts[cell])
        for cell, share in sorted(probability.items())
    ]
    return _normalised(weights), strata


def _normalised(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights] if total else list(weights)


def _probabilities(problem: Problem, sampler: Stratified) -> dict[Stratum, float]:
    """Probability of each cell under random sampling of what is feasible."""
    found: dict[Stratum, float] = defaultdict(float)
    for params, probability in _points(problem):
        feasible = problem.feasible(params)
        if feasible is not None:
            cell = sampler.cell(feasible.candidate.architecture.sparse, feasible.cost.flops_per_token)
            found[cell] += probability
    total = math.fsum(found.values())
    return {cell: share / total for cell, share in found.items()}


def _points(problem: Problem) -> Iterator[tuple[dict[str, Any], float]]:
    """Parameters with their probabilities: every architecture of a finite space, or random draws."""
    ranges = {name: k for name, k in problem.parameters.items() if _shapes(name)}
    others = {name: _any(k) for name, k in problem.parameters.items() if not _shapes(name)}
    listed = {name: _values(knob) for name, knob in ranges.items()}
    if any(of is None for of in listed.values()) or _size(listed) > MOST_ARCHITECTURES:
        rng = np.random.default_rng(problem.seed)
        for _ in range(DRAWS):
            yield problem.sample(rng), 1 / DRAWS
        return
    for point in itertools.product(*(of or () for of in listed.values())):
        params = dict(zip(ranges, (value for value, _ in point), strict=True)) | others
        yield problem.space.snapped(params), math.prod(probability for _, probability in point)


def _shapes(name: str) -> bool:
    return not name.startswith(MIXTURE_PREFIX) and is_of_architecture(name)


def _any(knob: Between | Choices) -> Scalar:
    return knob.choices[0] if isinstance(knob, Choices) else knob.low


def _size(listed: Mapping[str, Iterable[object] | None]) -> int:
    return math.prod(len(list(of or ())) for of in listed.values())


def _values(knob: Between | Choices) -> list[tuple[Scalar, float]] | None:
    """Each value of a knob with the probability that `knob.sample` draws it; None if infinitely many."""
    values = knob.values()
    if values is None:
        return None
    if isinstance(knob, Choices) or not knob.log or len(values) == 1:
        return [(value, 1 / len(values)) for value in values]
    low, high = math.log(knob.low - 0.5), math.log(knob.high + 0.5)
    edges = [min(high, math.log(float(value) + 0.5)) for value in values]
    widths = np.diff([low, *edges]) / (high - low)
    return [(value, float(width)) for value, width in zip(values, widths, strict=True)]
