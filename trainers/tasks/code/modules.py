"""Find modules by name: which of them are a user's own files, and the modules that an import leads to.

The answers do not depend on which modules are imported already.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from space.fingerprint import is_installed

_loose: dict[str, bool] = {}  # modules that were found


def is_loose(top: str) -> bool:
    """Whether a top-level module or package is a user's own file or folder, and not an installed package.

    It need not be imported yet: it is searched for where an import searches. A module that is not found is
    searched for again in the next call, since `sys.path` may grow.
    """
    if top in sys.stdlib_module_names:
        return False
    if top not in _loose:
        files = _files(top)
        if not files:
            return False
        _loose[top] = not any(is_installed(file) for file in files)
    return _loose[top]


def imported(name: str) -> ModuleType | None:
    """Import a module; None if the import fails.

    The module of an optional package may be missing here, and a script may raise when it is imported. The
    same import fails in the task's own code, so no data can depend on the module.
    """
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):
        return None


def _files(top: str) -> list[Path]:
    """The file of a top-level module, or the folders of a package without `__init__.py`."""
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # imported, but without a spec
        file = getattr(sys.modules.get(top), "__file__", None)
        return [Path(file).resolve()] if file else []
    if spec is None:
        return []
    found = [spec.origin] if spec.has_location else spec.submodule_search_locations or ()
    return [Path(file).resolve() for file in found if file]
