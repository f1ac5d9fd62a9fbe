"""The pages and the links between them; the address of each holds the study and the trial."""

from importlib import import_module

import streamlit as st
from streamlit.navigation.page import Page

from dashboard import selection

TITLES = {
    "studies": "Studies",
    "front": "Front",
    "tasks": "Tasks",
    "trials": "All trials",
    "trial": "Trial",
}
HOME = "studies"


def page(name: str) -> Page:
    """One of the pages; its path is its name."""
    view = import_module(f"dashboard.views.{name}")
    return st.Page(view.render, title=TITLES[name], url_path=name, default=name == HOME)


def all_pages() -> list[Page]:
    """The pages in the order of the menu."""
    return [page(name) for name in TITLES]


def menu() -> None:
    """Draw links to all pages. Streamlit's own menu drops the address's parameters."""
    with st.container(horizontal=True, key="menu", gap="small"):
        for name, title in TITLES.items():
            st.page_link(page(name), label=title, query_params=selection.address(), width="content")


def link(name: str, label: str, study: str, trial: int | None = None) -> None:
    """Draw a link to a page that shows a study, and one of its trials."""
    address = {selection.STUDY: study} | ({} if trial is None else {selection.TRIAL: str(trial)})
    st.page_link(page(name), label=label, query_params=address)
