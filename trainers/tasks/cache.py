"""Generated data on disk: made once, checked on every read, made again if damaged.

A file's name has a digest of everything that its content depends on, so a file is never out of date. Its
header states the SHA-256 of its arrays. Files are written atomically (temporary file, fsync, rename), so any
number of processes may make and read the same file at once. They are mapped into memory, which processes
share. A folder that cannot be written is reported as a MachineError before anything is made.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import platformdirs

from space.errors import MachineError
from space.files import delete_folder, write_atomically
from space.machine import Place
from trainers.tasks.episodes import Episodes
from trainers.tasks.mapped import pieces
from trainers.tokens.sequence import Chunk

ENVIRONMENT = "PATHFRONT_CACHE"
CACHE = Place("generated data", ENVIRONMENT, lambda: platformdirs.user_cache_dir("pathfront"))
KINDS = {
    "BOOL": "?",
    "U8": "u1",
    "U16": "<u2",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F32": "<f4",
    "F64": "<f8",
}
ALIGNED = 8  # bytes
BEGUN = ".begun"  # ends the names of folders in which work goes on after an interruption
DIGITS = 16  # hexadecimal, of a key in a file's name
TORN = (ValueError, KeyError, TypeError, OverflowError)  # errors that a damaged header can cause

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    """The folder of all generated data: $PATHFRONT_CACHE, or the user's cache folder.

    Raises:
        MachineError: the user has no home folder.
    """
    return CACHE.folder


def cache_path(name: str, key: Mapping[str, object]) -> Path:
    """Where data that depends on `key` is kept."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{name}-{digest[:DIGITS]}.safetensors"


def begun_path(path: Path) -> Path:
    """The folder in which a file of the cache is made, where making it can be interrupted."""
    return path.with_name(f".{path.stem}{BEGUN}")


def is_intact(path: Path) -> bool:
    """Whether a file of the cache exists and is undamaged.

    Raises:
        MachineError: the cache cannot be read.
    """
    return _read(path) is not None


def stated_digest(path: Path) -> str | None:
    """The SHA-256 of the arrays as the file's header states it, unchecked; None if there is no such header.

    Raises:
        MachineError: the cache cannot be read.
    """
    with CACHE.errors():
        try:
            return str(_map(path)[1])
        except (FileNotFoundError, *TORN):
            return None


def cached_arrays(name: str, key: Mapping[str, object], make: Callable[[], Arrays]) -> Arrays:
    """Read named arrays, or make and keep them.

    Args:
        name: start of the file's name.
        key: everything that the arrays depend on; it can be written as JSON.
        make: makes the arrays.

    Raises:
        MachineError: the cache cannot be read or written, or its disk is full.
    """
    path = cache_path(name, key)
    kept = _read(path)
    if kept is None:
        CACHE.check_writable()
        _write(path, make())
        kept = _read(path)
    if kept is None:
        raise MachineError(
            f"'{path.name}' vanished from '{path.parent}' as soon as it was written; try again"
        )
    return kept


def cached_episodes(name: str, key: Mapping[str, object], make: Callable[[], Sequence[Chunk]]) -> Episodes:
    """Read episodes, or make and keep them.

    Raises:
        MachineError: the cache cannot be read or written, or its disk is full.
    """
    return Episodes.from_arrays(cached_arrays(name, key, lambda: Episodes.of(make()).arrays()))


def forget(name: str) -> None:
    """Delete all data of a task, whatever they depend on.

    Raises:
        MachineError: the cache cannot be written.
    """
    kept = re.compile(rf"{re.escape(name)}(-fingerprint)?-[0-9a-f]{{{DIGITS}}}\.safetensors")
    begun = re.compile(rf"\.{re.escape(name)}-[0-9a-f]{{{DIGITS}}}{re.escape(BEGUN)}")
    with CACHE.errors(), contextlib.suppress(FileNotFoundError):
        for path in list(cache_folder().iterdir()):
            if kept.fullmatch(path.name):
                path.unlink(missing_ok=True)
            elif begun.fullmatch(path.name):
                delete_folder(path)


def _read(path: Path) -> Arrays | None:
    """The arrays of a file, mapped into memory; None if it does not exist or is damaged."""
    with CACHE.errors():
        try:
            arrays, stated = _map(path)
        except (FileNotFoundError, *TORN):
            return None
    return arrays if _digest(arrays) == stated else None


def _map(path: Path) -> tuple[Arrays, str]:
    """The arrays of a safetensors file as memory maps, and the digest that its header states."""
    with path.open("rb") as file:  # held open, so that all arrays come from one file if another replaces it
        length = int.from_bytes(file.read(8), "little")
        if length > os.fstat(file.fileno()).st_size:
            raise ValueError("the header is longer than the file")
        header = json.loads(file.read(length))
        stated = header.pop("__metadata__")["sha256"]
        arrays = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            kind, shape = np.dtype(KINDS[entry["dtype"]]), tuple(entry["shape"])
            if stop == start:
                arrays[name] = np.empty(shape, kind)
            else:
                arrays[name] = np.memmap(file, kind, "r", offset=8 + length + start, shape=shape)
    return arrays, stated


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        for piece in pieces(array):
            digest.update(piece)
    return digest.hexdigest()


def _write(path: Path, arrays: Arrays) -> None:
    """Write arrays as safetensors, in pieces, since they may be longer than memory."""
    names = {np.dtype(kind): name for name, kind in KINDS.items()}
    header: dict[str, object] = {"__metadata__": {"sha256": _digest(arrays)}}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # numbers stay aligned
    end = 0
    for name in order:
        array = arrays[name]
        start, end = end, end + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": array.shape, "data_offsets": [start, end]}
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % ALIGNED)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            file.write(len(told).to_bytes(8, "little") + told)
            for name in order:
                for piece in pieces(arrays[name]):
                    file.write(piece)

    with CACHE.errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
