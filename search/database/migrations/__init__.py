"""Revisions of our tables, run by Alembic: one for each version of `search.database.tables`.

To change a table: change `search/database/tables.py`, raise its `TABLES_VERSION`, and add
`versions/version_N.py` with the step from the version before. A revision never imports
`search.database.tables`, which will change again. `tests/search/test_migrations.py` compares the two.
"""
