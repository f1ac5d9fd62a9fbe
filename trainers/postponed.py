"""Packages that take long to import and of which others use a few names: they run once more is needed."""

import sys
from collections.abc import Callable, Mapping
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any


class Postponed(ModuleType):
    """A package that has not run yet and holds the names that it was given.

    It runs when another name of it is read or a module of it is imported, as if it were imported then, and is
    a package like any other from there on.
    """

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") or name == "__all__":  # others are asked for to describe a module
            self.run()
        return ModuleType.__getattribute__(self, name)

    def run(self) -> None:
        """Run it, unless it has run or runs already; other threads wait until it has."""
        with vars(self)["_lock"]:
            how = vars(self).pop("_how", None)
            if how is None:
                return
            loader, path, then = how
            before = self.__path__
            self.__path__ = path
            try:
                loader.exec_module(self)
            except BaseException:
                self.__path__ = before
                vars(self)["_how"] = how
                raise
            self.__class__ = ModuleType  # pyright: ignore[reportAttributeAccessIssue] - modules may do it
            then()


class _Modules(Loader):
    """Finds the modules of a postponed package, which runs first; the only entry of its path leads here."""

    def __init__(self, package: Postponed) -> None:
        self._package = package

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where a module is; if its package has imported it as it ran, it does not run again."""
        self._package.run()
        module = sys.modules.get(fullname)
        if module is None:
            return PathFinder.find_spec(fullname, self._package.__path__, target)
        assert module.__spec__ is not None
        if module.__spec__.loader is not self:  # the import system takes the spec that the module has
            module.__spec__ = ModuleSpec(fullname, self, loader_state=module.__spec__)
        return module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module that is there."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def found(name: str) -> ModuleType | None:
    """A package as it is before it runs; None if it was imported, or is not here."""
    spec = None if name in sys.modules else find_spec(name)
    return None if spec is None else module_from_spec(spec)


def postpone(
    package: ModuleType, given: Mapping[str, object], then: Callable[[], object] = lambda: None
) -> None:
    """Let a package run once more than some of its names is needed.

    Args:
        package: of `found`; if it is not among the imported ones yet, it is now.
        given: names and what they stand for until it runs.
        then: called once it has run.
    """
    assert package.__spec__ is not None
    how = package.__spec__.loader, package.__path__, then
    vars(package).update(given, _how=how, _lock=RLock())
    package.__class__ = Postponed
    assert isinstance(package, Postponed)
    entry = f"{package.__file__}/postponed"
    sys.path_importer_cache[entry] = _Modules(package)
    package.__path__ = [entry]
    parent, _, child = package.__name__.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)
    sys.modules[package.__name__] = package
