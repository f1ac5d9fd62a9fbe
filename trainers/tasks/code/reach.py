"""Write into a digest everything that an object can reach: code, constants, and what they name.

Functions, methods, classes and module-level constants are followed in all modules of some packages; of
installed packages only names are written. Names of modules, functions, classes and constants of the followed
packages are not written, so that they can be renamed and moved.
"""

import enum
import importlib.util
import inspect
import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache, cached_property, partial
from hashlib import sha256
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from space.files import file_sha256
from trainers.tasks import cache as storage
from trainers.tasks.code import bytecode
from trainers.tasks.code.bytecode import Global, Import, Outer
from trainers.tasks.code.modules import imported, is_loose

STORAGE = storage.__name__  # how data are kept, not what they are
OPAQUE = frozenset({"typing", "types", "typing_extensions", "_abc"})  # modules of type hints
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
MISSING = object()


def attributes(cls: type) -> dict[str, object]:
    """What a class's body says, without docstring, annotations and what Python adds."""
    found: dict[str, object] = {
        name: value
        for name, value in sorted(vars(cls).items())
        if name != "_abc_impl"
        and (not is_special(name) or isinstance(value, FunctionType | classmethod | staticmethod))
        and not _is_of_named_tuple(value)
    }
    for name, field in (getattr(cls, "__pydantic_fields__", None) or {}).items():
        found[name] = field.default
    return found


