"""Tables of trained candidates: their file, how it is written, what is fitted on it and played on it."""
