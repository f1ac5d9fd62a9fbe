"""Rows for readers: queries that never write."""
