"""Models of a study's scores, from which samplers choose the next candidate."""
