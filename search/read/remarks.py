"""Remarks on the state of a study, as sentences for the terminal, the page and error messages.

A study that makes progress without failures has no remarks.
"""

from collections.abc import Sequence

from search.choose.provenance import CONTROL, FALLBACK, NOT_OWN, WAITS
from search.read.confirm_rows import ConfirmationStatus
from search.read.results import Reader, storage_option
from search.read.rows import FailureGroup, StudyStatus, StudySummary, TrialRow
from search.store.studies import DELETING
from space.scores import at_floor as is_at_floor
from space.study import shipped_studies
from space.words import counted

REASONS = 3  # of failures that are named
STATES = {"running": "running", "paused": "paused", "lost": "lost with their worker", "failed": "failed"}
LONGER = "train them longer, with larger rungs.tokens"


def state(status: StudyStatus | StudySummary) -> str:
    """State of a study: finished, halted, stopping, stopped, running or open.

    A study is running if a trial runs or, as far as `status` says, a worker is alive.
    """
    at_work = bool(status.running or (isinstance(status, StudyStatus) and status.workers))
    if status.finished:
        return "finished"
    if status.halted is not None:
        return "halted"
    if status.stopping:
        return "stopping" if at_work else "stopped"
    return "running" if at_work else "open"


def remarks(status: StudyStatus, url: str) -> list[str]:
    """Sentences about problems of a study and what to do about them, the most serious first.

    Args:
        status: status of the study.
        url: URL of its database, for the commands.
    """
    if status.halted == DELETING:
        return [f"half deleted; finish that: pathfront delete {status.study}{storage_option(url)}"]
    said = [] if status.halted is None else [f"halted: {status.halted}"]
    said += [f"worker {row.worker} left: {row.left_because}{_log(row.log)}" for row in status.workers_left]
    said += failures(status, url)
    said += _shortfall(status)
    said += at_floor(status)
    said += by_chance(status)
    if state(status) in ("open", "stopped", "halted"):
        said.append(f"no worker is at work; resume with: {launch_command(status.study, url)}")
    return said


def launch_command(study: str, url: str) -> str:
    """The command that resumes a study: by name if it is packaged, else with SPEC, its study file."""
    return f"pathfront launch {study if study in shipped_studies() else 'SPEC'}{storage_option(url)}"


def failures(status: StudyStatus, url: str) -> list[str]:
    """Why trials failed, with the log, and the command to retry them."""
    if not status.failures:
        return []
    said = [_failed(failure) for failure in status.failures[:REASONS]]
    more = len(status.failures) - REASONS
    option = storage_option(url)
    if more > 0:
        reasons = counted(more, "other reason")
        said.append(f"{reasons}: pathfront trials {status.study} --state failed{option}")
    if status.failed_for_good:
        said.append(
            f"{counted(status.failed_for_good, 'trial')} failed permanently; once the cause is fixed, try"
            f" again: pathfront retry {status.study}{option}"
        )
    return said


def at_floor(status: StudyStatus) -> list[str]:
    """Number of candidates at their floor; recommends longer rungs if they prevent promotions."""
    count = status.at_floor
    if not count:
        return []
    short = status.finished and any(
        rung.expected is not None and rung.done + rung.failed < rung.expected for rung in status.rungs[1:]
    )
    of = counted(status.candidates, "candidate")
    text = f"{count:,} of {of} scored within one standard error of the floor and cannot be promoted"
    if short or 2 * count >= status.candidates:
        text += f": {LONGER} (they begin at {status.rungs[0].tokens:,}), in a study of another name"
    return [text]


def confirmed_words(confirmation: ConfirmationStatus) -> list[str]:
    """What confirmations say, as sentences: the over-optimism of the best score, and the uniform control."""
    said = []
    if confirmation.optimism is not None:
        direction = "too high" if confirmation.optimism >= 0 else "too low"
        before = next(row for row in confirmation.candidates if row.trial == confirmation.best_before)
        assert before.selected_score is not None
        assert before.score is not None
        said.append(
            f"the best before confirmation, trial {before.trial}, was selected at {before.selected_score:.3f}"
            f" and is confirmed at {before.score:.3f}: {abs(confirmation.optimism):.3f} {direction}"
        )
    for row in confirmation.controls:
        ends = "" if row.interval is None else " [{:+.3f}, {:+.3f}] (95%)".format(*row.interval)
        said.append(
            f"searched mixture of {row.candidate} minus the uniform one at its architecture:"
            f" {row.difference:+.3f}{ends}"
        )
    return said


