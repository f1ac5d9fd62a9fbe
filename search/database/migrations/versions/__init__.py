"""What leads from one version of our tables to the next; see `search.database.migrations`."""