class Reach:
    """A digest of objects, each written once, in the order in which they are reached.

    Args:
        packages: top-level packages whose code is followed.
        by_name: classes whose members the caller writes; a reference to them is only noted.

    Attributes:
        names: attribute names that the code reached so far uses.
        dynamic: whether that code looks names up that it computes.
    """

    def __init__(self, packages: frozenset[str], by_name: tuple[type, ...] = ()) -> None:
        self.names: set[str] = set()
        self.dynamic = False
        self._packages = packages
        self._by_name = frozenset(by_name)
        self._digest = sha256()
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # so that no id is used twice
        self._queue: deque[object] = deque()
        self._containers: deque[tuple[tuple[int, str], object]] = (
            deque()
        )  # last, when it is known who changes them
        self._changed: set[tuple[int, str]] = set()

    def root(self, value: object) -> None:
        """Write an object and everything that it reaches."""
        self.value(value)
        while self._queue or self._containers:
            if self._queue:
                self._body(self._queue.popleft())
                continue
            name, container = self._containers.popleft()
            if name in self._changed:  # state, such as results that a function remembers
                self.write("state", name[1])
            else:
                self._body(container)

    def finish(self) -> str:
        """The digest, 64 hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, *words: str) -> None:
        """Write words."""
        for word in words:
            encoded = word.encode("utf-8", "surrogatepass")
            self._digest.update(len(encoded).to_bytes(8, "little") + encoded)

    def ours(self, module: str) -> bool:
        """Whether code of a module is followed."""
        if module == STORAGE or module.startswith(str(__package__)):
            return False
        return (top := top_package(module)) in self._packages or is_loose(top)

    def value(self, value: Any) -> None:
        """Write a value, or the number of an object whose body follows later."""
        kind = type(value)
        if kind in PLAIN:
            self.write(kind.__name__, repr(value))
        elif isinstance(value, CodeType):
            self._code(value, {}, {})
        elif kind is tuple:
            self.write("tuple", str(len(value)))
            for item in value:
                self.value(item)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self.write("array", value.dtype.str, str(value.shape))
            self._digest.update(np.ascontiguousarray(value).data)
        elif isinstance(value, PurePath):
            self._path(Path(value))
        elif _is_opaque(value):
            self.write("type hint")
        elif isinstance(value, type | ModuleType) and not self.ours(_module_of(value)):
            name = "" if isinstance(value, ModuleType) else value.__qualname__
            self.write("installed", f"{_module_of(value)}.{name}")
        elif isinstance(value, type) and value in self._by_name:
            self.write("own class")
        else:
            self._refer(value)

    def _refer(self, value: object) -> None:
        if self._is_new(value):
            self._queue.append(value)
        self.write("object", str(self._numbers[id(value)]))

    def _is_new(self, value: object) -> bool:
        """Number an object, unless it has a number."""
        if id(value) in self._numbers:
            return False
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        return True

    def _body(self, value: Any) -> None:
        """Write what an object consists of."""
        self.write("body", str(self._numbers[id(value)]))
        if isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, ModuleType):
            self._module(value)
        elif (
            _attribute(value, "cache_info") is not MISSING and _attribute(value, "__wrapped__") is not MISSING
        ):
            self.value(value.__wrapped__)  # functools.cache
        elif isinstance(value, property):
            self.value((value.fget, value.fset, value.fdel))
        elif isinstance(value, cached_property):
            self.value(value.func)
        elif isinstance(value, classmethod | staticmethod | MethodType):
            self.value((type(value).__name__, getattr(value, "__self__", None), value.__func__))
        elif isinstance(value, partial):
            self.value((value.func, value.args))
            self._mapping(value.keywords)
        elif inspect.isbuiltin(value) or inspect.ismethoddescriptor(value) or inspect.isdatadescriptor(value):
            self.write(
                "installed",
                str(getattr(value, "__module__", "")),
                str(getattr(value, "__qualname__", type(value).__qualname__)),
            )
        elif isinstance(value, enum.Enum):
            self.value((type(value), value.name))
        elif value is os.environ:
            self.write("environment")
        elif isinstance(value, Mapping):
            self._mapping(value)
        elif type(value) is list:
            self.value(tuple(value))
        elif isinstance(value, set | frozenset):
            self._set(value)
        elif (digest := getattr(type(value), "content_digest", None)) is not None:
            self.write("content", digest.fget(value))
        elif self.ours(type(value).__module__):
            self._instance(value)
        else:
            self._installed(value)

    def _function(self, function: FunctionType) -> None:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        inside = {name: _content(cell) for name, cell in cells.items()}
        if self.ours(function.__globals__.get("__name__", "")):
            self.value((function.__defaults__, sorted((function.__kwdefaults__ or {}).items())))
            self._code(function.__code__, function.__globals__, inside)
            return
        self.write("installed", f"{function.__module__}.{function.__qualname__}" if not inside else "wrapper")
        for value in inside.values():  # a decorator of an installed package
            if callable(value):
                self.value(value)

    def _code(self, code: CodeType, names: Mapping[str, Any], inside: Mapping[str, Any]) -> None:
        normal = bytecode.normal(code)
        self.names |= normal.attributes
        self.dynamic |= normal.dynamic
        self._changed |= {(id(names), name) for name in normal.changed}
        self.write("code", *normal.signature)
        for part in normal.parts:
            if isinstance(part, str):
                self.write(part)
            elif isinstance(part, Global):
                self._global(part, names)
            elif isinstance(part, Import):
                self._import(part, names)
            elif isinstance(part, Outer):
                self.write("free", part.name)
                if part.name in inside and inside[part.name] is not MISSING:
                    self.value(inside[part.name])
            elif isinstance(part.value, CodeType):
                self._code(part.value, names, inside)
            else:
                self.value(part.value)

    def _global(self, part: Global, names: Mapping[str, Any]) -> None:
        """A global name with the attributes that follow it: what it leads to, or the name where unknown."""
        found = names.get(part.name, MISSING)
        if found is MISSING or is_special(part.name) or (id(names), part.name) in self._changed:
            self.write("global", part.name, *part.attributes)
            return
        attributes = list(part.attributes)
        while attributes and isinstance(found, ModuleType):
            if (led := _attribute(found, attributes[0])) is MISSING:
                break
            found = led
            del attributes[0]
        if isinstance(found, list | set | dict):
            if self._is_new(found):
                self._containers.append(((id(names), part.name), found))
            self.write("object", str(self._numbers[id(found)]))
        else:
            self.value(found)
        self.write(*attributes)

    def _import(self, part: Import, names: Mapping[str, Any]) -> None:
        name = part.module
        if part.level:
            name = importlib.util.resolve_name("." * part.level + name, names.get("__package__") or "")
        module = imported(name) if self.ours(name) else None
        if module is None:
            self.write("import", name, *part.taken)
        elif not part.taken:
            self.value(module)
        for taken in part.taken if module else ():
            found = _attribute(module, taken)
            if found is MISSING:  # a submodule
                found = imported(f"{name}.{taken}") or f"import {name}.{taken}"
            self.value(found)

    def _module(self, module: ModuleType) -> None:
        """The names that a module defines, without what its functions change."""
        names = vars(module)
        kept = {n: v for n, v in sorted(names.items()) if not is_special(n) and not inspect.ismodule(v)}
        for value in kept.values():
            if isinstance(value, FunctionType) and value.__globals__ is names:
                changed = bytecode.normal(value.__code__).changed
                self._changed |= {(id(names), name) for name in changed}
        self.write("mapping", str(len(kept)))
        for name in kept:
            self.value(name)
            self._global(Global(name, ()), names)

    def _class(self, cls: type) -> None:
        self.value(cls.__bases__)
        if issubclass(cls, enum.Enum):
            self.value([(member.name, member.value) for member in cls])
            functions = {
                name: value for name, value in attributes(cls).items() if isinstance(value, FunctionType)
            }
            self._mapping({name: value for name, value in functions.items() if not is_special(name)})
        else:
            self._mapping(attributes(cls))

    def _instance(self, value: Any) -> None:
        """An object of a class that is followed: its class and its fields, but not what it remembers."""
        cls = type(value)
        self.value(cls)
        if isinstance(value, tuple):
            self.value(tuple(value))
            return
        slots = [name for base in cls.__mro__ for name in _slots(base)]
        fields = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        fields |= getattr(value, "__dict__", {})
        fixed = is_dataclass(cls) and cls.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
        state = frozenset() if fixed else _state(cls)
        self._mapping(
            {
                name: field
                for name, field in sorted(fields.items())
                if name not in state
                and not isinstance(inspect.getattr_static(cls, name, None), cached_property)
            }
        )

    def _installed(self, value: Any) -> None:
        """An object of an installed package: what pickle would write of it, or only its class.

        Only the class counts of an object that cannot be pickled, such as a lock or a loaded simulator: it
        holds state of this process. What it was made from is reached through the code that makes it.
        """
        self.write("of", f"{type(value).__module__}.{type(value).__qualname__}")
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:  # of a foreign class, which may raise anything to say that it cannot be pickled
            return
        if isinstance(reduced, tuple):
            self.value([list(part) if hasattr(part, "__next__") else part for part in reduced])
        else:
            self.value(reduced)

    def _mapping(self, mapping: Mapping[Any, Any]) -> None:
        self.write("mapping", str(len(mapping)))
        for key, value in mapping.items():
            self.value(key)
            self.value(value)

    def _set(self, values: Iterable[Any]) -> None:
        """A set by the digests of its items, since their order is another in each process."""
        digests = []
        for value in values:
            walk = Reach(self._packages, tuple(self._by_name))
            walk.root(value)
            self.names |= walk.names
            self.dynamic |= walk.dynamic
            digests.append(walk.finish())
        self.write("set", *sorted(digests))

    def _path(self, path: Path) -> None:
        """A path: the file's content, wherever it lies."""
        self.write("path", path.name)
        if path.is_absolute() and path.is_file():
            self.write(file_sha256(path))


