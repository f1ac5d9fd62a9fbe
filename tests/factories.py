"""Write studies directly to the ledger's tables: realistic rows without an engine or a trainer."""

import hashlib
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from sqlalchemy import create_engine, insert, select

from search.database import tables
from space.candidate import Architecture, CandidateConfig
from space.cost import Cost, price
from space.description import describe
from space.records import Reference, References, SuiteRecord, TaskRecord
from space.study import StudyConfig

NOW = 1_790_000_000.0  # seconds since 1970
LEASE = 1e10  # a lease that does not expire

TASKS = {  # name: domain, modality, metric, floor, expert
    "cartpole": ("control", "continuous", "return", 22.0, 480.0),
    "taxi": ("control", "discrete", "delivery rate", 0.02, 1.0),
    "reach": ("control", "continuous", "success", 0.05, 0.98),
    "redball": ("vision", "image", "success", 0.1, 0.95),
    "digits": ("vision", "image", "accuracy", 0.1, 0.97),
    "captions": ("vision", "image", "token F1", 0.3, 1.0),
    "tones": ("audio", "audio", "accuracy", 0.1, 0.99),
    "docs": ("text", "text", "bits per byte", 5.1, 2.3),
}


def suite() -> SuiteRecord:
    """Eight tasks of four domains with references written by hand."""

    def reference(mean: float) -> Reference:
        return Reference(mean=mean, stderr=0.004, n=400, seed=0, policy="by hand", versions={})

    records = {}
    for name, (domain, modality, metric, floor, expert) in TASKS.items():
        pair = References(floor=reference(floor), expert=reference(expert))
        records[name] = TaskRecord.model_validate(
            {
                "name": name,
                "family": name,
                "domain": domain,
                "modality": modality,
                "metric": metric,
                "unit": metric,
                "memorisable": name == "taxi",
                "lower_is_better": floor > expert,
                "references": {"select": pair, "report": pair},
            }
        )
    return SuiteRecord(
        name="quick",
        tasks=tuple(TASKS),
        context=128,
        batch_tokens=2048,
        text_vocab=512,
        bins=64,
        discrete=64,
        encoders={"image": 48, "audio": 80},
        patch_share={"redball": {"image": 0.8}, "digits": {"image": 0.9}, "tones": {"audio": 0.9}},
        episodes=dict.fromkeys(TASKS, 50),
        records=records,
    )


def _cost(architecture: Architecture) -> Cost:
    return _priced(architecture.model_dump_json())


@cache
def _priced(architecture: str) -> Cost:
    return price(Architecture.model_validate_json(architecture), suite())


@dataclass
class Rows:
    """What goes into each table."""

    candidates: list[dict] = field(default_factory=list)
    trials: list[dict] = field(default_factory=list)
    task_scores: list[dict] = field(default_factory=list)
    curves: list[dict] = field(default_factory=list)
    routing: list[dict] = field(default_factory=list)
    checkpoints: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)


def make_study(
    url: str,
    name: str = "quick",
    trials: int = 24,
    rungs: tuple[int, ...] = (225_000, 450_000, 900_000),
    eta: float = 2,
    running: int = 0,
    failed: int = 0,
    finished: bool = True,
    seeds: tuple[int, ...] = (0,),
    curve_points: int = 6,
    artifacts: Path | None = None,
    seed: int = 0,
    floored: bool = False,
    halted: str | None = None,
    **keys: object,
) -> StudyConfig:
    """Write a study.

    Args:
        url: database; missing tables are created.
        name: the study's name.
        trials: done trials over all rungs, or none; about one of `eta` candidates is promoted.
        rungs: token budgets.
        eta: promotion rate.
        running: running trials of new candidates, halfway through rung 0.
        failed: candidates whose first trial failed permanently.
        finished: whether the stop rule was reached.
        seeds: seeds of each trial.
        curve_points: points of each training curve.
        artifacts: folder into which a file of weights is written for each done trial.
        seed: of everything random.
        floored: whether every candidate scores at the floor, so that none is promoted.
        halted: why the search stopped by itself.
        keys: further keys of the study file.

    Returns:
        The study's configuration.
    """
    counts = _counts(trials, len(seeds), 1 if floored else len(rungs), eta)
    config = StudyConfig.model_validate(
        {
            "study": name,
            "rungs": {"tokens": list(rungs), "eta": eta},
            "stop": {"candidates": max(1, counts[0] + running + failed)},
            **keys,
        }
    )
    writer = _Writer(config, np.random.default_rng(seed), curve_points, artifacts, floored)
    survivors = writer.candidates(counts[0])
    for rung, count in enumerate(counts):
        survivors = sorted(survivors, key=lambda c: -writer.quality[c.id])[:count]
        writer.rng.shuffle(survivors)  # pyright: ignore[reportArgumentType]
        for candidate in survivors:
            for trial_seed in seeds:
                writer.trial(candidate, rung, trial_seed, "done")
    for state, number in (("failed", failed), ("running", running)):
        for candidate in writer.candidates(number):
            writer.trial(candidate, 0, seeds[0], state)
    _insert(url, config, writer.rows, finished, halted)
    return config


