"""`pathfront status`: list all studies of a database, or print the status of one."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Json, Storage

if TYPE_CHECKING:
    from search.read.confirm_rows import ConfirmationStatus
    from search.read.results import Reader
    from search.read.rows import StudyStatus, StudySummary
    from search.understand.worth import Outlook, Worth

NAME = "status"
EXAMPLES = ["pathfront status", "pathfront status quick", "pathfront status quick --json"]


def run(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="A study; all studies if it is left out.")
    ] = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Print the status of all studies, or of one in detail."""
    from search.api import open_study
    from search.commands import output
    from search.database.storage import resolve_url
    from search.read.results import Reader

    if study is None:
        _studies(Reader(resolve_url(storage)), json)
        return
    opened = open_study(study, storage)
    status = opened.status()
    status = replace(status, worth=_worth(opened.reader, status))
    if json:
        output.print_json(status)
        return
    _print(status, opened.url)


def _print(status: "StudyStatus", url: str) -> None:
    from search.choose.provenance import FALLBACK
    from search.commands import output
    from search.read.remarks import remarks, state

    left = "" if not status.seconds_left else f", about {output.duration(status.seconds_left)} left"
    nothing = status.finished and status.best is None
    done = "nothing was scored" if nothing else f"{status.fraction_done:.0%} done{left}"
    print(f"study {status.study}, suite {status.suite}: {state(status)}, {done}")
    print(_counts(status))
    for rule, reason in status.reasons.items():
        if rule.endswith(FALLBACK):
            continue  # a remark says so
        print(f"proposed by {rule}, {status.origins[rule]:,} of {status.candidates:,}: {reason}")
    if status.best:
        best = status.best
        confirmed = ", confirmed" if best.split == "report" else ""
        score = output.score(best.score, best.stderr)
        print(f"best: trial {best.number}, score {score}{confirmed}, rung {best.rung}")
    if status.confirmation is not None:
        _print_confirmations(status.confirmation)
    if status.worth:
        print_worth(status.worth)
    if status.disk_bytes["total"]:
        kinds = [
            f"{output.short(size)}B {kind}" for kind, size in status.disk_bytes.items() if kind != "total"
        ]
        print(f"checkpoints: {output.short(status.disk_bytes['total'])}B on disk ({', '.join(kinds)})")
    for remark in remarks(status, url):
        print(remark)
    output.print_table(
        [">rung", ">tokens", ">done", ">expected", ">running", ">failed"],
        [
            (
                str(rung.rung),
                output.short(rung.tokens),
                str(rung.done),
                "-" if rung.expected is None else str(rung.expected),
                str(rung.running),
                str(rung.failed),
            )
            for rung in status.rungs
        ],
    )
    for trial in status.running:
        share = f"{output.short(trial.progress_tokens)} of {output.short(trial.tokens)} tokens"
        name = "not numbered yet" if trial.number is None else str(trial.number)
        print(f"running: trial {name}, rung {trial.rung}, {share}, worker {trial.worker}")
    for event in status.events:
        when = f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}"  # in local time
        print(f"{when}  {event.kind}: {event.text}")


def _print_confirmations(confirmation: "ConfirmationStatus") -> None:
    from search.read.remarks import confirmed_words
    from space.words import counted

    failed = f", {confirmation.failed:,} failed" if confirmation.failed else ""
    print(
        f"confirmed with fresh seeds: {confirmation.done:,} of {counted(confirmation.wanted, 'trial')} done,"
        f" {confirmation.running:,} running{failed}"
    )
    for line in confirmed_words(confirmation):
        print(line)


def _worth(reader: "Reader", status: "StudyStatus") -> "Worth | None":
    """What more training is expected to bring; None where there are too few scores."""
    from search.choose.studied import LEAST_SCORED

    if status.rungs[0].done < LEAST_SCORED or not status.rungs[-1].done:
        return None
    from numpy.linalg import LinAlgError

    from search.commands import output
    from search.read.studied import studied
    from search.understand.worth import worth

    try:
        return worth(studied(reader, status.study))
    except LinAlgError as error:
        output.say(f"no prediction of what more training brings: the models cannot be fitted: {error}")
        return None


def print_worth(worth: "Worth") -> None:
    """Print whether it is worth going on, one line for each multiple of the compute."""
    words = {2: "twice", 4: "four times"}
    for ahead in worth.best[1:]:
        print(f"{words[ahead.multiple]} the compute: {_outlook(worth.best[0], ahead, worth)}")


def _outlook(now: "Outlook", then: "Outlook", worth: "Worth") -> str:
    low, high = then.interval
    return (
        f"best {now.score:.3f} -> {then.score:.3f} [{low:.3f}, {high:.3f}] expected at the top rung; the"
        f" chance of a gain above {worth.least_gain} is {then.chance:.2f}"
    )


def _counts(status: "StudyStatus") -> str:
    """Candidates, trials by state, workers and compute, on one line."""
    from search.commands import output
    from space.words import counted

    rules = ", ".join(f"{count:,} {origin}" for origin, count in status.origins.items())
    trials = [f"{counted(status.states.get('done', 0), 'trial')} done", f"{len(status.running):,} running"]
    again = status.states.get("failed", 0) - status.failed_for_good
    more = f" ({again:,} of them will be retried)" if again else ""
    trials.append(f"{status.states.get('failed', 0):,} failed{more}")
    trials += [f"{status.states[name]:,} {name}" for name in ("paused", "lost") if status.states.get(name)]
    if status.workers:
        trials.append(f"{counted(len(status.workers), 'worker')} alive")
    return (
        f"{counted(status.candidates, 'candidate')}{f' ({rules})' if rules else ''}, {', '.join(trials)};"
        f" {output.short(status.training_flops)} training FLOPs in {output.duration(status.wall_seconds)} of"
        " training"
    )


def _studies(reader: "Reader", json: bool) -> None:
    from search.commands import output
    from search.database.storage import shown

    studies = reader.studies()
    if json:
        output.print_json(studies)
        return
    if not studies:
        output.say(f"no study in '{shown(reader.url)}'; make one: pathfront launch quick")
        return
    output.print_table(
        ["study", "suite", ">candidates", ">trials", ">running", ">failed", ">best", ">FLOPs", "state"],
        [
            (
                study.name,
                study.suite,
                str(study.candidates),
                str(study.trials),
                str(study.running),
                str(study.failed),
                output.score(study.best_score),
                output.short(study.training_flops),
                _state(study),
            )
            for study in studies
        ],
    )


def _state(study: "StudySummary") -> str:
    from search.read.remarks import state

    nothing = study.finished and study.best_score is None
    return state(study) + (", nothing scored" if nothing else "")
