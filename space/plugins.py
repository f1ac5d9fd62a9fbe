"""Import objects that a user names by `package.module:name`: a task, a trainer, a logger.

`load_object` imports all of them, so that all are searched for in the same places: installed packages first,
then the working folder. A file of the user never replaces an installed module.
"""

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from space.errors import MachineError, NotFoundError, PathfrontError, StudyFileError, nearest, one_line


def load_object(path: str, rule: str, error: type[PathfrontError] | None = None) -> object:
    """Import a module and return the object with a name.

    Args:
        path: "package.module:name".
        rule: says what kind of object is expected; the error message begins with it.
        error: raised instead of NotFoundError and MachineError, if the path comes from a study file.

    Raises:
        StudyFileError: the path does not have this form.
        NotFoundError: there is no such module, or it does not define the name.
        MachineError: importing the module raises; the message has type, message, file and line.
    """
    module, _, name = path.partition(":")
    if not module or not name or module.startswith("."):
        raise StudyFileError(f"{rule}, got '{path}'")
    missing, broken = error or NotFoundError, error or MachineError
    folder = Path.cwd()
    _append_to_path(folder)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as cause:
        if cause.name is None or not f"{module}.".startswith(f"{cause.name}."):
            raise broken(f"{rule}, and the import of '{path}' raises {describe_error(cause)}") from cause
        hint = _shadowed(module, folder) or nearest(cause.name, [file.stem for file in folder.glob("*.py")])
        raise missing(
            f"{rule}, got '{path}': no module is called '{cause.name}' in the installed packages or in"
            f" '{folder}'{hint}"
        ) from cause
    except PathfrontError:  # raised by a module of Pathfront's, with a message for the user
        raise
    except (Exception, SystemExit) as cause:  # a script may call sys.exit when it is imported
        raise broken(f"{rule}, and the import of '{path}' raises {describe_error(cause)}") from cause
    if not hasattr(found, name):
        near = nearest(name, _defined(found))
        raise missing(
            f"{rule}, got '{path}': module '{module}' has no '{name}'{_shadowed(module, folder) or near}"
        )
    return getattr(found, name)


def describe_error(error: BaseException) -> str:
    """An error and where it was raised, on one line: "ValueError: too few rooms (mine.py:12)".

    The place is the innermost stack frame in the working folder, else the innermost frame.
    """
    if isinstance(error, SyntaxError):
        message, place = error.msg, _place(error.filename or "?", error.lineno)
    else:
        message = one_line(str(error))
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename != __file__ and not frame.filename.startswith("<frozen ")
        ]
        own = [frame for frame in frames if _is_own(frame.filename)]
        last = (own or frames)[-1:]
        place = _place(last[0].filename, last[0].lineno) if last else ""
    kind = type(error).__name__
    return (f"{kind}: {message}" if message else kind) + (f" ({place})" if place else "")


def _append_to_path(folder: Path) -> None:
    """Let modules in the working folder be found after all others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()  # the file may be newer than Python's cached list of the folder


def _shadowed(module: str, folder: Path) -> str:
    """A clause about a user's file that is not used, because an installed package has the same name."""
    top = module.partition(".")[0]
    own = [name for name in (f"{top}.py", top) if (folder / name).exists()]
    loaded = sys.modules.get(top)
    if not own or loaded is None:
        return ""
    places = [getattr(loaded, "__file__", None), *getattr(loaded, "__path__", ())]
    if any(place and Path(place).is_relative_to(folder) for place in places):
        return ""
    return f"; '{own[0]}' in the working folder is not used, since '{top}' is an installed package: rename it"


def _defined(module: ModuleType) -> list[str]:
    """Public names that a module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _place(filename: str, line: int | None) -> str:
    return _relative(filename) + (f":{line}" if line else "")


def _is_own(filename: str) -> bool:
    """Whether a file is in the working folder, and not in a virtual environment there."""
    return Path(filename).is_relative_to(Path.cwd()) and "site-packages" not in Path(filename).parts


def _relative(filename: str) -> str:
    """A file's path relative to the working folder, if the file is inside it."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename
