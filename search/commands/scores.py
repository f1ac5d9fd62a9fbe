"""Print a scorecard as a table, at the end of `train` and of `eval`."""

from typing import TYPE_CHECKING

from search.commands import output
from space.words import counted, plus_minus

if TYPE_CHECKING:
    from space.records import SuiteRecord
    from space.scores import Scorecard


def print_scorecard(card: "Scorecard", suite: "SuiteRecord") -> None:
    """Print scores per task with 95% intervals, then per domain and overall."""
    rows = []
    for task, score in card.tasks.items():
        record = suite.records[task]
        floor, expert = record.checked(card.split)
        rows.append(
            (
                task,
                record.domain,
                f"{score.value:.4g}",
                record.metric,
                f"{floor.mean:.4g}",
                f"{expert.mean:.4g}",
                plus_minus(score.fraction, score.fraction_stderr),
                str(score.n),
            )
        )
    title = f"{card.split} episodes, fraction of the expert with 95% intervals"
    columns = ["task", "domain", ">measured", "metric", ">floor", ">expert", ">of the expert", ">episodes"]
    output.print_table(columns, rows, title=title)
    print("domains: " + ", ".join(f"{domain} {value:.3f}" for domain, value in card.domains.items()))
    above = f"above half of the expert on {card.above()} of {counted(len(card.tasks), 'task')}"
    print(f"score {plus_minus(card.score, card.stderr)} (95%), {above}")
