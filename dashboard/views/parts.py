"""Parts that the pages share: head, live strip, trial card, facts and remarks."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from dashboard import load, pages, selection, units
from dashboard.figures import style
from search.read.remarks import state
from search.read.rows import RunningTrial, StudyStatus, StudySummary, TrialDetail, TrialRow
from space.errors import NotFoundError, PathfrontError, nearest, one_line
from space.objectives import COSTS
from space.scores import tasks_above
from space.words import counted

LAUNCH = "pathfront launch quick"
SHOWN_RUNNING = 6
OTHER_COSTS = ("memory_bytes", "training_flops")  # that no other fact shows
AGAIN_SECONDS = 5.0  # until a page that could not be drawn is tried again
ICON = (  # drawn here, since Streamlit fetches its own icons from the internet
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path d="M4 28V20H12V12H20V6H28" fill="none"'
    ' stroke="#d55e00" stroke-width="4"/><circle cx="12" cy="20" r="3.5" fill="#0b5cad"/>'
    '<circle cx="20" cy="12" r="3.5" fill="#0b5cad"/></svg>'
)

STYLE = """
<style>
.block-container {padding-top: 1.2rem; padding-bottom: 2rem; max-width: 1500px;}
header[data-testid="stHeader"] {display: none;}
.pf-head {font-weight: 650; line-height: 1.2; margin: 0;}
.pf-head.page {font-size: 1.6rem;}
.pf-head.section {font-size: 1.12rem; margin-top: 0.5rem;}
.pf-help {font-size: 0.88rem; color: MUTED; margin: 0.15rem 0 0 0;}
.pf-stats {display: flex; flex-wrap: wrap; gap: 0.35rem 1.7rem;}
.pf-stats div {line-height: 1.25;}
.pf-stats .name {font-size: 0.8rem; color: MUTED; white-space: nowrap;}
.pf-stats .value {font-size: 1.12rem; font-weight: 600; white-space: nowrap;}
.pf-bar {height: 4px; border-radius: 2px; background: GRID; margin-top: 0.65rem; overflow: hidden;}
.pf-bar i {display: block; height: 100%; background: BLUE;}
.pf-note {font-size: 0.85rem; color: MUTED; margin-top: 0.3rem; overflow-wrap: anywhere;}
.pf-remarks {margin: 0.5rem 0 0 0; padding: 0.4rem 0.8rem; border-left: 3px solid FRONT;}
.pf-remarks p {font-size: 0.88rem; margin: 0.15rem 0; overflow-wrap: anywhere;}
.pf-remarks code {display: block; overflow-x: auto; white-space: nowrap; font-size: 0.8rem;}
[data-testid="stPageLink-NavLink"] p {color: BLUE;}
.st-key-menu [data-testid="stPageLink-NavLink"] p {color: INK;}
.st-key-menu {border-bottom: 1px solid GRID; padding-bottom: 0.4rem;}
.pf-facts {font-size: 0.9rem; border-collapse: collapse; width: 100%;}
.pf-facts td {padding: 0.16rem 0; vertical-align: top; overflow-wrap: anywhere;}
.pf-facts td:first-child {color: MUTED; padding-right: 0.9rem; white-space: nowrap; width: 1%;}
@media (max-width: 1000px) {
  [class*="st-key-split"] [data-testid="stHorizontalBlock"] {flex-direction: column;}
  [class*="st-key-split"] [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {width: 100%;
    flex: 1 1 auto; min-width: 100%;}
}
</style>
"""


def palette() -> style.Palette:
    """The colours of the browser's scheme."""
    return style.DARK if st.context.theme.type == "dark" else style.LIGHT


def style_html() -> str:
    """The page's style sheet."""
    colors, text = palette(), STYLE
    for name in ("MUTED", "GRID", "BLUE", "FRONT", "INK"):
        text = text.replace(name, getattr(colors, name.lower()))
    return text


def chart(figure: object, key: str) -> None:
    """Draw a figure without a click handler."""
    st.plotly_chart(figure, theme=None, key=key, config=style.CONFIG)  # pyright: ignore[reportArgumentType]


def study_in_view(title: str, help_line: str) -> load.Study:
    """Draw a page's head and open the study that the address names, else the latest one."""
    url = load.storage()
    summaries = load.studies(url)
    if not summaries:
        invite()
        try_again()
        st.stop()
    name = selection.study() or str(selection.first_shown("study", summaries[0].name))
    _head(title, help_line, summaries, name)
    known = [summary.name for summary in summaries]
    if name not in known:
        raise NotFoundError(f"no study is called '{name}'{nearest(name, known)}")
    return load.open_study(url, name)


def refreshing(seconds: float, draw: Callable[[], None]) -> None:
    """Draw now and again every few seconds; after a read error the whole page is drawn, which shows it."""
    drawn: list[bool] = []

    @st.fragment(run_every=seconds)
    def part() -> None:
        try:
            draw()
        except (PathfrontError, SQLAlchemyError):
            if not drawn:  # during the page's own run, which shows the error
                raise
            st.rerun()
        drawn.append(True)

    part()


def try_again() -> None:
    """Draw the whole page again in a few seconds."""
    drawn: list[bool] = []

    def again() -> None:
        if drawn:
            st.rerun()
        drawn.append(True)

    refreshing(AGAIN_SECONDS, again)


def live_strip(study: load.Study) -> None:
    """Draw the study's status every few seconds; redraw the page when there are new results."""
    colors = palette()

    def strip() -> None:
        now = load.status(study.url, study.name)
        if load.results_key(now) != study.key or palette() != colors:
            st.rerun()
        st.html(status_html(now) + remarks_html(load.remarks_of(study.url, now)))

    refreshing(load.poll_seconds(load.status(study.url, study.name)), strip)


def status_html(now: StudyStatus) -> str:
    """Counts, progress towards the stop rule and running trials, as HTML."""
    stats = [
        ("State", state(now).capitalize()),
        ("Best score, 95% interval", _best_html(now)),
        ("Candidates", f"{now.candidates:,}"),
        ("Trials done", f"{now.states.get('done', 0):,}"),
        ("Running", f"{len(now.running)}"),
        ("Failed", f"{now.states.get('failed', 0):,}"),
        ("Compute spent", units.flops(now.training_flops)),
        ("Training time", units.duration(now.wall_seconds)),
        ("Checkpoints", f"{units.short(now.disk_bytes.get('total'))}B"),
        ("Towards the stop rule", f"{now.fraction_done:.0%}"),
    ]
    if now.running and now.seconds_left is not None:
        stats.append(("About left", units.duration(now.seconds_left)))
    return stats_html(stats) + bar_html(now.fraction_done) + _running_html(now.running)


def _best_html(now: StudyStatus) -> str:
    """The best score; a confirmed one has its own interval, which is wider: it has few seeds."""
    best = now.best
    if best is None:
        return units.UNKNOWN
    confirmed = [] if now.confirmation is None else now.confirmation.candidates
    ends = next((row.interval for row in confirmed if row.candidate == best.candidate), None)
    if best.split == "select" or ends is None:
        return units.signed(best.score, best.stderr)
    return f"{best.score:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def bar_html(share: float) -> str:
    """A bar that is filled to a share, as HTML."""
    return f'<div class="pf-bar"><i style="width:{100 * share:.1f}%"></i></div>'


def remarks_html(sentences: Sequence[str]) -> str:
    """Remarks on a study, one line each, as HTML."""
    lines = "".join(f"<p>{_remark_html(sentence)}</p>" for sentence in sentences)
    return f'<div class="pf-remarks">{lines}</div>' if lines else ""


def _remark_html(sentence: str) -> str:
    """A sentence with the command at its end in a separate line, which scrolls instead of wrapping."""
    words, colon, command = sentence.partition(": pathfront ")
    code = f":<code>{escape('pathfront ' + command)}</code>" if colon else ""
    return escape(words[:1].upper() + words[1:]) + code


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


def invite() -> None:
    """Show the command that creates a first study."""
    st.info("No study here yet. This command searches a small space on this machine, in minutes:")
    st.code(LAUNCH, language=None)


def explain(error: PathfrontError | SQLAlchemyError) -> None:
    """Show an error in one line; NotFoundError is shown as information."""
    show = st.info if isinstance(error, NotFoundError) else st.error
    show(one_line(getattr(error, "orig", None) or error))


def proposed_by(detail: TrialDetail) -> str:
    """The rule that proposed a trial's candidate, and why."""
    by = detail.proposed_by
    return f"{by.rule}: {by.reason}" if by.reason else by.rule


def export_box(detail: TrialDetail) -> None:
    """The command that exports a trial, or why it cannot be exported."""
    if any(file.kind == "decayed" for file in detail.checkpoints):
        st.code(detail.export_command, language=None)
    elif detail.row.state == "done":
        st.caption("Its weights were not kept, so there is nothing to export.")


def failure_box(detail: TrialDetail) -> None:
    """The error of the last attempt and the path of its log."""
    if detail.error and detail.row.state != "done":
        st.error(f"Attempt {detail.row.attempt} failed: {detail.error}")
    if detail.log and detail.row.state != "done":
        st.caption("Log of its worker")
        st.code(detail.log, language=None)


def trial_card(study: load.Study, number: int) -> None:
    """Main facts of a trial, with a link to its page."""
    detail = study.detail(number)
    row, above = detail.row, tasks_above(detail.tasks)
    with st.container(border=True, key="detail"):
        heading(f"Trial {row.number}" + (" · on the front" if detail.on_front else ""))
        facts = [
            ("Candidate", row.candidate),
            ("Score, 95%", units.signed(row.score, row.stderr)),
            *confirmed_facts(detail),
            ("Above half", f"{above} of {len(detail.tasks)} tasks" if detail.tasks else row.state),
            ("Compute", f"{units.flops(row.flops_per_token)} per token"),
            *cost_facts(row),
            ("Architecture", row.description.label),
            ("Parameters", f"{units.short(row.active_params)} active of {units.short(row.total_params)}"),
            ("Trained", f"{units.short(row.tokens)} tokens, rung {row.rung}"),
            ("Learning rate", f"{detail.config.learning_rate:.3g}"),
            ("Proposed by", proposed_by(detail)),
        ]
        st.html(facts_html(facts))
        failure_box(detail)
        pages.link("trial", "**Everything about this trial →**", study.name, row.number)
        export_box(detail)
        clear = {"on_click": selection.choose_trial, "args": (study.name, None)}
        st.button("Clear the selection", **clear, type="tertiary")


def cost_facts(row: TrialRow) -> list[tuple[str, str]]:
    """A trial's costs that are objectives and are not shown as compute or parameters."""
    others = {name: value for name, value in row.objectives.items() if name in OTHER_COSTS}
    return [(COSTS[name].heading, units.short(value, COSTS[name].unit)) for name, value in others.items()]


def cost_columns(costs: Iterable[str]) -> dict[str, Any]:
    """How a table shows the costs that are objectives."""
    return {COSTS[name].heading: st.column_config.NumberColumn(format="compact") for name in costs}


def confirmed_facts(detail: TrialDetail) -> list[tuple[str, str]]:
    """The confirmed mean of a trial's candidate with its interval, if there is one."""
    found = detail.confirmed
    if found is None or found.score is None:
        return []
    ends = "" if found.interval is None else " [{:.3f}, {:.3f}]".format(*found.interval)
    return [("Confirmed, 95%", f"{found.score:.3f}{ends}, {counted(found.done, 'fresh seed')}")]


def _head(title: str, help_line: str, summaries: list[StudySummary], current: str) -> None:
    left, right = st.columns([4, 1], vertical_alignment="center")
    with left:
        heading(title, help_line, "page")
    names = [summary.name for summary in summaries]
    options = names if current in names else [*names, current]
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
        f"{trial.candidate[:6]} ({trial.description.label}) rung {trial.rung}"
        f" {_progress(trial):.0%}{'' if trial.loss is None else f', loss {trial.loss:.2f}'}"
        for trial in running[:SHOWN_RUNNING]
    ]
    if len(running) > SHOWN_RUNNING:
        words.append(f"and {len(running) - SHOWN_RUNNING} more")
    return f'<div class="pf-note">Now: {escape(" · ".join(words))}</div>' if words else ""


def _progress(trial: RunningTrial) -> float:
    whole = max(1, trial.tokens - trial.start_tokens)
    return min(1.0, max(0.0, (trial.progress_tokens - trial.start_tokens) / whole))
