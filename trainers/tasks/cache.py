"""Generated data on disk: made once, checked on every read, made again when damaged.

A file's name comes from a digest of everything that its content depends on, so nothing is ever stale; its
first line is the SHA-256 of the rest. Files appear whole (temporary file, fsync, rename), so any number of
processes may make and read the same one at once.
"""

import contextlib
import hashlib
import inspect
import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import platformdirs

from trainers import tokens
from trainers.tokens.sequence import Chunk

ENVIRONMENT = "PATHFRONT_CACHE"
DIGEST_LENGTH = 64
PLUMBING = ("builtins", "abc", "typing")
FIELDS = ("tokens", "local", "scored", "starts")

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    """The folder of all generated data: $PATHFRONT_CACHE, or the user's cache folder."""
    return Path(os.environ.get(ENVIRONMENT) or platformdirs.user_cache_dir("pathfront"))


def cache_path(name: str, key: Mapping[str, object]) -> Path:
    """Where data that depends on `key` is kept."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{name}-{digest[:16]}.npz"


def is_intact(path: Path) -> bool:
    """Whether a file of the cache exists and is undamaged."""
    return _checked(path) is not None


def cached_arrays(name: str, key: Mapping[str, object], make: Callable[[], Arrays]) -> Arrays:
    """Read named arrays, or make and keep them.

    Args:
        name: start of the file's name.
        key: everything that the arrays depend on; it can be written as JSON.
        make: makes the arrays.
    """
    path = cache_path(name, key)
    kept = _read(path)
    if kept is None:
        _write(path, make())
        kept = _read(path)
        assert kept is not None, f"{path} was written and reads back"
    return kept


def cached_chunks(name: str, key: Mapping[str, object], make: Callable[[], list[Chunk]]) -> list[Chunk]:
    """Read chunks, or make and keep them; patches are kept in half precision."""
    return unpack(cached_arrays(name, key, lambda: pack(make())))


def pack(chunks: Sequence[Chunk]) -> Arrays:
    """Chunks -> a few long arrays."""
    whole = Chunk.concat(chunks)
    arrays = {field: getattr(whole, field) for field in FIELDS}
    arrays["ends"] = np.cumsum([len(chunk) for chunk in chunks])
    for encoder, placeholder in whole.placeholders.items():
        arrays[f"patches/{encoder}"] = whole.patches[encoder].astype(np.float16)
        arrays[f"placeholder/{encoder}"] = np.array(placeholder)
    return arrays


def unpack(arrays: Arrays) -> list[Chunk]:
    """The inverse of `pack`; the chunks are views of the long arrays."""
    names = [key.partition("/")[2] for key in arrays if key.startswith("patches/")]
    placeholders = {name: int(arrays[f"placeholder/{name}"]) for name in names}
    patches = {name: arrays[f"patches/{name}"].astype(np.float32) for name in names}
    before = {name: np.cumsum(np.r_[0, arrays["tokens"] == i]) for name, i in placeholders.items()}
    chunks = []
    for start, stop in pairwise([0, *arrays["ends"].tolist()]):
        here = {name: (before[name][start], before[name][stop]) for name in names}
        here = {name: (low, high) for name, (low, high) in here.items() if high > low}
        fields = {field: arrays[field][start:stop] for field in FIELDS}
        chunks.append(
            Chunk(
                **fields,
                patches={name: patches[name][low:high] for name, (low, high) in here.items()},
                placeholders={name: placeholders[name] for name in here},
            )
        )
    return chunks


@cache
def code_fingerprint(cls: type) -> str:
    """A digest of the source of a class, of its bases, and of how things become tokens."""
    sources = {Path(inspect.getfile(base)) for base in cls.__mro__ if base.__module__ not in PLUMBING}
    digest = hashlib.sha256()
    for file in sorted(sources | set(Path(tokens.__path__[0]).glob("*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _checked(path: Path) -> memoryview | None:
    """The content of a file behind its digest; None where it does not exist or is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    stated, body = content[:DIGEST_LENGTH], memoryview(content)[DIGEST_LENGTH + 1 :]
    if hashlib.sha256(body).hexdigest().encode() != stated:
        return None
    return body


def _read(path: Path) -> Arrays | None:
    """The arrays of a file; None where it does not exist or is damaged."""
    body = _checked(path)
    if body is None:
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        return dict(arrays)


def _write(path: Path, arrays: Arrays) -> None:
    body = io.BytesIO()
    np.savez_compressed(body, **arrays)  # pyright: ignore[reportArgumentType]
    content = body.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n")
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