def is_special(name: str) -> bool:
    """Whether a name begins and ends with two underscores."""
    return name.startswith("__") and name.endswith("__")


def _is_of_named_tuple(value: object) -> bool:
    """Whether a function was generated for a named tuple, whose name it bears; the fields count instead."""
    function = getattr(value, "__func__", value)
    module = function.__globals__.get("__name__", "") if isinstance(function, FunctionType) else ""
    return module == "collections" or module.startswith("namedtuple_")


def _is_opaque(value: object) -> bool:
    """Whether a value is a type hint."""
    return (
        type(value).__module__ in OPAQUE
        and not isinstance(value, FunctionType | MethodType | ModuleType | Mapping)
        and not callable(getattr(value, "__get__", None))
    )


def top_package(module: str) -> str:
    """The first part of a module's name."""
    return module.partition(".")[0]


def _module_of(value: type | ModuleType) -> str:
    return value.__name__ if isinstance(value, ModuleType) else value.__module__


def _attribute(value: Any, name: str) -> Any:
    """An attribute, or MISSING; a foreign `__getattr__` may raise anything, as `torch.classes` does."""
    try:
        return getattr(value, name, MISSING)
    except Exception:
        return MISSING


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return MISSING


def _slots(cls: type) -> tuple[str, ...]:
    slots = vars(cls).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


@cache
def _state(cls: type) -> frozenset[str]:
    """Attributes that methods of a class change after an object was made: what it remembers."""
    found: set[str] = set()
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if isinstance(value, FunctionType) and name not in ("__init__", "__post_init__", "__new__"):
                found |= bytecode.normal(value.__code__).changed_of_self
    return frozenset(found)
