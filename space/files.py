"""Files with the mode that the user's umask gives.

Libraries that write a temporary file first (safetensors, `tempfile`) leave it at mode 600, whatever the
umask: colleagues and services could not read it.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def umask_mode(path: Path) -> Iterator[None]:
    """Give a file that is written in the block the mode that `open` gives; an older one is deleted."""
    path.unlink(missing_ok=True)
    path.touch()
    mode = path.stat().st_mode & 0o777
    path.unlink()
    yield
    path.chmod(mode)


def create_aside(path: Path) -> tuple[int, Path]:
    """Create a file of a new name beside a path, as `tempfile.mkstemp` does but with the umask's mode.

    Returns:
        Its descriptor, open for writing, and its path.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), aside
