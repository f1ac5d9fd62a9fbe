"""What a person looks at: a study and a trial, which the address alone holds.

Every choice is one step in the browser's history, so Back and Forward lead through them. Where an address
names no study, the session keeps to the one that it showed first, whatever is launched meanwhile.
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
    """What the address says in place of a number; None if it has one, or nothing."""
    text = st.query_params.get(TRIAL)
    return None if text is None or trial() is not None else text


def address() -> dict[str, str]:
    """What another page's address has to say so that nothing is lost."""
    return {name: st.query_params[name] for name in (STUDY, TRIAL) if st.query_params.get(name)}


def choose_study(name: str) -> None:
    """Look at a study; another study's trial is let go."""
    if name != study():
        st.query_params.from_dict({STUDY: name})


def choose_trial(study_name: str, number: int | None) -> None:
    """Select a trial of a study, or none."""
    wanted = {STUDY: study_name} | ({} if number is None else {TRIAL: str(number)})
    if wanted != address():
        st.query_params.from_dict(wanted)


def first_shown(what: str, default: str | int) -> str | int:
    """What this session showed first where an address says nothing about it."""
    return st.session_state.setdefault(f"first_{what}", default)