def _counts(trials: int, seeds: int, rungs: int, eta: float) -> list[int]:
    """Candidates that are done at each rung."""
    if not trials:
        return [0]
    counts = [max(1, round(trials / (sum(eta**-r for r in range(rungs)) * seeds)))]
    for _ in range(2, rungs):
        counts.append(max(1, math.floor(counts[-1] / eta)))
    if rungs > 1:
        counts.append(max(0, trials // seeds - sum(counts)))
    return counts


class _Writer:
    """Collects the rows of one study."""

    def __init__(
        self,
        config: StudyConfig,
        rng: np.random.Generator,
        points: int,
        artifacts: Path | None,
        floored: bool,
    ) -> None:
        self.config, self.rng, self.points, self.artifacts = config, rng, points, artifacts
        self.floored = floored
        self.suite = suite()
        self.rows = Rows()
        self.quality: dict[str, float] = {}
        self.number = 0

    def candidates(self, count: int) -> list[CandidateConfig]:
        """Draw new candidates of the space."""
        made: list[CandidateConfig] = []
        while len(made) < count:
            params = self.config.space.sample(self.suite, self.rng)
            candidate = self.config.space.candidate(params, self.suite)
            if candidate is None or candidate.id in self.quality:
                continue
            made.append(candidate)
            cost = _cost(candidate.architecture)
            gain = 0.35 * math.log10(cost.flops_per_token / 1e5) + 0.1 * candidate.architecture.sparse
            self.quality[candidate.id] = 0.25 + gain + 0.12 * float(self.rng.standard_normal())
            self.rows.candidates.append(self._candidate(candidate, params, cost))
        return made

    def _candidate(self, candidate: CandidateConfig, params: dict, cost: Cost) -> dict:
        return {
            "study": self.config.study,
            "candidate": candidate.id,
            "ordinal": len(self.rows.candidates),
            "config": candidate.model_dump(mode="json"),
            "params": params,
            "distributions": {},
            "description": describe(candidate).model_dump(mode="json"),
            "flops_per_token": cost.flops_per_token,
            "active_params": cost.active_params,
            "total_params": cost.total_params,
            "training_bytes": cost.training_bytes,
            "origin": "stratified" if self.rows.candidates else "control",
            "created_at": NOW + len(self.rows.candidates),
        }

    def trial(self, candidate: CandidateConfig, rung: int, seed: int, state: str) -> None:
        """Add one trial with its scores, routing, checkpoint, event and curve."""
        budget = self.config.rungs.budget(rung)
        key = {"study": self.config.study, "candidate": candidate.id, "rung": rung, "seed": seed}
        cost, done = _cost(candidate.architecture), state == "done"
        half = (budget.start_tokens + budget.tokens) // 2
        tokens = budget.tokens - budget.start_tokens + budget.decay_tokens
        flops = 3.0 * tokens * cost.flops_per_token
        start = NOW + 10 * self.number
        trial = {
            **key,
            "attempt": 1 if done else 2,
            "crashes": 0 if done else 1,
            "worker": "host:1",
            "lease_until": LEASE,
            "state": state,
            "final": state != "running",
            "diverged": state == "failed",
            "number": self.number,
            "told": state != "running",
            "flops_per_token": cost.flops_per_token,
            "tokens": budget.tokens,
            "progress_tokens": budget.tokens if done else half,
            "planned_flops": flops,
            "device": "cpu",
            "started_at": start,
            "error": "the loss is not finite" if state == "failed" else None,
            "log": "pathfront-artifacts/quick/logs/worker-1.log" if state == "failed" else None,
            **dict.fromkeys(_RESULTS),
        }
        self.number += 1
        if done:
            scores = self._scores(candidate, rung)
            trial |= self._result(scores, flops, start)
            self.rows.task_scores += [{**key, "task": task, **score} for task, score in scores.items()]
            self._routing(key, candidate.architecture)
            self._checkpoint(key, budget.tokens)
        if state == "failed":
            text = f"trial {trial['number']} failed: {trial['error']}"
            self.rows.events.append({"at": start, "kind": "failed", "text": text, **key})
        self.rows.trials.append(trial)
        self._curve(key, budget.start_tokens, trial["progress_tokens"])

    def _scores(self, candidate: CandidateConfig, rung: int) -> dict[str, dict]:
        scores = {}
        for position, (task, record) in enumerate(self.suite.records.items()):
            ease = 0.6 - 0.1 * position + 0.1 * rung
            fraction = self.quality[candidate.id] + ease * 0.5 + 0.05 * float(self.rng.standard_normal())
            if self.floored:
                fraction = 0.02 * float(self.rng.standard_normal()) - 0.02
            fraction = float(np.clip(fraction, -0.05, 1.02))
            floor, expert = (
                getattr(record.references["select"], which).mean for which in ("floor", "expert")
            )
            scores[task] = {
                "value": floor + fraction * (expert - floor),
                "stderr": 0.03 * abs(expert - floor),
                "n": 50,
                "fraction": fraction,
                "fraction_stderr": 0.03,
            }
        return scores

    def _result(self, scores: dict[str, dict], flops: float, start: float) -> dict:
        by_domain: dict[str, list[float]] = {}
        for task, score in scores.items():
            by_domain.setdefault(self.suite.records[task].domain, []).append(min(score["fraction"], 1.0))
        domains = {domain: float(np.mean(values)) for domain, values in by_domain.items()}
        fresh = [score["fraction"] for task, score in scores.items() if task != "taxi"]
        return {
            "score": float(np.mean(list(domains.values()))),
            "stderr": 0.012,
            "training_flops": flops,
            "wall_seconds": flops / 1e10,
            "evaluation_seconds": 4.0,
            "epochs": dict.fromkeys(scores, 0.5),
            "domains": domains,
            "memorisable_score": scores["taxi"]["fraction"],
            "generalising_score": float(np.mean(fresh)),
            "finished_at": start + 9,
        }

    def _curve(self, key: dict, start: int, stop: int) -> None:
        for i in range(1, self.points + 1):
            tokens = start + (stop - start) * i // self.points
            loss = 6.0 * (tokens / 20_000) ** -0.3
            self.rows.curves.append(
                {**key, "tokens": tokens, "loss": loss, "task_losses": dict.fromkeys(TASKS, loss)}
            )

    def _routing(self, key: dict, architecture: Architecture) -> None:
        if not architecture.sparse:
            return
        for domain in ("audio", "control", "text", "vision"):
            load = self.rng.dirichlet(np.full(architecture.experts, 3.0), architecture.depth)
            self.rows.routing.append({**key, "domain": domain, "load": load.round(4).tolist()})

    def _checkpoint(self, key: dict, tokens: int) -> None:
        if self.artifacts is None:
            return
        self.artifacts.mkdir(parents=True, exist_ok=True)
        path = self.artifacts / f"{key['candidate']}-{key['rung']}-{key['seed']}.safetensors"
        path.write_bytes(self.rng.bytes(512))
        row = {"kind": "decayed", "tokens": tokens, "uri": path.as_uri(), "bytes": 512, "created_at": NOW}
        self.rows.checkpoints.append({**key, **row, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})


_RESULTS = (
    "score",
    "stderr",
    "training_flops",
    "wall_seconds",
    "evaluation_seconds",
    "epochs",
    "domains",
    "memorisable_score",
    "generalising_score",
    "finished_at",
)


def _insert(url: str, config: StudyConfig, rows: Rows, finished: bool, halted: str | None) -> None:
    engine = create_engine(url)
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        if connection.execute(select(tables.schema)).first() is None:
            connection.execute(insert(tables.schema), {"version": tables.TABLES_VERSION})
        study = {
            "name": config.study,
            "config": config.model_dump(mode="json"),
            "suite": config.objectives.weighted(suite()).model_dump(mode="json"),
            "created_at": NOW,
            "launched_at": NOW,
            "finished_at": NOW + 10 * len(rows.trials) if finished else None,
            "stop_requested": False,
            "halted": halted,
        }
        connection.execute(insert(tables.studies), study)
        launched = {"study": config.study, "at": NOW, "kind": "launched", "text": "launched with 2 workers"}
        connection.execute(insert(tables.events), launched)
        for name, values in vars(rows).items():
            table = getattr(tables, name)
            kept = [{k: v for k, v in row.items() if k in table.c} for row in values]
            if kept:
                connection.execute(insert(table), kept)
    engine.dispose()
