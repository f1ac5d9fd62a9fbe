"""Upgrade a database and kill the process after the first statement, then the second, until it survives.

Prints one line of JSON per process: its last statement, and the version and tables that it left.
"""

import itertools
import json
import os
import signal
import sys

import alembic.command  # noqa: F401 - once, for all the children
from sqlalchemy import Engine, NullPool, create_engine, event, text
from tables_seen import tables_seen

from search.database.storage import upgrade


def main(url):
    for last in itertools.count(1):
        child = os.fork()
        if child == 0:
            _die_at(last)
            upgrade(url, say=lambda line: None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps([last, _version(url), tables_seen(url)]), flush=True)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
        assert os.WTERMSIG(status) == signal.SIGKILL


def _die_at(last):
    counter = itertools.count(1)

    def step(*arguments):
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", step)
    event.listen(Engine, "commit", step)


def _version(url):
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        version = connection.scalar(text("SELECT version FROM pf_schema"))
    engine.dispose()
    return version


if __name__ == "__main__":
    main(sys.argv[1])
