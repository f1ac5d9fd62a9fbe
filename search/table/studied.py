"""A table of trained candidates, as the models of a study see it."""

from search.choose.sampler import Problem
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, TaskFraction
from search.choose.studied import Studied
from search.table.records import Table


def studied_table(table: Table) -> Studied:
    """The study that recorded a table, with all of its trials of the first seed."""
    config, suite = table.header.config, table.header.suite
    candidates = [
        Candidate(
            id=row.candidate,
            ordinal=row.ordinal,
            params=dict(row.params),
            flops_per_token=row.costs.flops_per_token,
            sparse=row.config.architecture.sparse,
        )
        for row in table.rows
    ]
    trials = [
        SnapshotTrial(
            candidate=row.candidate,
            rung=trial.rung,
            state="failed" if trial.diverged else "done",
            final=True,
            score=trial.score,
            stderr=trial.stderr,
            flops_per_token=row.costs.flops_per_token,
            training_flops=trial.training_flops or 0.0,
            diverged=trial.diverged,
            tasks={name: TaskFraction(t.fraction, t.fraction_stderr) for name, t in trial.tasks.items()},
        )
        for row in table.rows
        for trial in row.rungs
    ]
    problem = Problem.of(config, suite)
    return Studied(config.study, problem, Snapshot(tuple(candidates), tuple(trials), 0.0))
