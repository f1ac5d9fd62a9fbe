"""Rows of a study as Plotly figures; nothing here knows Streamlit or a database."""
