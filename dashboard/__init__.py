"""A Streamlit page that shows studies."""
