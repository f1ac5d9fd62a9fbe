"""Mixtures and scores of a study's trials as two tables, as tools that fit mixtures read them.

`ratios.csv` has one row for each trial and one column for each task: its share of the training tokens.
`metrics.csv` has the same rows: tokens, FLOPs, the score, and each task's fraction of expert performance.
RegMix (Liu 2024, https://arxiv.org/abs/2407.01492) reads such a pair.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from search.choose.studied import Studied
from space.files import require_new, write_folder_atomically

RATIOS, METRICS = "ratios.csv", "metrics.csv"
KEY = ("candidate", "rung")


def require_tables_new(folder: Path) -> None:
    """Check that the tables can be written into a folder, before the work for them; see `require_new`."""
    require_new(folder, "the tables go", "--csv")


def write_ratios(studied: Studied, folder: Path) -> int:
    """Write both tables into a new folder, atomically.

    Args:
        studied: the study.
        folder: it must not exist.

    Returns:
        The number of trials.

    Raises:
        StudyFileError: the folder exists.
        MachineError: it cannot be made.
        NotFoundError: too few candidates have a score.
    """
    require_tables_new(folder)
    models, tasks = studied.models("a table of mixtures"), studied.problem.suite.tasks
    trials = sorted(models.scored(studied.view), key=lambda trial: (trial.candidate, trial.rung))
    params = {candidate.id: candidate.params for candidate in studied.view.candidates}
    pool, _ = models.space.encode([params[trial.candidate] for trial in trials])
    shares = models.space.points(pool).shares.round(6).tolist()
    ladder = studied.problem.rungs.tokens
    ratios = [(trial.candidate, trial.rung, *of) for trial, of in zip(trials, shares, strict=True)]
    metrics = [
        (
            trial.candidate,
            trial.rung,
            ladder[trial.rung],
            trial.flops_per_token,
            trial.training_flops,
            trial.score,
            *(trial.tasks[task].value if task in trial.tasks else "" for task in tasks),
        )
        for trial in trials
    ]
    with write_folder_atomically(folder) as partial:
        _write(partial / RATIOS, (*KEY, *tasks), ratios)
        columns = (*KEY, "tokens", "flops_per_token", "training_flops", "score", *tasks)
        _write(partial / METRICS, columns, metrics)
    return len(trials)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
