"""What a database really holds, as plain values that can be compared."""

from sqlalchemy import NullPool, create_engine, inspect


def tables_seen(url, prefix="pf_"):
    """Table -> columns, keys, indexes; whatever order the columns were added in."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        inspector = inspect(connection)
        seen = {
            name: _table(inspector, name) for name in inspector.get_table_names() if name.startswith(prefix)
        }
    engine.dispose()
    return seen


def _table(inspector, name):
    columns = {
        column["name"]: (str(column["type"]), column["nullable"], str(column["default"]))
        for column in inspector.get_columns(name)
    }
    foreign = sorted(
        (key["constrained_columns"], key["referred_table"], key["referred_columns"])
        for key in inspector.get_foreign_keys(name)
    )
    unique = sorted(constraint["column_names"] for constraint in inspector.get_unique_constraints(name))
    indexes = sorted(
        (index["name"], index["column_names"], bool(index["unique"])) for index in inspector.get_indexes(name)
    )
    return columns, inspector.get_pk_constraint(name)["constrained_columns"], foreign, unique, indexes
