"""Revisions of our tables, run by Alembic: one for each version of `search.database.tables`.

To change a table: change `search/database/tables.py`, raise its `TABLES_VERSION`, and add
`versions/version_N.py` with the step from the version before. A revision never imports code that may change,
such as `search.database.tables` or `space.description`; it spells out what it needs.
`tests/search/test_migrations.py` compares both with today's code.
"""
