"""Revisions of our tables, run by Alembic: one for each version of `search.tables`, named by its number.

To change a table: change `search/tables.py` and raise its `TABLES_VERSION`, then add `versions/version_N.py`
with what leads there from the version before. A revision never imports `search.tables`, which goes on to
change. `tests/search/test_migrations.py` compares the two.
"""
