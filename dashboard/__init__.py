"""What a person sees: a Streamlit page over a study."""
