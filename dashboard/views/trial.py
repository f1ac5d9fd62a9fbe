"""One trial: configuration, scores, training, expert load, and the command that exports it."""

import streamlit as st

from dashboard import load, selection, units
from dashboard.figures.trial import load_map, loss_curves, score_bars, share_bars
from dashboard.views import parts
from search.read.rows import TrialDetail

ALL = "all"


def render() -> None:
    """Draw the page."""
    study = parts.study_in_view(
        "Trial", "One candidate at one rung: configuration, scores, training, experts."
    )
    number = _in_view(study)
    if number is None:
        parts.live_strip(study)
        st.info("No trial has started yet; the first one appears here.")
        return
    with st.container(key="split_summary"):
        left, right = st.columns([1, 6], vertical_alignment="center")
        with left:
            _number_box(study, number)
        detail = study.detail(number)
        _refresh(study, detail)
        with right:
            _summary(detail)
    halted = load.status(study.url, study.name).halted
    if halted is not None:
        st.html(parts.remarks_html([f"halted: {halted}"]))
    parts.failure_box(detail)
    parts.export_box(detail)
    _figures(study, detail)


def _figures(study: load.Study, detail: TrialDetail) -> None:
    colors, tasks = parts.palette(), study.suite
    with st.container(key="split_trial"):
        left, right = st.columns(2, gap="medium")
    with left:
        if detail.tasks:
            parts.heading("Score on each task", "Fraction of the expert, 95% intervals; strong: above half.")
            parts.chart(score_bars(detail.tasks, tasks, colors), "trial_scores")
        parts.heading("Training", "Loss on the trunk over all rungs of this candidate up to this trial.")
        parts.chart(loss_curves(detail.curves, study.rungs, tasks, colors), "trial_curves")
        parts.heading("Configuration")
        st.html(parts.facts_html(_configuration(detail)))
    with right:
        parts.heading("Mixture", "Share of the training tokens, and how often each task's data was seen.")
        parts.chart(share_bars(detail.config.mixture.weights, detail.epochs, tasks, colors), "trial_mixture")
        _experts(detail)


def _in_view(study: load.Study) -> int | None:
    """The trial of the address; else the best of the front or the latest trial, as first shown."""
    wrong = selection.wrong_trial()
    if wrong is not None:
        st.info(f"Study {study.name} has no trial {wrong}.")
    if selection.trial() is not None:
        return selection.trial()
    numbers = [row.trial for row in study.front] or [row.number for row in reversed(study.trials)]
    if not numbers:
        return None
    return int(selection.first_shown(f"trial_of_{study.name}_{study.origin}", numbers[0]))


def _number_box(study: load.Study, number: int) -> None:
    last = max((trial.number for trial in study.trials), default=number)
    st.session_state["trial_box"] = number
    st.number_input(
        "Trial",
        min_value=0,
        max_value=max(last, number),
        key="trial_box",
        on_change=lambda: selection.choose_trial(study.name, int(st.session_state["trial_box"])),
    )


def _refresh(study: load.Study, detail: TrialDetail) -> None:
    """Draw the page again when the study's results change; while this trial runs, on any change."""
    now = load.status(study.url, study.name)
    running = detail.row.state == "running"
    shown, colors = load.token(study.url, study.name), parts.palette()

    def watch() -> None:
        changed = load.token(study.url, study.name) != shown
        if changed and (running or load.results_key(load.status(study.url, study.name)) != study.key):
            st.rerun()
        if parts.palette() != colors:
            st.rerun()

    parts.refreshing(load.poll_seconds(now), watch)


def _summary(detail: TrialDetail) -> None:
    row = detail.row
    stats = [
        ("State", row.state + (", on the front" if detail.on_front else "")),
        ("Score, 95% interval", units.signed(row.score, row.stderr)),
        *parts.confirmed_facts(detail),
        *((f"{domain.capitalize()}", units.signed(score)) for domain, score in detail.domains.items()),
        ("FLOPs per token", units.short(row.flops_per_token)),
        ("Active parameters", f"{units.short(row.active_params)} of {units.short(row.total_params)}"),
        *parts.cost_facts(row),
        ("Rung", f"{row.rung}, {units.short(row.tokens)} tokens"),
    ]
    st.html(parts.stats_html(stats))


def _experts(detail: TrialDetail) -> None:
    parts.heading(
        "Which experts serve which domain",
        "Tokens that each expert got, over an even share: 1 is balanced, 0 is never visited.",
    )
    if not detail.row.description.sparse:
        st.info("This candidate is dense: every token passes the same layers, so there is no expert load.")
        return
    if not detail.routing:
        st.info("The load is recorded when a trial is scored.")
        return
    domain = st.segmented_control("Domain", [ALL, *detail.routing], default=ALL, key="trial_domain")
    shown = detail.routing if domain in (ALL, None) else {domain: detail.routing[domain]}
    parts.chart(load_map(shown, parts.palette()), "trial_load")


def _configuration(detail: TrialDetail) -> list[tuple[str, str]]:
    row = detail.row
    return [
        ("Candidate", row.candidate),
        ("Proposed by", parts.proposed_by(detail)),
        *row.description.facts.items(),
        ("Seed, attempt", f"{row.seed}, {row.attempt}"),
        (
            "Training",
            f"{units.flops(row.training_flops)} in {units.duration(row.wall_seconds)} on {detail.device}",
        ),
        (
            "Speed",
            "-" if detail.tokens_per_second is None else f"{units.short(detail.tokens_per_second)} tokens/s",
        ),
        ("Memory", f"{units.short(detail.training_bytes)}B to train{_each(detail)}, counted"),
        ("Checkpoints", _files(detail)),
        ("Evaluation", units.duration(detail.evaluation_seconds)),
        ("Memorisable tasks", units.signed(detail.memorisable_score)),
        ("Other tasks", units.signed(detail.generalising_score)),
    ]


def _each(detail: TrialDetail) -> str:
    return f" on each of {detail.devices} devices" if detail.devices > 1 else ""


def _files(detail: TrialDetail) -> str:
    """Kinds and sizes of the trial's checkpoints."""
    return (
        ", ".join(f"{file.kind} {units.short(file.bytes)}B" for file in detail.checkpoints) or units.UNKNOWN
    )
