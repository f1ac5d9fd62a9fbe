"""The selected study and trial, stored in the query parameters of the page's address only.

Each selection is an entry in the browser's history, so Back and Forward work. If an address names no study,
the session stays with the study that it showed first, even if another one is launched meanwhile.
"""

import streamlit as st

STUDY, TRIAL = "study", "trial"
LARGEST = 2**31 - 1  # the numbers of trials are 32-bit integers


def study() -> str | None:
    """Name of the study in the address."""
    return st.query_params.get(STUDY) or None


def trial() -> int | None:
    """Number of the trial in the address; None without one, and where it is no number of a trial."""
    text = st.query_params.get(TRIAL, "")
    return int(text) if text.isdecimal() and int(text) <= LARGEST else None


def wrong_trial() -> str | None:
    """The address's trial if it is not a number; None if it is one or is missing."""
    text = st.query_params.get(TRIAL)
    return None if text is None or trial() is not None else text


def address() -> dict[str, str]:
    """Query parameters for a link to another page, so that it keeps the selection."""
    return {name: st.query_params[name] for name in (STUDY, TRIAL) if st.query_params.get(name)}


def choose_study(name: str) -> None:
    """Select a study; the trial of another study is deselected."""
    if name != study():
        st.query_params.from_dict({STUDY: name})


def choose_trial(study_name: str, number: int | None) -> None:
    """Select a trial of a study, or none."""
    wanted = {STUDY: study_name} | ({} if number is None else {TRIAL: str(number)})
    if wanted != address():
        st.query_params.from_dict(wanted)


def first_shown(what: str, default: str | int) -> str | int:
    """The value that this session showed first when the address did not name one."""
    return st.session_state.setdefault(f"first_{what}", default)
