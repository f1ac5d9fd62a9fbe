"""The sound tasks and their parts."""
