"""The four pages, and links from one to another."""

from importlib import import_module

import streamlit as st
from streamlit.navigation.page import Page

TITLES = {"studies": "Studies", "front": "Front", "tasks": "Tasks", "trial": "Trial"}
HOME = "studies"


def page(name: str) -> Page:
    """One of the pages; its address is its name."""
    view = import_module(f"dashboard.views.{name}")
    return st.Page(view.render, title=TITLES[name], url_path=name, default=name == HOME)


def all_pages() -> list[Page]:
    """The pages in the order of the navigation."""
    return [page(name) for name in TITLES]


def link(name: str, label: str, study: str, trial: int | None = None) -> None:
    """Draw a link to a page that shows a study, and one of its trials."""
    address = {"study": study} | ({} if trial is None else {"trial": str(trial)})
    st.page_link(page(name), label=label, query_params=address)
