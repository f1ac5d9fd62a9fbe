"""Compiled Python code in a normal form, without what does not decide its results.

Left out are docstrings, type annotations, line numbers, file names and the code's own name. Global names,
imports and names of an enclosing function are marked, so that a reader can write what they lead to.
"""

import dis
import inspect
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import CodeType

ANNOTATIONS, CLOSURE = 0x04, 0x08  # flags of MAKE_FUNCTION
KINDS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
SKIPPED = frozenset({"RESUME", "NOP", "EXTENDED_ARG", "CACHE", "PRECALL", "SETUP_ANNOTATIONS"})
GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
USES = ATTRIBUTES | {"STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR"}
OUTER = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_CLOSURE", "LOAD_FROM_DICT_OR_DEREF"})
DYNAMIC = frozenset({"getattr", "vars", "eval", "exec", "attrgetter", "methodcaller", "globals"})
OWN_NAMES = frozenset({"__doc__", "__qualname__"})
ITEMS = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR"})
CHANGES = frozenset(
    {
        "add",
        "append",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "setdefault",
        "update",
    }
)


@dataclass(frozen=True)
class Global:
    """A global or built-in name, and the attributes that are read from it at once."""

    name: str
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Import:
    """An import inside a function; `taken` are the names after `import` of a `from` import."""

    module: str
    level: int
    taken: tuple[str, ...]


@dataclass(frozen=True)
class Outer:
    """A name that belongs to an enclosing function."""

    name: str


@dataclass(frozen=True)
class Constant:
    """A constant; nested functions and classes are constants of type `CodeType`."""

    value: object


@dataclass(frozen=True)
class Normal:
    """Code in normal form.

    Attributes:
        signature: number and names of the arguments, and the kind of function.
        parts: the instructions, in order.
        attributes: names that the code uses as attributes.
        dynamic: whether it looks up names that it computes.
        changed: global names that it binds or whose content it changes.
        changed_of_self: attributes of its first argument that it binds or whose content it changes.
    """

    signature: tuple[str, ...]
    parts: tuple[str | Global | Import | Outer | Constant, ...]
    attributes: frozenset[str]
    dynamic: bool
    changed: frozenset[str]
    changed_of_self: frozenset[str]


@cache
def normal(code: CodeType) -> Normal:
    """Bring code into its normal form."""
    compiled = dis.Bytecode(code)
    kept = _without_hints([i for i in compiled if i.opname not in SKIPPED])
    offsets = [instruction.offset for instruction in kept]
    bound = {i.argval for i in kept if i.opname == "STORE_NAME"}
    parts: list[str | Global | Import | Outer | Constant] = []
    place = 0
    while place < len(kept):
        found = kept[place]
        place += 1
        name = found.opname
        if name in GLOBALS and found.argval not in bound:
            last = place
            while last < len(kept) and kept[last].opname in ATTRIBUTES:
                last += 1
            parts.append(Global(found.argval, tuple(i.argval for i in kept[place:last])))
            place = last
        elif name == "IMPORT_NAME":
            parts.append(Import(found.argval, kept[place - 3].argval, kept[place - 2].argval or ()))
        elif name in OUTER:
            parts += [name, Outer(found.argval)]
        elif name == "LOAD_CONST":
            parts.append(Constant(found.argval))
        elif name == "IMPORT_FROM":
            parts.append(name)
        elif found.opcode in dis.hasjrel or found.opcode in dis.hasjabs:
            parts += [name, str(bisect_left(offsets, found.argval))]
        elif name == "MAKE_FUNCTION":
            parts += [name, str((found.arg or 0) & ~ANNOTATIONS)]
        else:
            parts += [name, str(found.argval) if found.arg is not None else ""]
    for entry in compiled.exception_entries:  # pyright: ignore[reportAttributeAccessIssue]
        ends = (entry.start, entry.end, entry.target)
        parts.append(f"{[bisect_left(offsets, end) for end in ends]} {entry.depth} {entry.lasti}")
    arguments = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    arguments += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & KINDS)
    return Normal(
        signature=(*map(str, counts), *code.co_varnames[:arguments]),
        parts=tuple(parts),
        attributes=frozenset(i.argval for i in kept if i.opname in USES),
        dynamic=any(i.opname in GLOBALS and i.argval in DYNAMIC for i in kept),
        changed=frozenset(_changed(kept, GLOBALS, None)),
        changed_of_self=frozenset(_changed_of_self(code, kept)),
    )


def _without_hints(found: Sequence[dis.Instruction]) -> list[dis.Instruction]:
    """Instructions without those that make annotations of nested functions, and docstrings of classes."""
    dropped: set[int] = set()
    for place, one in enumerate(found):
        if one.opname == "MAKE_FUNCTION" and (one.arg or 0) & ANNOTATIONS:
            end = place - 1  # where the nested code is loaded
            if (one.arg or 0) & CLOSURE:
                end = _begin(found, end - 1)
            dropped.update(range(_begin(found, end - 1), end))
        elif one.opname == "STORE_NAME" and one.argval in OWN_NAMES:
            dropped.update((place - 1, place))
        elif one.opname == "STORE_SUBSCR" and place > 1 and found[place - 2].argval == "__annotations__":
            dropped.update(range(_begin(found, place - 3), place - 2))
    return [one for place, one in enumerate(found) if place not in dropped]


def _begin(found: Sequence[dis.Instruction], last: int) -> int:
    """Where the instructions begin that make the value that instruction `last` leaves on the stack."""
    missing = 1
    place = last + 1
    while missing > 0:
        place -= 1
        missing -= dis.stack_effect(found[place].opcode, found[place].arg, jump=False)
    return place


def _changed(found: Sequence[dis.Instruction], loads: frozenset[str], owner: str | None) -> set[str]:
    """Names that are bound, whose items are set, or on which a method is called that changes a container."""
    changed = {i.argval for i in found if i.opname == "STORE_GLOBAL"} if owner is None else set()
    for place, one in enumerate(found):
        if one.opname not in loads or (owner and (place == 0 or found[place - 1].argval != owner)):
            continue
        after = found[place + 1 : place + 3]
        calls = bool(after) and after[0].opname in ATTRIBUTES and after[0].argval in CHANGES
        if calls or (len(after) == 2 and after[1].opname in ITEMS):
            changed.add(one.argval)
    return changed


def _changed_of_self(code: CodeType, found: Sequence[dis.Instruction]) -> set[str]:
    if not code.co_argcount:
        return set()
    owner = code.co_varnames[0]
    stores = {
        one.argval
        for before, one in pairwise(found)
        if one.opname in ("STORE_ATTR", "DELETE_ATTR") and before.argval == owner
    }
    return stores | _changed(found, ATTRIBUTES, owner)
