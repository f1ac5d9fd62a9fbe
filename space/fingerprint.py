"""A digest of the source code that a user named: a trainer, a task, a sampler as "package.module:name".

It does not depend on the folder's path or on file times, so that machines with the same source agree. Only
the packages that contain the module are imported, not the module itself.
"""

import ast
import importlib.util
import sysconfig
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from threading import Lock

from space.errors import NotFoundError

LENGTH = 16  # hexadecimal digits
_PARSING = Lock()  # two threads that parse at once raise SystemError in Python 3.11
OURS = Path(__file__).resolve().parents[1]
PACKAGES = frozenset({"site-packages", "dist-packages"})
OUR_PACKAGES = frozenset({"dashboard", "search", "space", "studies", "trainers"})


def source_fingerprint(path: str) -> str:
    """Digest of the source files of a module that a user named.

    These are the module's file or, for a module in a package, every .py file of the outermost package; and
    the modules beside it that it imports, directly or indirectly. For an installed package, what it imports
    does not count.

    Args:
        path: "package.module:name" or "package.module".

    Returns:
        16 hexadecimal digits.

    Raises:
        NotFoundError: there is no such module, or it has no file.
    """
    module = path.partition(":")[0]
    digest = sha256()
    for name, file in sorted(_files(module).items()):
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(name.encode() + b"\0" + sha256(content).digest())
    return digest.hexdigest()[:LENGTH]


def _files(module: str) -> dict[str, Path]:
    """Path relative to the folder on `sys.path` -> file."""
    folder = _folder(module)
    installed = is_installed(folder / module.partition(".")[0])
    found: dict[str, Path] = {}
    waiting, seen = [module.partition(".")[0]], set[str](OUR_PACKAGES if folder == OURS else ())
    seen.discard(waiting[0])
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        mine = {file.relative_to(folder).as_posix(): file for file in _sources(folder, name)}
        found |= mine
        if not installed:
            waiting += _imported(mine.values())
    if not found:
        raise NotFoundError(f"'{module}' is a module with source files, and '{folder}' has none")
    return found


def _folder(module: str) -> Path:
    """The folder that contains a module's outermost package, or its file."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise NotFoundError(f"'{module}' is a module that can be imported, and is not: {error}") from None
    if spec is not None and spec.has_location and spec.origin:
        place = Path(spec.origin)
        place = place.parent if spec.submodule_search_locations is not None else place
    elif spec is not None and spec.submodule_search_locations:  # a folder without __init__.py
        place = Path(next(iter(spec.submodule_search_locations)))
    else:
        raise NotFoundError(f"'{module}' is a module with a file, and there is none")
    return place.resolve().parents[module.count(".")]


def is_installed(path: Path) -> bool:
    """Whether a module's file or folder is of Python's library or an installed package, and not the user's.

    `pip install --target FOLDER` leaves a list of what it has put into the folder, beside which a user may
    have modules of their own.
    """
    library = Path(sysconfig.get_path("stdlib")).resolve()
    if path.is_relative_to(library) or PACKAGES.intersection(path.parts):
        return True
    return any(_is_recorded(path.relative_to(folder).parts[0], folder) for folder in path.parents)


def _is_recorded(top: str, folder: Path) -> bool:
    """Whether a folder's lists of installed files name a top-level package or module."""
    beginnings = (f"{top}/", f"{top},", f"{top}.py,")
    for record in folder.glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8") as lines:
            if any(line.startswith(beginnings) for line in lines):
                return True
    return False


def _sources(folder: Path, name: str) -> Iterator[Path]:
    """The source files of a module or a package in a folder; none if the folder does not contain it."""
    package = folder / name
    if package.is_dir():
        for file in package.rglob("*.py"):
            if not any(part.startswith(".") for part in file.relative_to(folder).parts):
                yield file
    else:
        yield from (file for file in folder.glob(f"{name}.*") if file.suffix in (".py", ".so", ".pyd"))


def _imported(files: Iterable[Path]) -> Iterator[str]:
    """Outermost package names that source files import, relative imports excluded."""
    for file in files:
        if file.suffix != ".py":
            continue
        try:
            with _PARSING:
                tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):  # importing it will raise; its bytes are in the digest anyway
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]