def by_chance(status: StudyStatus) -> list[str]:
    """Which share of the candidates was drawn because the sampler's own rule gave nothing, and why."""
    said = []
    for rule, count in status.origins.items():
        if rule.endswith(FALLBACK):
            why = status.reasons.get(rule, "no suggestion was new and within the limits")
            share = (
                f"{count:,} of {counted(status.candidates, 'candidate')} ({count / status.candidates:.0%})"
            )
            said.append(f"{share} fell back to chance ({rule}): {why}")
    drawn = [rule for rule in status.origins if rule not in (CONTROL, *NOT_OWN)]
    if status.finished and len(drawn) == 1 and WAITS in status.reasons.get(drawn[0], ""):
        said.append(f"no candidate was suggested by the study's sampler: {status.reasons[drawn[0]]}")
    return said


def no_front(reader: Reader, study: str, max_flops: float | None = None) -> str:
    """Why a front is empty, and what to do about it, in one line.

    Args:
        reader: the storage.
        study: name of the study.
        max_flops: the limit on FLOPs per token that the front was taken within.

    Raises:
        NotFoundError: there is no such study.
    """
    finalists = reader.finalists(study)
    if finalists:
        return why_no_front(study, finalists, max_flops, reader.config(study).threshold)
    status = reader.status(study)
    if not status.candidates:
        return f"study '{study}' has no candidate yet; run it: {launch_command(study, reader.url)}"
    states = [f"{status.states[name]:,} {words}" for name, words in STATES.items() if status.states.get(name)]
    said = [f"no trial of study '{study}' has been scored: {', '.join(states)}"]
    if status.halted is not None:
        said.append(f"halted: {status.halted}")
    return "; ".join([*said, *failures(status, reader.url)])


def _shortfall(status: StudyStatus) -> list[str]:
    """A remark if the study finished with fewer candidates than its stop rule asks for."""
    wanted = status.rungs[0].expected
    if not status.finished or wanted is None or status.candidates >= wanted:
        return []
    why = "" if status.finished_because is None else f": {status.finished_because}"
    return [f"finished with {status.candidates:,} of {counted(wanted, 'candidate')}{why}"]


def _failed(failure: FailureGroup) -> str:
    latest = "" if failure.trial is None else f" (trial {failure.trial})"
    return f"{counted(failure.count, 'trial')} failed: {failure.reason}{latest}{_log(failure.log)}"


def _log(path: str | None) -> str:
    return "" if path is None else f"; log: {path}"


def why_no_front(
    study: str, finalists: Sequence[TrialRow], max_flops: float | None = None, threshold: float = 0.0
) -> str:
    """Why a front is empty, and what to do about it, in one line.

    Args:
        study: name of the study.
        finalists: every candidate's highest done rung.
        max_flops: the limit on FLOPs per token that the front was taken within.
        threshold: of the study.
    """
    limit = "" if max_flops is None else f" within {max_flops:g} FLOPs per token"
    within = [row for row in finalists if max_flops is None or row.flops_per_token <= max_flops]
    if not within:
        return f"study '{study}' has no done trial{limit}; see pathfront status {study}"
    best = max(within, key=lambda row: row.score or 0.0)
    if any(not is_at_floor(row.score, row.stderr) for row in within):
        return (
            f"no candidate of study '{study}'{limit} reaches the threshold {threshold:g};"
            f" the best score is {best.score:.3f}"
        )
    return (
        f"none of the {len(within)} scored candidates of study '{study}'{limit} is above its floor by one"
        f" standard error (the best: {best.score:.3f} ± {best.stderr or 0:.3f} after {best.tokens:,}"
        f" tokens): {LONGER}, in a study of another name"
    )
