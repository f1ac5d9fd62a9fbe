"""What the pages share: the head with the choice of the study, the live strip, rows of figures in words."""

from collections.abc import Sequence
from html import escape

import streamlit as st

from dashboard import load, selection, units
from search.rows import RunningTrial, StudyStatus, StudySummary, TrialRow
from space.errors import NotFoundError, PathfrontError, nearest

LAUNCH = "pathfront launch quick"
SHOWN_RUNNING = 6

STYLE = """
<style>
.block-container {padding-top: 4rem; padding-bottom: 2rem; max-width: 1500px;}
.pf-head {font-weight: 650; line-height: 1.2; margin: 0;}
.pf-head.page {font-size: 1.6rem;}
.pf-head.section {font-size: 1.12rem; margin-top: 0.5rem;}
.pf-help {font-size: 0.88rem; color: #6b7785; margin: 0.15rem 0 0 0;}
.pf-stats {display: flex; flex-wrap: wrap; gap: 0.35rem 1.7rem;}
.pf-stats div {line-height: 1.25;}
.pf-stats .name {font-size: 0.8rem; color: #6b7785; white-space: nowrap;}
.pf-stats .value {font-size: 1.12rem; font-weight: 600; white-space: nowrap;}
.pf-bar {height: 4px; border-radius: 2px; background: #e8ecf1; margin-top: 0.65rem; overflow: hidden;}
.pf-bar i {display: block; height: 100%; background: #0b5cad;}
.pf-note {font-size: 0.85rem; color: #6b7785; margin-top: 0.3rem;}
[data-testid="stPageLink-NavLink"] {padding-left: 0;}
[data-testid="stPageLink-NavLink"] p {color: #0b5cad;}
.pf-facts {font-size: 0.9rem; border-collapse: collapse; width: 100%;}
.pf-facts td {padding: 0.16rem 0; vertical-align: top;}
.pf-facts td:first-child {color: #6b7785; padding-right: 0.9rem; white-space: nowrap; width: 1%;}
</style>
"""


def study_in_view(title: str, help_line: str) -> load.Study:
    """Draw a page's head and open the study that the address names, else the latest one."""
    url = load.storage()
    summaries = load.studies(url)
    if not summaries:
        invite()
        st.stop()
    selection.remember()
    if selection.study() is None:
        selection.choose_study(summaries[0].name)
    _head(title, help_line, summaries)
    name = selection.study() or ""
    known = [summary.name for summary in summaries]
    if name not in known:
        explain(NotFoundError(f"no study is called '{name}'{nearest(name, known)}"))
        st.stop()
    return load.open_study(url, name)


def live_strip(study: load.Study) -> None:
    """Draw where the study stands, look again every few seconds, and redraw the page when results came."""
    seconds = load.poll_seconds(load.status(study.url, study.name))

    @st.fragment(run_every=seconds)
    def strip() -> None:
        now = load.status(study.url, study.name)
        if load.results_key(now) != study.key:
            st.rerun()
        st.html(status_html(now))

    strip()


def status_html(now: StudyStatus) -> str:
    """Counts, the way to the stop rule and the trials that run, as HTML."""
    best = now.best
    stats = [
        ("State", state_words(now)),
        ("Best score", units.signed(best.score, best.stderr) if best else units.UNKNOWN),
        ("Candidates", f"{now.candidates:,}"),
        ("Trials done", f"{now.states.get('done', 0):,}"),
        ("Running", f"{len(now.running)}"),
        ("Failed", f"{now.states.get('failed', 0):,}"),
        ("Compute spent", units.flops(now.training_flops)),
        ("Training time", units.duration(now.wall_seconds)),
        ("Towards the stop rule", f"{now.fraction_done:.0%}"),
    ]
    if now.running and now.seconds_left is not None:
        stats.append(("About left", units.duration(now.seconds_left)))
    bar = f'<div class="pf-bar"><i style="width:{100 * now.fraction_done:.1f}%"></i></div>'
    return stats_html(stats) + bar + _running_html(now.running)


def state_words(now: StudyStatus) -> str:
    """One or two words for what a study is doing."""
    if now.finished:
        return "Finished"
    if now.stopping:
        return "Stopping"
    return "Running" if now.running else "Not running"


def heading(title: str, help_line: str = "", kind: str = "section") -> None:
    """Draw a title with one line of help; `kind` is "page" or "section"."""
    below = f'<p class="pf-help">{escape(help_line)}</p>' if help_line else ""
    st.html(f'<div class="pf-head {kind}">{escape(title)}</div>{below}')


def stats_html(stats: Sequence[tuple[str, str]]) -> str:
    """Name and value pairs side by side, as HTML."""
    cells = "".join(
        f'<div><div class="name">{escape(name)}</div><div class="value">{escape(value)}</div></div>'
        for name, value in stats
    )
    return f'<div class="pf-stats">{cells}</div>'


def facts_html(facts: Sequence[tuple[str, str]]) -> str:
    """Name and value pairs one below the other, as HTML."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts)
    return f'<table class="pf-facts">{rows}</table>'


def shape(trial: TrialRow | RunningTrial) -> str:
    """An architecture in a few words."""
    kind = "dense" if trial.experts == 1 else f"{trial.experts} experts, top-{trial.top_k}"
    return f"{kind}, depth {trial.depth}, width {trial.width}"


def invite() -> None:
    """Say how a first study is made."""
    st.info("No study here yet. This command searches a small space on this machine, in minutes:")
    st.code(LAUNCH, language=None)


def explain(error: PathfrontError) -> None:
    """One line for an error; what is not there yet is no alarm."""
    show = st.info if isinstance(error, NotFoundError) else st.error
    show(str(error))


def _head(title: str, help_line: str, summaries: list[StudySummary]) -> None:
    left, right = st.columns([4, 1], vertical_alignment="center")
    with left:
        heading(title, help_line, "page")
    names = [summary.name for summary in summaries]
    current = selection.study()
    options = names if current in names else [*names, str(current)]
    st.session_state["study_box"] = current
    right.selectbox(
        "Study",
        options,
        key="study_box",
        label_visibility="collapsed",
        on_change=lambda: selection.choose_study(st.session_state["study_box"]),
    )


def _running_html(running: Sequence[RunningTrial]) -> str:
    words = [
        f"{trial.candidate[:6]} ({shape(trial)}) rung {trial.rung}"
        f" {_progress(trial):.0%}{'' if trial.loss is None else f', loss {trial.loss:.2f}'}"
        for trial in running[:SHOWN_RUNNING]
    ]
    if len(running) > SHOWN_RUNNING:
        words.append(f"and {len(running) - SHOWN_RUNNING} more")
    return f'<div class="pf-note">Now: {escape(" · ".join(words))}</div>' if words else ""


def _progress(trial: RunningTrial) -> float:
    whole = max(1, trial.tokens - trial.start_tokens)
    return min(1.0, max(0.0, (trial.progress_tokens - trial.start_tokens) / whole))
