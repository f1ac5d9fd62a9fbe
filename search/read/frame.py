"""The trials of a study as a pandas DataFrame."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from search.read.rows import TrialRow
from space.candidate import CandidateConfig
from space.knob_index import KNOBS
from space.scores import TaskScore

if TYPE_CHECKING:
    from pandas import DataFrame

# shown otherwise, or under another name
LEFT_OUT = ("description", "number", "stderr", "attempt", "objectives")


def trial_frame(
    rows: Sequence[TrialRow],
    tasks: Mapping[int, Mapping[str, TaskScore]],
    candidates: Mapping[str, CandidateConfig],
    names: Sequence[str],
) -> "DataFrame":
    """One line a trial, indexed by its number.

    Args:
        rows: the trials.
        tasks: number of a trial -> task -> score.
        candidates: id of a candidate -> its configuration.
        names: the study's tasks.

    Returns:
        The row's own columns; `objective.NAME` of each cost that is an objective, `space.KNOB`,
        `mixture.TASK` (share of the input tokens) and `task.TASK` (fraction of the expert; NaN until the
        trial is done).
    """
    import pandas as pd

    own = [each.name for each in fields(TrialRow) if each.name not in LEFT_OUT]
    measured = [f"task.{name}" for name in names]
    costs = {name: None for row in rows for name in row.objectives if name != "score"}
    aims = [f"objective.{name}" for name in costs]
    columns = [
        *own,
        "label",
        *aims,
        *(f"space.{name}" for name in KNOBS),
        *(f"mixture.{name}" for name in names),
    ]
    lines: list[dict[str, Any]] = []
    for row in rows:
        weights, scores = candidates[row.candidate].mixture.weights, tasks.get(row.number, {})
        lines.append(
            {name: getattr(row, name) for name in own}
            | {"label": row.description.label}
            | {f"objective.{name}": row.objectives[name] for name in costs}
            | {f"space.{name}": value for name, value in row.description.knobs.items()}
            | {f"mixture.{name}": weights.get(name, 0.0) for name in names}
            | {f"task.{name}": score.fraction for name, score in scores.items()}
        )
    frame = pd.DataFrame(lines, columns=[*columns, *measured])
    return frame.astype(dict.fromkeys(["score", "score_stderr", *measured], "float64")).set_index("trial")
