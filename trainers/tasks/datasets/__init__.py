"""Data sets of the user: reading files, storing arrays, their tasks."""
