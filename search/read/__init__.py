"""Read-only queries, and the rows that they return."""
