"""What a person looks at: a study and a trial, kept in the address and in the session.

The address wins, so that a link opens what it says; the session carries the choice from page to page, since
Streamlit's navigation drops the address's parameters.
"""

import streamlit as st

STUDY, TRIAL = "study", "trial"
ADDRESS = (STUDY, TRIAL)


def remember() -> None:
    """Bring address and session to agree; call once at the start of a page that shows a study."""
    if STUDY in st.query_params and st.query_params[STUDY] != st.session_state.get(STUDY):
        st.session_state[STUDY] = st.query_params[STUDY]
        st.session_state[TRIAL] = None
    if TRIAL in st.query_params:
        st.session_state[TRIAL] = _number(st.query_params[TRIAL])
    _write()


def study() -> str | None:
    """Name of the study in view."""
    return st.session_state.get(STUDY)


def trial() -> int | None:
    """Number of the selected trial."""
    return st.session_state.get(TRIAL)


def choose_study(name: str) -> None:
    """Look at a study; another study's trial is let go."""
    if name != study():
        st.session_state[TRIAL] = None
    st.session_state[STUDY] = name
    _write()


def choose_trial(number: int | None) -> None:
    """Select a trial of the study in view, or none."""
    st.session_state[TRIAL] = number
    _write()


def forget() -> None:
    """Take study and trial out of the address, for the page that shows all studies."""
    for name in ADDRESS:
        st.query_params.pop(name, None)


def _write() -> None:
    wanted = {STUDY: study(), TRIAL: trial()}
    for name, value in wanted.items():
        if value is None:
            st.query_params.pop(name, None)
        elif st.query_params.get(name) != str(value):
            st.query_params[name] = str(value)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
