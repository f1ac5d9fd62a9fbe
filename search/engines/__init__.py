"""Ways to run many workers side by side."""
