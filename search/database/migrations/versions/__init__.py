"""One revision per version of our tables; see `search.database.migrations`."""
