"""The Meta-World tasks and their levels."""
