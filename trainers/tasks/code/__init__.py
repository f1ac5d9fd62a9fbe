"""Which code and constants decide a task's data, as a digest for the keys of cached data."""
