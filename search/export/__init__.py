"""Exports: a candidate's folder, its card, extrapolated sizes."""
