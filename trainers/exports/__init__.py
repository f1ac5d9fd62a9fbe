"""Exported folders: full training, shrinking, other libraries' formats."""
