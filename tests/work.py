"""How much work a call does, counted: the same on every machine, however busy it is."""

import sys
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Engine, event

STEPS = 10  # instructions of SQLite's virtual machine between two counts


class Work(NamedTuple):
    """Work of a call.

    Attributes:
        statements: SQL statements.
        sql: tens of instructions of SQLite's virtual machine.
        python: instructions of Python; what C code does within one of them does not count.
    """

    statements: int
    sql: int
    python: int


def work_of(call: Callable[[], object]) -> Work:
    """Count the work of a call."""
    counts = {"statements": 0, "sql": 0, "python": 0}

    def statement(connection, *arguments):
        counts["statements"] += 1
        connection.connection.dbapi_connection.set_progress_handler(step, STEPS)

    def step() -> int:
        counts["sql"] += 1
        return 0

    def trace(frame, kind, argument):
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        counts["python"] += kind == "opcode"
        return trace

    event.listen(Engine, "before_cursor_execute", statement)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        event.remove(Engine, "before_cursor_execute", statement)
    return Work(**counts)
