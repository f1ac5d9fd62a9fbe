"""Tables whose scores follow a known rule, so that what is computed from them can be checked."""

from dataclasses import dataclass

import numpy as np
from factories import suite

from search.choose.propose import Proposer
from search.choose.snapshot import Candidate, Snapshot
from search.table.draws import weigh
from search.table.records import Costs, Header, Table, TrainedCandidate, TrainedRung
from space.cost import Cost
from space.scores import TaskScore, domain_weights
from space.study import StudyConfig

TOKENS = (225_000, 450_000, 900_000)
STDERR = 0.01
SPACE = {
    "depth": {"low": 1, "high": 3},
    "width": {"choices": [48, 64, 96, 128]},
    "experts": {"choices": [1, 2, 4, 8]},
    "top_k": {"choices": [1, 2]},
    "expert_ratio": {"choices": [1, 2]},
    "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "mixture": {"spread": 1.0},
}
SEARCH = {"sampler": "stratified", "sampler_args": {"by": "candidates", "dense_every": 5}, "promotion": "all"}


def table_config(**changes) -> StudyConfig:
    keys = {
        "study": "made",
        "space": SPACE,
        "rungs": {"tokens": list(TOKENS), "eta": 2},
        "search": SEARCH,
        "stop": {"candidates": 300},
    }
    return StudyConfig.model_validate(keys | changes)


def drawn(config: StudyConfig, count: int):
    """The first proposals of a study."""
    proposer = Proposer(config, suite())
    candidates, found = [], []
    for ordinal in range(count):
        proposal = proposer.propose(Snapshot(tuple(candidates), (), 0.0))
        found.append(proposal)
        sparse, flops = proposal.candidate.architecture.sparse, proposal.cost.flops_per_token
        candidates.append(Candidate(proposal.candidate.id, ordinal, proposal.params, flops, sparse))
    return found


def rule(candidate, cost: Cost, rung: int) -> dict[str, float]:
    """Each task's fraction without noise: rises with size and tokens, best in the middle of the rates."""
    size = np.log(cost.flops_per_token / 4e5)
    rate = np.log(candidate.learning_rate / 3e-3)
    fractions = {}
    for number, (task, share) in enumerate(candidate.mixture.weights.items()):
        own = np.log(share * len(candidate.mixture.weights))
        z = -0.6 + 0.5 * size - 0.4 * rate**2 + 0.6 * own + 0.8 * rung + 0.1 * number
        fractions[task] = float(1 / (1 + np.exp(-z)))
    return fractions


@dataclass
class Noise:
    """Noise of a trial, the same at all of its rungs for most of its size."""

    sd: float
    rng: np.random.Generator

    def of(self, rungs: int) -> np.ndarray:
        return self.sd * (0.9 * self.rng.standard_normal() + 0.44 * self.rng.standard_normal(rungs))


def made_table(count: int = 60, sd: float = 0.03, repeats: int = 12, diverged=(), **changes) -> Table:
    """A table of proposals of the stratified sampler, with scores by `rule` and noise between seeds."""
    config, tasks = table_config(**changes), suite()
    proposals = drawn(config, count)
    rng = np.random.default_rng(0)
    origins = [(p.origin, p.candidate.architecture.sparse, p.cost.flops_per_token) for p in proposals]
    weights, cells = weigh(config, tasks, origins)
    rows = []
    for ordinal, p in enumerate(proposals):
        rungs = trained(p, 0, Noise(sd, rng), ends=1 if ordinal in diverged else len(TOKENS))
        again = trained(p, 1, Noise(sd, rng)) if ordinal < repeats and ordinal not in diverged else ()
        rows.append(
            TrainedCandidate(
                candidate=p.candidate.id,
                ordinal=ordinal,
                origin=p.origin,
                config=p.candidate,
                params=p.params,
                costs=Costs(**{name: getattr(p.cost, name) for name in Costs.model_fields}),
                weight=None if weights is None else weights[ordinal],
                rungs=rungs,
                repeats=again,
            )
        )
    header = Header(
        config=config,
        suite=tasks,
        partial=False,
        candidates=count,
        cells=tuple(cells),
        weighted=weights is not None,
    )
    return Table(header, tuple(rows))


def trained(proposal, seed: int, noise: Noise, ends: int = len(TOKENS)) -> tuple[TrainedRung, ...]:
    """Trials of a candidate; training diverges at the rung `ends`."""
    records, found = suite().records, []
    of_task = {task: noise.of(len(TOKENS)) for task in records}
    weights = domain_weights({name: record.domain for name, record in records.items()})
    for rung, tokens in enumerate(TOKENS[: ends + 1]):
        if rung == ends:
            found.append(
                TrainedRung(rung=rung, seed=seed, tokens=tokens, diverged=True, error="the loss is nan")
            )
            break
        clean = rule(proposal.candidate, proposal.cost, rung)
        scores = {}
        for task, record in records.items():
            floor, expert = record.checked("select")
            fraction = clean[task] + float(of_task[task][rung])
            value = floor.mean + fraction * (expert.mean - floor.mean)
            stderr = STDERR * abs(expert.mean - floor.mean)
            scores[task] = TaskScore(
                value=value, stderr=stderr, n=50, fraction=fraction, fraction_stderr=STDERR
            )
        score = sum(weights[task] * float(np.clip(of.fraction, -1, 1)) for task, of in scores.items())
        found.append(
            TrainedRung(
                rung=rung,
                seed=seed,
                tokens=tokens,
                score=score,
                stderr=0.005,
                tasks=scores,
                training_flops=1e9,
            )
        )
    return tuple(found)
