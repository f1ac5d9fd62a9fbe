"""The dashboard's entry, run by Streamlit with the database in PATHFRONT_STORAGE.

It only reads: it never writes to a study, and never creates one.
"""

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from dashboard import pages, zoom
from dashboard.views import parts
from space.errors import PathfrontError


def main() -> None:
    """Show the page of the address; an error is shown in one line, and the page is drawn again later."""
    st.set_page_config(page_title="Pathfront", page_icon=parts.ICON, layout="wide")
    st.html(parts.style_html())
    current = st.navigation(pages.all_pages(), position="hidden")
    pages.menu()
    if current.title != pages.TITLES["front"]:
        zoom.forget()
    try:
        current.run()
    except (PathfrontError, SQLAlchemyError) as error:
        parts.explain(error)
        parts.try_again()


main()
