"""Digests of the code and the constants that decide a task's data.

A digest covers what the given code can reach: functions, methods, classes and module-level constants, in any
module of the same packages. It reads compiled code, so layout does not matter: comments, docstrings, type
annotations, line numbers, file names, and the names of modules, functions, classes and constants are left
out. Installed packages count by name only; the versions of those that matter are part of the cache key.

Not followed: calls through names that are put together at run time. Where the reached code uses `getattr` or
the like, every member of the task's class counts.
"""

import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256

from trainers.tasks.code.reach import Reach, attributes, is_special, top_package

OURS = frozenset({"trainers", "space", "__main__"})
BUILT_IN = frozenset({"builtins", "abc", "typing"})


def code_fingerprint(
    cls: type, method: str, arguments: object = (), without: frozenset[str] = frozenset()
) -> str:
    """A digest of all code and constants that a method of a class can reach.

    Of the class and its bases, only members that the reached code uses by name count.

    Args:
        cls: the class.
        method: where the code begins.
        arguments: what the class was called with, as far as it decides the result.
        without: members that do not decide it.

    Returns:
        64 hexadecimal digits.
    """
    given = Reach(_packages(cls))
    given.root(arguments)
    names = _members(cls).keys() - without
    used = frozenset(names if given.dynamic else given.names & names)
    return sha256(f"{given.finish()} {_of_class(cls, method, used, without)}".encode()).hexdigest()


@cache
def object_fingerprint(value: type | Callable[..., object]) -> str:
    """A digest of all code and constants that a class or a function can reach, 64 hexadecimal digits."""
    walk = Reach(OURS | {top_package(value.__module__)})
    walk.root(value)
    return walk.finish()


@cache
def _of_class(cls: type, method: str, used: frozenset[str], without: frozenset[str]) -> str:
    """The part of `code_fingerprint` that many objects of one class share."""
    walk = Reach(_packages(cls), cls.__mro__)
    members, done = _members(cls), set[str](without)
    installed = [base for base in cls.__mro__[:-1] if not walk.ours(base.__module__)]
    called = {name for name in members if any(name in vars(base) for base in installed)}
    waiting = ({method, *used, *called} | {name for name in members if is_special(name)}) - done
    while waiting:
        for name in sorted(waiting):
            done.add(name)
            for place, value in members[name]:
                walk.write(f"member {name} {place}")
                walk.root(value)
        wanted = members.keys() if walk.dynamic else walk.names & members.keys()
        waiting = set(wanted) - done
    return walk.finish()


def _members(cls: type) -> dict[str, list[tuple[int, object]]]:
    """Name -> the place of each base that defines it, and what it is there."""
    found: dict[str, list[tuple[int, object]]] = {}
    for place, base in enumerate(cls.__mro__):
        if base.__module__ not in BUILT_IN:
            for name, value in attributes(base).items():
                found.setdefault(name, []).append((place, value))
    return found


def _packages(cls: type) -> frozenset[str]:
    """Packages whose code is followed: ours, and those of a class and its bases."""
    return OURS | {top_package(base.__module__) for base in cls.__mro__} - sys.stdlib_module_names
