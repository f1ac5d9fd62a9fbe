"""The dashboard's entry: `streamlit run dashboard/app.py`, with the database in PATHFRONT_STORAGE.

It only reads: it never writes to a study, and never creates one.
"""

import streamlit as st

from dashboard import pages, zoom
from dashboard.views import parts
from space.errors import PathfrontError


def main() -> None:
    """Show the page that the address names; an error becomes one line."""
    st.set_page_config(page_title="Pathfront", page_icon=":material/show_chart:", layout="wide")
    st.html(parts.STYLE)
    current = st.navigation(pages.all_pages(), position="top")
    if current.title != pages.TITLES["front"]:
        zoom.forget()
    try:
        current.run()
    except PathfrontError as error:
        parts.explain(error)


main()
